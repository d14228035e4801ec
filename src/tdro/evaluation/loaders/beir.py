"""BEIR: a folder with ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/*.tsv``."""

from pathlib import Path

from tdro.evaluation.benchmark import DETAILS_FILE, Benchmark, load_benchmark, read_judged
from tdro.evaluation.loaders.source import Choice, Glimpse, Source
from tdro.evaluation.reading import either
from tdro.files import read_json

LAYOUT = "corpus.jsonl, queries.jsonl and qrels/*.tsv (BEIR)"
LANGUAGES: tuple[str, ...] = ()

_DEV = ("msmarco",)
"""Judged on their development queries; what they call test are the 43 queries of TREC DL 2019."""

_OWN_QUERIES = ("arguana", "fever", "fiqa", "msmarco", "quora")
"""Where BEIR and mteb take the document with the query's id out of the ranking: the query itself
(ArguAna, Quora), or for mteb's sake (the others, where equal ids mean nothing)."""


def finds(folder: Path) -> bool:
    """Tells whether one of the files is there; what is missing is told when they are read."""
    named = any(either(folder, name) for name in ("corpus.jsonl", "queries.jsonl"))
    return named or any((folder / "qrels").glob("*.tsv"))


def sources(folder: Path, choice: Choice) -> list[Source]:
    """Returns the benchmark of a folder, named by it or by its ``benchmark.json``."""
    details = folder / DETAILS_FILE
    found = read_json(details) if details.is_file() else {}
    name = found.get("name") if isinstance(found, dict) else None
    return [source(folder, name if isinstance(name, str) else folder.resolve().name, choice)]


def source(folder: Path, name: str, choice: Choice) -> Source:
    """Returns the benchmark of a folder, under a name."""
    published = folder.resolve().name.lower()
    split = choice.split or ("dev" if published in _DEV else "test")
    own_ids = published not in _OWN_QUERIES
    traits = [] if split == "test" else [f"split {split}"]
    if not own_ids:
        traits.append("without the query's own id")

    def read(cache: Path | None) -> Benchmark:
        return load_benchmark(folder, name=name, cache=cache, split=split, own_ids=own_ids)

    def glimpse() -> Glimpse:
        found = read_judged(folder, split=split)
        return Glimpse(list(found.queries.values()), found.instruction, found.corpus)

    files = tuple(sorted(path for path in folder.rglob("*") if path.is_file()))
    return Source(name, files, read, tuple(traits), glimpse=glimpse)
