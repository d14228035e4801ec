"""Which rows are read when: quotas over tasks, and the draws of rows within a task.

Everything here is index arithmetic on numbers of rows and passages; no text is read and no torch
imported.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tdro.errors import InputError
from tdro.tasks.training import TrainingTask

# How many batches of rows may wait for a batch that they do not collide with.
_PATIENCE = 8
# Examples drawn at once; what is drawn depends on it.
_BLOCK = 1024
# Passages tried beyond those wanted before a row is filled up by itself.
_SPARE = 4


def quota_sequence(weights: Sequence[float], length: int, seed: int = 0) -> NDArray[np.int64]:
    """Deals turns to tasks so that every prefix holds each task's share to within one turn.

    This is the chairman assignment of Tijdeman (1980, Discrete Mathematics 32): of the tasks that
    are due, the one whose deadline is nearest. It keeps ``|turns_k(t) - t * w_k| < 1`` for every
    task k and every t, which taking the largest deficit or a coin toss does not.

    Args:
        weights: Weight of each of K tasks, zero or more, summing to 1.
        length: Number of turns.
        seed: Breaks ties between tasks.

    Returns:
        Task number of each turn, shape ``(length,)``. A task of weight 0 gets none.
    """
    share = np.asarray(weights, dtype=np.float64)
    active = np.random.default_rng(seed).permutation(np.flatnonzero(share > 0))
    share = share[active] / share[active].sum()
    if len(active) == 1:
        return np.full(length, active[0], dtype=np.int64)
    slack = 1 / (2 * len(active) - 2)
    dealt = np.zeros(len(active))
    turns = np.empty(length, dtype=np.int64)
    for turn in range(length):
        due = (turn + 1) * share - dealt
        with np.errstate(over="ignore"):
            deadline = np.where(due >= slack - 1e-9, (1 - slack - due) / share, np.inf)
        chosen = int(deadline.argmin())
        dealt[chosen] += 1
        turns[turn] = active[chosen]
    return turns


class Draw(NamedTuple):
    """One training example as numbers.

    Attributes:
        row: Row of the task.
        positive: Passage number of the positive that was drawn.
        negatives: Passage numbers of the hard negatives that were drawn.
        answers: Passage numbers of all positives of the row, and of the passage equal to its query.
    """

    row: int
    positive: int
    negatives: list[int]
    answers: list[int]


@dataclass(frozen=True)
class Block:
    """Consecutive examples of a task as arrays.

    Attributes:
        rows: Rows of the task, shape (n,).
        passages: The positive that was drawn and the hard negatives, shape (n, 1 + negatives).
        answers: All positives of the rows and the passages equal to their queries, those of one
            row after those of another.
        ends: Where in ``answers`` those of each row end, shape (n,).
    """

    rows: NDArray[np.int64]
    passages: NDArray[np.int64]
    answers: NDArray[np.int64]
    ends: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Draw]:
        answers, start = self.answers.tolist(), 0
        for row, passages, end in zip(
            self.rows.tolist(), self.passages.tolist(), self.ends.tolist(), strict=True
        ):
            yield Draw(row, passages[0], passages[1:], answers[start:end])
            start = end

    def cut(self, start: int, end: int) -> "Block":
        """Returns the examples from one place to another."""
        first, last = (int(self.ends[place - 1]) if place else 0 for place in (start, end))
        return Block(
            self.rows[start:end],
            self.passages[start:end],
            self.answers[first:last],
            self.ends[start:end] - first,
        )

    def joined(self, other: "Block") -> "Block":
        """Returns these examples and those of another block after them."""
        return Block(
            np.concatenate([self.rows, other.rows]),
            np.concatenate([self.passages, other.passages]),
            np.concatenate([self.answers, other.answers]),
            np.concatenate([self.ends, other.ends + len(self.answers)]),
        )

    @property
    def collides(self) -> bool:
        """Whether a passage of one example is among the answers of another."""
        answers = np.sort(self.answers)
        found = np.searchsorted(answers, self.passages, side="right")
        found -= np.searchsorted(answers, self.passages, side="left")
        # The positive that was drawn is among the answers of its own row, its negatives are not.
        found[:, 0] -= 1
        return bool(found.any())


@dataclass(frozen=True)
class TaskDraws:
    """The endless sequence of examples of one task.

    Draw j is the same whatever mixture asks for it: two mixtures read the same rows of a task
    where they agree on how many. Each pass over the rows is a new permutation, with positives and
    hard negatives drawn anew. A row with too few hard negatives is filled up with other passages
    of its task; where even those are too few, negatives repeat.

    Attributes:
        source: The task and its rows that may be drawn.
        negatives: Hard negatives to a row.
        seed: Seed of the sequence.

    Raises:
        InputError: There are no rows, or a row's positives and its query are all the passages the
            task has.
    """

    source: TrainingTask
    negatives: int
    seed: int

    def __post_init__(self) -> None:
        if len(self.source.rows) == 0:
            raise InputError(f"Task {self.source.name!r} has no rows to train on.")

    def __iter__(self) -> Iterator[Draw]:
        return itertools.chain.from_iterable(self.blocks())

    def blocks(self) -> Iterator[Block]:
        """Yields the sequence in blocks of at most a few thousand examples."""
        for number in itertools.count():
            generator = np.random.default_rng([self.seed, number])
            order = generator.permutation(self.source.rows)
            for start in range(0, len(order), _BLOCK):
                yield self._block(order[start : start + _BLOCK], generator)

    def first(self, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Returns the first examples of the sequence.

        Returns:
            Rows, shape (count,), and passages, shape (count, 1 + negatives), the positive first.
        """
        rows = np.empty(count, dtype=np.int64)
        passages = np.empty((count, 1 + self.negatives), dtype=np.int64)
        blocks, done = self.blocks(), 0
        while done < count:
            block = next(blocks)
            taken = min(count - done, len(block.rows))
            rows[done : done + taken] = block.rows[:taken]
            passages[done : done + taken] = block.passages[:taken]
            done += taken
        return rows, passages

    def _block(self, rows: NDArray[np.int64], generator: np.random.Generator) -> Block:
        counts, answers = self.source.task.positives.take(rows)
        ends = np.cumsum(counts)
        passages = np.empty((len(rows), 1 + self.negatives), dtype=np.int64)
        passages[:, 0] = answers[ends - counts + generator.integers(counts)]
        own = self.source.task.own[rows]
        there = own >= 0
        answers = np.insert(answers, ends[there], own[there])
        counts = counts + there
        ends = np.cumsum(counts)
        if self.negatives:
            banned = _keys(_owners(counts), answers)
            passages[:, 1:] = self._negatives(rows, banned, generator)
        return Block(rows, passages, answers, ends)

    def _negatives(
        self, rows: NDArray[np.int64], banned: NDArray[np.int64], generator: np.random.Generator
    ) -> NDArray[np.int64]:
        counts, hard = self.source.task.negatives.take(rows)
        owners = _owners(counts)
        shuffled = np.argsort(owners + generator.random(len(hard)))
        rank = np.arange(len(hard)) - np.repeat(np.cumsum(counts) - counts, counts)
        kept = rank < self.negatives
        drawn = np.empty((len(rows), self.negatives), dtype=np.int64)
        drawn[owners[kept], rank[kept]] = hard[shuffled[kept]]
        had = np.minimum(counts, self.negatives)
        if had.min() < self.negatives:
            self._fill(drawn, had, rows, np.append(banned, _keys(owners, hard)), generator)
        return drawn

    def _fill(
        self,
        drawn: NDArray[np.int64],
        had: NDArray[np.int64],
        rows: NDArray[np.int64],
        banned: NDArray[np.int64],
        generator: np.random.Generator,
    ) -> None:
        """Fills up the rows of ``drawn`` that have too few, by other passages of the task."""
        wanting = np.flatnonzero(had < self.negatives)
        shape = (len(wanting), self.negatives + _SPARE)
        tried = generator.integers(len(self.source.task.passages), size=shape)
        fit = ~np.isin(_keys(wanting[:, None], tried), banned)
        for place in range(1, shape[1]):
            fit[:, place] &= (tried[:, :place] != tried[:, place, None]).all(axis=1)
        at = had[wanting, None] + np.cumsum(fit, axis=1) - 1
        line, column = np.nonzero(fit & (at < self.negatives))
        drawn[wanting[line], at[line, column]] = tried[line, column]
        for place in wanting[at[:, -1] < self.negatives - 1].tolist():
            missing = self.negatives - int(had[place])
            drawn[place, had[place] :] = self._filling(int(rows[place]), missing, generator)

    def _filling(self, row: int, count: int, generator: np.random.Generator) -> list[int]:
        answers = self.source.task.answers(row)
        banned = {*answers.tolist(), *self.source.task.negatives[row].tolist()}
        total = len(self.source.task.passages)
        few = min(total, len(banned) + count)
        others = [
            passage
            for passage in generator.choice(total, size=few, replace=False).tolist()
            if passage not in banned
        ][:count]
        if len(others) == count:
            return others
        allowed = np.setdiff1d(np.arange(total), answers)
        if len(allowed) == 0:
            raise InputError(
                f"Task {self.source.name!r} has no passage that could be a negative of row {row}: "
                "every passage is one of its positives or its query. Leave the task out or add "
                "passages."
            )
        return others + np.resize(allowed, count - len(others)).tolist()


