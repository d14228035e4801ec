"""Finding the benchmarks of folders, whatever their layout."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from tdro.errors import InputError
from tdro.evaluation.benchmark import Benchmark
from tdro.evaluation.families import family_of
from tdro.evaluation.loaders import beir, bright, coir, cqadupstack, miracl, mkqa, nanobeir
from tdro.evaluation.loaders.source import Choice, Loader, Source
from tdro.evaluation.reading import seen
from tdro.processes import Processes

# MKQA first: with the corpus beside its questions it looks like BEIR, too.
LOADERS: tuple[Loader, ...] = (mkqa, miracl, cqadupstack, bright, coir, nanobeir, beir)


def find_sources(
    folders: Sequence[Path], choice: Choice | None = None, only: Sequence[str] = ()
) -> list[Source]:
    """Names the benchmarks of folders, without reading them.

    Args:
        folders: Each a benchmark, a collection of a known layout, or a folder of such folders.
        choice: Languages and split.
        only: Names of benchmarks, or of families such as ``miracl``; all when empty.

    Raises:
        InputError: A folder has no known layout, or a language or a name is unknown.
    """
    choice = choice or Choice()
    found: list[Source] = []
    known: set[str] = set()
    for folder in folders:
        for loader, place in _recognised(folder):
            found += loader.sources(place, choice)
            known.update(loader.LANGUAGES)
    for language in choice.languages:
        if language not in known:
            told = f": they have {', '.join(sorted(known))}" if known else ", which have none"
            raise InputError(f"The language {language!r} is unknown to these benchmarks{told}.")
        if all(source.language != language for source in found):
            raise InputError(
                f"The language {language!r} is in none of these folders: copy its files, or leave "
                "it out."
            )
    names = [source.name for source in found]
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"Two benchmarks are named {name!r}: rename a folder, or judge one at a time."
            )
    choices = list(dict.fromkeys(filter(None, [*names, *map(family_of, names)])))
    for name in only:
        if name not in choices:
            near = difflib.get_close_matches(name, choices, 1, 0.0)[0]
            raise InputError(f"No benchmark is named {name!r}: the nearest is {near!r}.")
    return [one for one in found if not only or {one.name, family_of(one.name)} & set(only)]


def read_once(source: Source, cache: Path | None, processes: Processes) -> Benchmark:
    """Reads a benchmark; the first process alone writes its corpus to the cache.

    Raises:
        InputError: It cannot be read.
    """
    found: list[Benchmark] = []
    processes.once(lambda: found.append(source.read(cache)))
    return found[0] if found else source.read(cache)


def _recognised(folder: Path) -> list[tuple[Loader, Path]]:
    """Returns the loader of a folder, or those of the folders in it."""
    if not folder.is_dir():
        raise InputError(f"The benchmark folder {folder} does not exist.")
    places = [folder, *filter(Path.is_dir, seen(folder))]
    by_place = {place: next((one for one in LOADERS if one.finds(place)), None) for place in places}
    own = by_place.pop(folder)
    if own is not None:
        return [(own, folder)]
    inner = [(loader, place) for place, loader in by_place.items() if loader is not None]
    if not inner:
        looked = "; ".join(loader.LAYOUT for loader in LOADERS)
        raise InputError(
            f"The folder {folder} is no benchmark, nor are the folders in it: looked for {looked}."
        )
    return inner
