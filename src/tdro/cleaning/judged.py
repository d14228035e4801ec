"""The texts of a benchmark that no training row should hold."""

from collections.abc import Iterable
from dataclasses import dataclass

from tdro.evaluation.benchmark import Benchmark
from tdro.evaluation.corpus import rows_of


@dataclass(frozen=True)
class Judged:
    """Queries of a benchmark, and the passages that were judged relevant to one.

    Not the whole corpus: a passage that answers no judged query tells nothing of the answers, and
    most corpora (Wikipedia, PubMed) are what tasks are rightly made of.

    Attributes:
        name: Name of the benchmark.
        queries: Pairs of id and text.
        passages: Pairs of id and text, in the order of the corpus; none where answers judge.
    """

    name: str
    queries: tuple[tuple[str, str], ...]
    passages: tuple[tuple[str, str], ...]


def judged(benchmark: Benchmark) -> Judged:
    """Returns the texts of a benchmark that count."""
    relevant = (
        document
        for judgements in benchmark.qrels.values()
        for document, relevance in judgements.items()
        if relevance > 0
    )
    return Judged(
        benchmark.name, tuple(benchmark.queries.items()), tuple(_texts(benchmark, relevant))
    )


def _texts(benchmark: Benchmark, documents: Iterable[str]) -> list[tuple[str, str]]:
    places = rows_of(benchmark.documents, documents)
    if not places:
        return []
    texts = benchmark.documents[list(places.values())]["text"]
    return list(zip(places, texts, strict=True))
