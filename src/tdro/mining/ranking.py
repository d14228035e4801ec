"""Which passages are closest to a query, by BM25."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tdro.errors import require
from tdro.mining.texts import TaskTexts
from tdro.tasks.negatives import Bm25Index, best_places, query_words


@dataclass(frozen=True)
class Ranked:
    """What was found for one row.

    Attributes:
        numbers: Passage numbers, closest first, int32 of shape (found,).
        scores: Their scores, float32 of the same shape.
        lowest: The lowest score of the row's positives.
    """

    numbers: NDArray[np.int32]
    scores: NDArray[np.float32]
    lowest: float


class Ranker(Protocol):
    """Finds passages for queries. The same rows asked together give the same bits again."""

    rows: int
    """Rows that are asked together."""

    def rank(self, first: int, depths: NDArray[np.int64]) -> list[Ranked]:
        """Finds the passages closest to the queries of some rows.

        Args:
            first: The first of the rows, which are consecutive.
            depths: Passages to find for each of them, shape (rows asked,).
        """


class Bm25Ranker:
    """Ranks by BM25 as preparing does, but among all passages of a task.

    Only passages that share a word with the query are found.

    Args:
        texts: The task.

    Raises:
        InputError: The package bm25s is not installed.
    """

    rows = 256

    def __init__(self, texts: TaskTexts) -> None:
        self._texts = texts
        self._module = require("bm25s", "run")
        every = np.arange(len(texts.passages), dtype=np.int32)
        self._index = Bm25Index(self._module, texts.passages, every)

    def rank(self, first: int, depths: NDArray[np.int64]) -> list[Ranked]:
        """See :class:`Ranker`."""
        queries = self._texts.queries.slice(first, len(depths)).to_pylist()
        nobody = np.empty(0, dtype=np.int32)
        found = []
        words = query_words(self._module, queries)
        for row, (said, depth) in enumerate(zip(words, depths.tolist(), strict=True), first):
            scores = self._index.scores(said, nobody)
            places = best_places(scores, depth)
            lowest = float(scores[self._texts.positives[row]].min())
            found.append(Ranked(places.astype(np.int32), scores[places], lowest))
        return found
