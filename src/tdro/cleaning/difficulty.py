"""How far plain words get: BM25 on a sample of a task's queries and passages."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tdro.errors import require
from tdro.tasks.negatives import RANKING, TOKENISING
from tdro.tasks.task import Task
from tdro.tasks.training import task_seed, texts

QUERIES = 200
"""Queries that are searched with at most."""

PASSAGES = 5000
"""Passages that are searched at most: the same for large tasks and for larger ones, so that their
figures can be set side by side."""

_CUTOFF = 10


@dataclass(frozen=True)
class Difficulty:
    """What BM25 finds.

    Attributes:
        ndcg: Mean nDCG@10 over the queries, positives being relevant alike.
        hits: Share of the queries with a positive among the first 10.
        queries: Queries searched with.
        passages: Passages searched.
    """

    ndcg: float
    hits: float
    queries: int
    passages: int


def difficulty(task: Task, seed: int) -> Difficulty:
    """Searches a task's own passages with some of its queries.

    The positives of the queries are filled up with other passages drawn at random. A passage that
    is the query itself is not counted among those found, unless it is its positive.

    Args:
        task: The task.
        seed: Seed of the samples.

    Raises:
        InputError: The package bm25s is not installed.
    """
    bm25s = require("bm25s", "run")
    generator = np.random.default_rng(task_seed(seed, "difficulty", task.name))
    rows = generator.permutation(len(task))[:QUERIES]
    rows.sort()
    relevant = [task.positives[int(row)] for row in rows]
    searched = _searched(len(task.passages), np.unique(np.concatenate(relevant)), generator)
    passages = texts(task.passages, searched)
    index = bm25s.tokenize(passages, **TOKENISING)
    places = {text: place for place, text in enumerate(passages)}
    queries = texts(task.queries, rows)
    words = bm25s.tokenize(queries, return_ids=False, **TOKENISING)
    if not index.vocab:
        return Difficulty(0.0, 0.0, len(rows), len(passages))
    model = bm25s.BM25(**RANKING, backend="numpy")
    model.index(index, show_progress=False)
    found = []
    for query, asked, numbers in zip(queries, words, relevant, strict=True):
        wanted = np.searchsorted(searched, numbers)
        scores = model.get_scores_from_ids(model.get_tokens_ids(asked))
        itself = places.get(query)
        if itself is not None and itself not in wanted:
            scores[itself] = 0
        found.append(_gains(scores, wanted))
    gains = np.array(found)
    return Difficulty(float(gains.mean()), float((gains > 0).mean()), len(rows), len(passages))


def _searched(
    count: int, needed: NDArray[np.int64], generator: np.random.Generator
) -> NDArray[np.int64]:
    """Returns the passages that are searched, ascending."""
    missing = min(count, PASSAGES) - len(needed)
    if missing <= 0:
        return needed.astype(np.int64)
    drawn = generator.choice(count, min(count, missing + len(needed)), replace=False)
    others = np.setdiff1d(drawn, needed)
    kept = generator.permutation(others)[:missing]
    return np.sort(np.concatenate([needed, kept])).astype(np.int64)


def _gains(scores: NDArray[np.float32], wanted: NDArray[np.intp]) -> float:
    """Returns nDCG@10 of a ranking by falling score, the lower place first at a tie."""
    hits = np.flatnonzero(scores > 0)
    ranked = hits[np.argsort(-scores[hits], kind="stable")][:_CUTOFF]
    discounts = 1 / np.log2(np.arange(2, _CUTOFF + 2))
    gained = discounts[: len(ranked)][np.isin(ranked, wanted)].sum()
    return float(gained / discounts[: len(wanted)].sum())