def _owners(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(counts)), counts)


def _keys(owners: NDArray[np.int64], passages: NDArray[np.int64]) -> NDArray[np.int64]:
    return (owners << 32) | passages


class _Batch:
    """Examples whose passages are safe as each other's in-batch negatives."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.draws: list[Draw] = []
        self._passages: set[int] = set()
        self._answers: set[int] = set()

    def take(self, draw: Draw) -> bool:
        """Adds the draw unless the batch is full or the draw collides with it."""
        if (
            len(self.draws) == self.size
            or draw.positive in self._answers
            or not self._passages.isdisjoint(draw.answers)
            or not self._answers.isdisjoint(draw.negatives)
        ):
            return False
        self.draws.append(draw)
        self._passages.add(draw.positive)
        self._passages.update(draw.negatives)
        self._answers.update(draw.answers)
        return True

    def arrays(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Returns rows and passages."""
        passages = [[draw.positive, *draw.negatives] for draw in self.draws]
        return np.array([draw.row for draw in self.draws]), np.array(passages)


def distinct_batches(
    draws: TaskDraws, size: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Cuts a sequence of draws into batches that are safe for in-batch negatives.

    No passage of a batch, whether drawn as positive or as negative for one row, is among the
    positives of another row or equal to its query. A row that collides waits for a later batch.
    Where a task has too few distinct passages to fill a batch, the batch is shorter.

    Args:
        draws: The examples of one task.
        size: Rows of a batch.

    Yields:
        Rows of a batch, shape (n,), and their passages, shape (n, 1 + negatives), the positive
        first.
    """
    waiting: list[Draw] = []
    blocks = draws.blocks()
    coming = next(blocks)
    while True:
        while len(coming) < size:
            coming = coming.joined(next(blocks))
        window = coming.cut(0, size)
        if not waiting and not window.collides:
            coming = coming.cut(size, len(coming))
            yield window.rows, window.passages
            continue
        batch = _Batch(size)
        waiting = [draw for draw in waiting if not batch.take(draw)]
        while len(batch.draws) < size and len(waiting) < _PATIENCE * size:
            taken = 0
            for draw in window:
                if len(batch.draws) == size or len(waiting) == _PATIENCE * size:
                    break
                taken += 1
                if not batch.take(draw):
                    waiting.append(draw)
            coming = coming.cut(taken, len(coming))
            while len(coming) < size:
                coming = coming.joined(next(blocks))
            window = coming.cut(0, size)
        yield batch.arrays()
