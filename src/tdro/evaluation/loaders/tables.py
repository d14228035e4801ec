"""Benchmarks whose queries, documents and judgements are Parquet files with a row each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tdro.errors import InputError
from tdro.evaluation.benchmark import Benchmark, judged_benchmark
from tdro.evaluation.corpus import map_documents
from tdro.evaluation.judgements import Judgements
from tdro.evaluation.reading import (
    Document,
    as_id,
    identifier,
    passage,
    place,
    read_queries,
    rows,
    text_of,
)


@dataclass(frozen=True)
class Tables:
    """The files of a benchmark, in the columns of the hub's copies of BEIR.

    Attributes:
        name: Name of the benchmark.
        corpus: Files with ``_id``, ``text`` and perhaps ``title``.
        queries: Files with ``_id`` and ``text``.
        qrels: Files with the columns ``judged`` and perhaps ``score``.
        judged: What the ids of query and document are called in ``qrels``.
    """

    name: str
    corpus: tuple[Path, ...]
    queries: tuple[Path, ...]
    qrels: tuple[Path, ...]
    judged: tuple[str, str] = ("query-id", "corpus-id")

    @property
    def files(self) -> tuple[Path, ...]:
        """All that is read."""
        return self.corpus + self.queries + self.qrels

    def read(self, cache: Path | None) -> Benchmark:
        """Reads the benchmark.

        Raises:
            InputError: A file is broken, a column is missing, an id is repeated, or all
                judgements name unknown queries or documents.
        """
        judgements = self._judgements()
        texts = read_queries(_named(self.queries, ("text",)), "_id", "text")
        queries = judgements.judged(texts, "the queries")
        documents = map_documents(self.corpus, self._documents, cache)
        return judged_benchmark(self.name, queries, judgements, documents, "the corpus")

    def _judgements(self) -> Judgements:
        query, document = self.judged
        judgements = Judgements()
        for path, number, record in rows(self.qrels, self.judged, ("score",)):
            relevance = record.get("score", 1)
            if not isinstance(relevance, int | float) or relevance % 1 != 0:
                raise InputError(
                    f"{place(path, number)} must have a whole number in the field 'score', "
                    f"not {relevance!r}."
                )
            judgements.add(
                path,
                number,
                identifier(as_id(record[query]), path, number, query),
                identifier(as_id(record[document]), path, number, document),
                int(relevance),
            )
        if not judgements.qrels:
            raise InputError(f"{self.qrels[0]} holds no judgements ({query}, {document}).")
        return judgements

    def _documents(self) -> Iterator[Document]:
        for path, number, record in _named(self.corpus, ("text",), ("title",)):
            text = text_of(record, "text", path, number)
            name = identifier(record["_id"], path, number, "_id")
            yield path, number, name, passage(record.get("title"), text)


def _named(
    files: Sequence[Path], needed: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[tuple[Path, int, dict[str, Any]]]:
    for path, number, record in rows(files, ("_id", *needed), optional):
        yield path, number, {**record, "_id": as_id(record["_id"])}
