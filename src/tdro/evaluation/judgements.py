"""Judgements of a benchmark, each with the place where it stands."""

from collections.abc import Mapping
from pathlib import Path

from datasets import Dataset

from tdro.errors import InputError
from tdro.evaluation.corpus import rows_of
from tdro.evaluation.reading import place

# What trec_eval can hold.
_GREATEST = 2**31 - 1


class Judgements:
    """Collects judgements and checks them against queries and documents.

    Some that name what is not there are no error, since published benchmarks have them (ArguAna).
    They are treated as BEIR and mteb do: a query that is not there does not count, and a document
    that is not there is a relevant one that no retriever finds.

    Attributes:
        qrels: Relevance of each judged document by its id, by query id.
        warnings: A sentence for each kind of judgement that names what is not there.
    """

    def __init__(self) -> None:
        self.qrels: dict[str, dict[str, int]] = {}
        self.warnings: list[str] = []
        self._places: dict[tuple[str, str], tuple[Path, int]] = {}

    def add(self, path: Path, number: int, query: str, document: str, relevance: int) -> None:
        """Adds a judgement that stands in a file.

        Raises:
            InputError: The pair was judged before, with another score, or it is out of range.
        """
        if abs(relevance) > _GREATEST:
            raise InputError(
                f"{place(path, number)} judges with {relevance}: scores lie between -{_GREATEST} "
                f"and {_GREATEST}."
            )
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
        """Returns the queries that are judged, in their order; forgets judgements of others.

        Args:
            queries: All queries by their id.
            file: What the file of the queries is called in a sentence.

        Raises:
            InputError: None of the judged queries is there.
        """
        unknown = [pair for pair in self._places if pair[0] not in queries]
        if unknown:
            count = len({query for query, _ in unknown})
            text = self._told(unknown, 0, "query", file)
            if count == len(self.qrels):
                raise InputError(f"{text}, nor is any other judged query.")
            self.warnings.append(
                f"{text}: {count} of {len(self.qrels)} judged queries do not count."
            )
        self.qrels = {query: found for query, found in self.qrels.items() if query in queries}
        self._places = {pair: at for pair, at in self._places.items() if pair[0] in queries}
        return {query: text for query, text in queries.items() if query in self.qrels}

    def check(self, documents: Dataset, file: str) -> None:
        """Warns of judged documents that are not in the corpus.

        Args:
            documents: The corpus.
            file: What its file is called in a sentence.

        Raises:
            InputError: None of the judged documents is there.
        """
        named = {document for _, document in self._places}
        there = rows_of(documents, named)
        unknown = [pair for pair in self._places if pair[1] not in there]
        if not unknown:
            return
        text = self._told(unknown, 1, "document", file)
        if not there:
            raise InputError(f"{text}, nor is any other judged document.")
        self.warnings.append(
            f"{text}: {len(named) - len(there)} of {len(named)} judged documents cannot be found."
        )

    def _told(self, pairs: list[tuple[str, str]], part: int, kind: str, file: str) -> str:
        where = place(*self._places[pairs[0]])
        return f"{where} judges the {kind} {pairs[0][part]!r}, which is not in {file}"
