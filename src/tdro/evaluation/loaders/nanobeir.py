"""NanoBEIR: Parquet folders ``corpus``, ``queries`` and ``qrels``, as on the hub.

A repository holds one benchmark (split ``train``, named by the folder) or all of them, a split each
(``NanoSciFact``).
"""

from pathlib import Path

from tdro.errors import InputError
from tdro.evaluation.loaders.source import Choice, Source, only_split
from tdro.evaluation.loaders.tables import Tables
from tdro.evaluation.reading import parquet_splits

LAYOUT = "Parquet files in corpus/, queries/ and qrels/ (NanoBEIR)"
LANGUAGES: tuple[str, ...] = ()

_PARTS = ("corpus", "queries", "qrels")
_UNNAMED = "train"


def finds(folder: Path) -> bool:
    """Tells whether the three folders hold Parquet files."""
    return all(any((folder / part).glob("*.parquet")) for part in _PARTS)


def sources(folder: Path, choice: Choice) -> list[Source]:
    """Returns a benchmark for each split of the files.

    Raises:
        InputError: A split lacks one of the three.
    """
    only_split(folder, choice, _UNNAMED)
    parts = [parquet_splits(folder / part) for part in _PARTS]
    found = []
    for split in sorted(set().union(*parts)):
        for part, splits in zip(_PARTS, parts, strict=True):
            if split not in splits:
                raise InputError(f"{folder / part} has no Parquet file of the split {split!r}.")
        name = folder.resolve().name if split == _UNNAMED else split
        corpus, queries, qrels = (splits[split] for splits in parts)
        tables = Tables(name, corpus, queries, qrels)
        found.append(Source(name, tables.files, tables.read))
    return found
