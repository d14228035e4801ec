"""CoIR: for each data set a folder ``NAME-queries-corpus`` and one ``NAME-qrels``, as on the hub.

The Parquet files of the first are its splits ``queries`` and ``corpus``, of the second ``test``.
The six languages of CodeSearchNet and of CodeSearchNet-ccr count once each.
"""

import re
from pathlib import Path

from tdro.errors import InputError
from tdro.evaluation.loaders.source import Choice, Source
from tdro.evaluation.loaders.tables import Tables
from tdro.evaluation.reading import parquet_splits

LAYOUT = "folders NAME-queries-corpus and NAME-qrels (CoIR)"
LANGUAGES: tuple[str, ...] = ()

_TEXTS = "-queries-corpus"
_FAMILY = re.compile(r"(CodeSearchNet(?:-ccr)?)-(go|java|javascript|php|python|ruby)")


def finds(folder: Path) -> bool:
    """Tells whether there is a folder of queries and corpus."""
    return any(path.is_dir() for path in folder.glob(f"*{_TEXTS}"))


def sources(folder: Path, choice: Choice) -> list[Source]:
    """Returns the data sets that are there.

    Raises:
        InputError: One lacks its judgements, its queries or its corpus.
    """
    split = choice.split or "test"
    found = []
    for texts in sorted(path for path in folder.glob(f"*{_TEXTS}") if path.is_dir()):
        published = texts.name.removesuffix(_TEXTS)
        qrels = folder / f"{published}-qrels"
        splits = _splits(texts)
        family = _FAMILY.fullmatch(published)
        tables = Tables(
            name=f"{family[1]}/{family[2]}" if family else published,
            corpus=_needed(texts, splits, "corpus"),
            queries=_needed(texts, splits, "queries"),
            qrels=_needed(qrels, _splits(qrels), split),
            judged=("query_id", "corpus_id"),
        )
        found.append(Source(tables.name, tables.files, tables.read))
    return found


def _splits(folder: Path) -> dict[str, tuple[Path, ...]]:
    """Returns the files of each split, which stand in ``data`` or beside the card."""
    return parquet_splits(folder / "data") or parquet_splits(folder)


def _needed(folder: Path, splits: dict[str, tuple[Path, ...]], split: str) -> tuple[Path, ...]:
    if split not in splits:
        raise InputError(f"{folder} has no Parquet file of the split {split!r} (in data/).")
    return splits[split]
