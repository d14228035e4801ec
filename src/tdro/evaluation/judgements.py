"""Judgements of a benchmark, each with the place where it stands."""

from collections.abc import Mapping
from pathlib import Path

from datasets import Dataset

from tdro.errors import InputError
from tdro.evaluation.corpus import rows_of
from tdro.evaluation.reading import place


class Judgements:
    """Collects judgements and checks them against queries and documents.

    Attributes:
        qrels: Relevance of each judged document by its id, by query id.
    """

    def __init__(self) -> None:
        self.qrels: dict[str, dict[str, int]] = {}
        self._places: dict[tuple[str, str], tuple[Path, int]] = {}

    def add(self, path: Path, number: int, query: str, document: str, relevance: int) -> None:
        """Adds a judgement that stands in a file.

        Raises:
            InputError: The pair was judged before, with another score.
        """
        known = self.qrels.setdefault(query, {}).setdefault(document, relevance)
        if known != relevance:
            before = self._places[query, document]
            where = f"line {before[1]}" if before[0] == path else place(*before)
            raise InputError(
                f"{place(path, number)} judges query {query!r} and document {document!r} again "
                f"with another score than {where}."
            )
        self._places.setdefault((query, document), (path, number))

    def judged(self, queries: Mapping[str, str], file: str) -> dict[str, str]:
        """Returns the queries that are judged, in their order.

        Args:
            queries: All queries by their id.
            file: What the file of the queries is called in a sentence.

        Raises:
            InputError: A judgement names an unknown query.
        """
        for (query, _), where in self._places.items():
            if query not in queries:
                raise _unknown(where, "query", query, file)
        return {query: text for query, text in queries.items() if query in self.qrels}

    def check(self, documents: Dataset, file: str) -> None:
        """Checks that every judged document is in the corpus.

        Args:
            documents: The corpus.
            file: What its file is called in a sentence.

        Raises:
            InputError: A judgement names an unknown document.
        """
        there = rows_of(documents, (document for _, document in self._places))
        for (_, document), where in self._places.items():
            if document not in there:
                raise _unknown(where, "document", document, file)


def _unknown(where: tuple[Path, int], kind: str, identifier: str, file: str) -> InputError:
    return InputError(
        f"{place(*where)} judges the {kind} {identifier!r}, "
        f"which is not in {file}: add it there or remove the line."
    )
