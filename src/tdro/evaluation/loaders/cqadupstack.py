"""CQADupStack: a folder with a BEIR folder for each of its twelve forums."""

from pathlib import Path

from tdro.errors import InputError
from tdro.evaluation.loaders import beir
from tdro.evaluation.loaders.source import Choice, Source

LAYOUT = "a BEIR folder for each of android, english, ... wordpress (CQADupStack)"
LANGUAGES: tuple[str, ...] = ()

NAME = "cqadupstack"
FORUMS = (
    *("android", "english", "gaming", "gis", "mathematica", "physics"),
    *("programmers", "stats", "tex", "unix", "webmasters", "wordpress"),
)


def finds(folder: Path) -> bool:
    """Tells whether the folder is named so, or holds the forums."""
    there = [forum for forum in FORUMS if beir.finds(folder / forum)]
    return len(there) == len(FORUMS) or (bool(there) and folder.resolve().name.lower() == NAME)


def sources(folder: Path, choice: Choice) -> list[Source]:
    """Returns the forums, named ``cqadupstack/FORUM``.

    Raises:
        InputError: A forum is missing, so that the mean would be another one.
    """
    missing = [forum for forum in FORUMS if not beir.finds(folder / forum)]
    if missing:
        raise InputError(
            f"{folder} lacks the forum {missing[0]!r}: CQADupStack is the mean of its twelve."
        )
    return [beir.source(folder / forum, f"{NAME}/{forum}", choice) for forum in FORUMS]
