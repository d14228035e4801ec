"""Hard negatives by BM25 among the passages of the same task."""

from collections.abc import Iterable, Iterator
from itertools import islice
from types import ModuleType

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tdro.errors import require
from tdro.tasks.texts import select_texts

Numbers = NDArray[np.int32]

LARGEST_INDEX = 100_000
"""Passages searched at most; a larger task is searched in a seeded sample of this size."""

_QUERY_CHUNK = 1000
# Han and kana are written without spaces, so each of their characters counts as a word.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
TOKENISING = {
    "token_pattern": rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+",
    "stopwords": None,
    "show_progress": False,
}
"""How texts become words, by bm25s."""

RANKING = {"method": "lucene", "k1": 1.5, "b": 0.75}
"""Which BM25."""


def mine(
    queries: Iterable[str],
    passages: pa.ChunkedArray,
    excluded: Iterable[Numbers],
    count: int,
    seed: int,
) -> Iterator[Numbers]:
    """Finds passages that look like an answer to a query and are not.

    Passages are ranked by BM25 (Lucene's form, k1 1.5, b 0.75) on lower-cased words, with no
    stemmer and no stop words, so that all languages are treated alike. Only passages that share a
    word with the query are ranked; where they are fewer than ``count``, as in tasks across
    languages, the list is filled up with other passages drawn at random.

    Args:
        queries: Texts.
        passages: Distinct texts, shape (passages,).
        excluded: For each query the numbers of the passages it must not get: its positives.
        count: Negatives wanted for each query.
        seed: Seed of the random passages and of the sample searched.

    Yields:
        For each query the numbers of up to ``count`` distinct passages, best first; fewer only
        where the task has no others.

    Raises:
        InputError: The package bm25s is not installed.
    """
    bm25s = require("bm25s", "run")
    generator = np.random.default_rng(seed)
    searched = _searched(len(passages), generator)
    index = Bm25Index(bm25s, passages, searched)
    for words, banned in zip(query_words(bm25s, queries), excluded, strict=True):
        hits = searched[best_places(index.scores(words, banned), count)]
        yield np.concatenate([hits, others(len(passages), hits, banned, count, generator)])


def query_words(bm25s: ModuleType, queries: Iterable[str]) -> Iterator[list[str]]:
    """Yields the words of each query, as those of passages are told."""
    left = iter(queries)
    while chunk := list(islice(left, _QUERY_CHUNK)):
        yield from bm25s.tokenize(chunk, return_ids=False, **TOKENISING)


class Bm25Index:
    """BM25 over some passages of a task.

    Args:
        bm25s: The module.
        passages: Texts, shape (passages,).
        searched: Numbers of those that can be found, ascending.
    """

    def __init__(self, bm25s: ModuleType, passages: pa.ChunkedArray, searched: Numbers) -> None:
        self._searched = searched
        tokens = bm25s.tokenize(select_texts(passages, searched), **TOKENISING)
        self._model = None
        if tokens.vocab:
            # The numpy backend gives the same numbers whether or not numba is installed.
            self._model = bm25s.BM25(**RANKING, backend="numpy")
            self._model.index(tokens, show_progress=False)

    def scores(self, words: list[str], banned: Numbers) -> NDArray[np.float32]:
        """Returns the score of each passage searched, 0 for those that are banned.

        Args:
            words: Those of the query.
            banned: Numbers of passages.
        """
        if self._model is None:
            return np.zeros(len(self._searched), dtype=np.float32)
        scores: NDArray[np.float32] = self._model.get_scores_from_ids(
            self._model.get_tokens_ids(words)
        )
        places = np.searchsorted(self._searched, banned)
        places = places[places < len(scores)]
        scores[places[np.isin(self._searched[places], banned)]] = 0
        return scores


def _searched(passages: int, generator: np.random.Generator) -> Numbers:
    if passages <= LARGEST_INDEX:
        return np.arange(passages, dtype=np.int32)
    sample = generator.choice(passages, LARGEST_INDEX, replace=False, shuffle=False)
    return np.sort(sample).astype(np.int32)


def best_places(scores: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Returns the places of the highest positive scores, best first, the lower place at a tie."""
    hits = np.flatnonzero(scores > 0)
    if len(hits) > count:
        found = scores[hits]
        hits = hits[found >= np.partition(found, -count)[-count]]
    return hits[np.argsort(-scores[hits], kind="stable")][:count]


def others(
    passages: int, hits: Numbers, banned: Numbers, count: int, generator: np.random.Generator
) -> Numbers:
    """Draws what the hits leave wanting of ``count`` passages, apart from hits and banned.

    Returns:
        Distinct numbers; fewer than are wanting where there are no others.
    """
    missing = count - len(hits)
    if missing <= 0:
        return hits[:0]
    taken = np.concatenate([hits, banned])
    drawn = generator.choice(passages, min(passages, missing + len(taken)), replace=False)
    return drawn[~np.isin(drawn, taken)][:missing].astype(np.int32)
