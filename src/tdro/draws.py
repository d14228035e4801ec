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
from tdro.tasks.task import Task
from tdro.tasks.training import TrainingTask

# How many blocks of rows may wait for a batch that they do not collide with.
_PATIENCE = 8


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
    """

    row: int
    positive: int
    negatives: tuple[int, ...]


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
        InputError: There are no rows, or a row's positives are all the passages the task has.
    """

    source: TrainingTask
    negatives: int
    seed: int

    def __post_init__(self) -> None:
        if len(self.source.rows) == 0:
            raise InputError(f"Task {self.source.name!r} has no rows to train on.")

    def __iter__(self) -> Iterator[Draw]:
        for number in itertools.count():
            generator = np.random.default_rng([self.seed, number])
            for row in generator.permutation(self.source.rows):
                positives = self.source.task.positives[row]
                # What Generator.choice does, without its checks.
                positive = int(positives[generator.integers(len(positives))])
                yield Draw(int(row), positive, self._negatives(int(row), generator))

    def _negatives(self, row: int, generator: np.random.Generator) -> tuple[int, ...]:
        hard = generator.permutation(self.source.task.negatives[row])[: self.negatives]
        drawn = [int(passage) for passage in hard]
        missing = self.negatives - len(drawn)
        if missing > 0:
            drawn += self._fill(row, missing, generator)
        return tuple(drawn)

    def _fill(self, row: int, count: int, generator: np.random.Generator) -> list[int]:
        banned = {
            *self.source.task.positives[row].tolist(),
            *self.source.task.negatives[row].tolist(),
        }
        total = len(self.source.task.passages)
        few = min(total, len(banned) + count)
        others = [
            passage
            for passage in generator.choice(total, size=few, replace=False).tolist()
            if passage not in banned
        ][:count]
        if len(others) == count:
            return others
        allowed = np.setdiff1d(np.arange(total), self.source.task.positives[row])
        if len(allowed) == 0:
            raise InputError(
                f"Task {self.source.name!r} has no passage that could be a negative of row {row}: "
                "every passage is one of its positives. Leave the task out or add passages."
            )
        return others + np.resize(allowed, count - len(others)).tolist()


class _Batch:
    """Rows whose passages are safe as each other's in-batch negatives."""

    def __init__(self, task: Task, size: int) -> None:
        self.task = task
        self.size = size
        self.draws: list[Draw] = []
        self._passages: set[int] = set()
        self._answers: set[int] = set()

    def take(self, draw: Draw) -> bool:
        """Adds the draw unless the batch is full or the draw collides with it."""
        answers = set(self.task.positives[draw.row].tolist())
        passages = {draw.positive, *draw.negatives}
        if len(self.draws) == self.size or answers & self._passages or passages & self._answers:
            return False
        self.draws.append(draw)
        self._passages |= passages
        self._answers |= answers
        return True


def distinct_batches(draws: TaskDraws, size: int) -> Iterator[list[Draw]]:
    """Cuts a sequence of draws into batches that are safe for in-batch negatives.

    No passage of a batch, whether drawn as positive or as negative for one row, is among the
    positives of another row. A row that collides waits for a later batch. Where a task has too
    few distinct passages to fill a batch, the batch is shorter.

    Args:
        draws: The examples of one task.
        size: Rows of a batch.
    """
    waiting: list[Draw] = []
    fresh = iter(draws)
    while True:
        batch = _Batch(draws.source.task, size)
        waiting = [draw for draw in waiting if not batch.take(draw)]
        while len(batch.draws) < size and len(waiting) < _PATIENCE * size:
            draw = next(fresh)
            if not batch.take(draw):
                waiting.append(draw)
        yield batch.draws
