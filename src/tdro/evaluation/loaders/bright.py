"""BRIGHT: ``documents`` and ``examples``, a file for each domain, as on the hub.

``documents/biology-00000-of-00001.parquet`` has ``id`` and ``content``, the file in ``examples``
has ``id``, ``query``, ``gold_ids`` and ``excluded_ids``; JSON lines (``biology.jsonl[.gz]``) will
do. What is excluded for a query is taken out of its ranking. The split ``long`` reads
``long_documents``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tdro.errors import InputError
from tdro.evaluation.benchmark import Benchmark, judged_benchmark
from tdro.evaluation.corpus import map_documents
from tdro.evaluation.judgements import Judgements
from tdro.evaluation.loaders.source import Choice, Source, only_split
from tdro.evaluation.reading import (
    Document,
    as_id,
    identifier,
    parquet_splits,
    place,
    read_queries,
    rows,
    seen,
    text_of,
)

LAYOUT = "documents/ and examples/ with a Parquet or JSON-lines file a domain (BRIGHT)"
LANGUAGES: tuple[str, ...] = ()

NAME = "bright"
_NOTHING = "N/A"
_SPLITS = {"standard": ("documents", "gold_ids"), "long": ("long_documents", "gold_ids_long")}


def finds(folder: Path) -> bool:
    """Tells whether both folders hold files of domains."""
    return bool(_domains(folder / "documents") and _domains(folder / "examples"))


def sources(folder: Path, choice: Choice) -> list[Source]:
    """Returns the domains, named ``bright/DOMAIN``.

    Raises:
        InputError: A domain has documents and no examples, or the other way round.
    """
    where, gold = _SPLITS[only_split(folder, choice, *_SPLITS)]
    documents, examples = _domains(folder / where), _domains(folder / "examples")
    if not documents:
        raise InputError(f"{folder / where} holds no files of domains.")
    found = []
    for domain in sorted(documents if where == "long_documents" else documents | examples):
        for part, files in ((where, documents), ("examples", examples)):
            if domain not in files:
                raise InputError(f"{folder / part} has no file of the domain {domain!r}.")
        one = _Domain(f"{NAME}/{domain}", documents[domain], examples[domain], gold)
        found.append(Source(one.name, one.documents + one.examples, one.read))
    return found


@dataclass(frozen=True)
class _Domain:
    name: str
    documents: tuple[Path, ...]
    examples: tuple[Path, ...]
    gold: str

    def read(self, cache: Path | None) -> Benchmark:
        judgements = Judgements()
        excluded: dict[str, frozenset[str]] = {}
        records = []
        for path, number, record in rows(self.examples, ("id", "query", "excluded_ids", self.gold)):
            query = as_id(record["id"])
            records.append((path, number, {"id": query, "query": record["query"]}))
            lists = {}
            for name in (self.gold, "excluded_ids"):
                if not isinstance(record[name], list):
                    raise InputError(f"{place(path, number)} must have a list in {name!r}.")
                named = [as_id(value) for value in record[name] if value != _NOTHING]
                lists[name] = [identifier(value, path, number, name) for value in named]
            for document in lists[self.gold]:
                judgements.add(path, number, query, document, 1)
            excluded[query] = frozenset(lists["excluded_ids"])
        queries = judgements.judged(read_queries(records, "id", "query"), "the examples")
        if not queries:
            raise InputError(f"{self.examples[0]} holds no examples.")
        documents = map_documents(self.documents, self._documents, cache, key="id")
        excluded = {query: excluded[query] for query in queries if excluded[query]}
        return judged_benchmark(
            self.name, queries, judgements, documents, "the documents", excluded=excluded
        )

    def _documents(self) -> Iterator[Document]:
        for path, number, record in rows(self.documents, ("id", "content")):
            name = identifier(as_id(record["id"]), path, number, "id")
            yield path, number, name, text_of(record, "content", path, number)


def _domains(folder: Path) -> dict[str, tuple[Path, ...]]:
    found = parquet_splits(folder)
    for pattern in ("*.jsonl", "*.jsonl.gz"):
        for path in seen(folder, pattern):
            found.setdefault(path.name.partition(".jsonl")[0], (path,))
    return found
