"""Which rows are read when: quotas over tasks, and the draws of rows within a task.

Everything here is index arithmetic on numbers of rows and passages; no text is read.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from sentence_transformers.base.sampler import DefaultBatchSampler, MultiDatasetDefaultBatchSampler
from sentence_transformers.util.distributed import get_world_size
from torch.utils.data import BatchSampler, ConcatDataset, RandomSampler

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
                positive = int(generator.choice(self.source.task.positives[row]))
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


class BlockBatchSampler(DefaultBatchSampler):
    """Yields the rows of a dataset in order, one batch for each value of its ``block`` column."""

    def __init__(self, dataset: Dataset, **options: Any) -> None:
        options.pop("valid_label_columns", None)
        super().__init__(dataset, **options)
        blocks = dataset.with_format("numpy")["block"][:]
        self._bounds = np.flatnonzero(np.diff(blocks, prepend=-1, append=-1)).tolist()

    def __iter__(self) -> Iterator[list[int]]:
        for start, end in itertools.pairwise(self._bounds):
            yield list(range(start, end))

    def __len__(self) -> int:
        return len(self._bounds) - 1


class MixtureBatchSampler(MultiDatasetDefaultBatchSampler):
    """Deals one-task batches to tasks by the weights of a mixture.

    With N processes it deals N consecutive batches at a time to the same task: accelerate hands
    batch i to process i mod N, so cross-device negatives never mix tasks. A dataset that runs out
    starts over, shuffled anew. Each dataset's own sampler gets a generator of its own, so that
    what one task reads does not depend on the weights of the others.

    Args:
        dataset: The concatenated datasets, in the order of ``weights``.
        batch_samplers: One batch sampler a dataset; any of sentence-transformers' will do.
        generator: Unused; kept for the signature of sentence-transformers.
        seed: Seed of the order of tasks and of the rows.
        weights: Weight of each dataset.
        batches: Batches an epoch; by default all that the datasets hold.

    Raises:
        InputError: A dataset with a weight gives no batch at all.
    """

    def __init__(
        self,
        dataset: ConcatDataset[Any],
        batch_samplers: list[BatchSampler],
        generator: torch.Generator | None = None,
        seed: int = 0,
        *,
        names: Sequence[str],
        weights: Sequence[float],
        batches: int | None = None,
    ) -> None:
        super().__init__(dataset, batch_samplers, generator, seed)
        if len(weights) != len(batch_samplers):
            raise InputError(
                f"The mixture has {len(weights)} tasks, the trainer has {len(batch_samplers)} "
                "datasets: pass the DatasetDict that is trained on to Mixture.batch_sampler."
            )
        for name, weight, sampler in zip(names, weights, batch_samplers, strict=True):
            if weight > 0 and len(sampler) == 0:
                raise InputError(
                    f"Task {name!r} is smaller than a batch and incomplete batches are dropped: "
                    "set dataloader_drop_last=False, lower the batch size or leave the task out."
                )
        self.names = tuple(names)
        self.weights = tuple(weights)
        self.batches = batches if batches is not None else sum(map(len, batch_samplers))

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[int]]:
        together = get_world_size()
        turns = quota_sequence(self.weights, -(-self.batches // together), self.seed + self.epoch)
        starts = np.concatenate([[0], self.dataset.cumulative_sizes])
        streams = {
            task: self._endless(task) for task, weight in enumerate(self.weights) if weight > 0
        }
        for task in np.repeat(turns, together)[: self.batches].tolist():
            yield [int(starts[task]) + row for row in next(streams[task])]

    def _endless(self, task: int) -> Iterator[list[int]]:
        sampler: Any = self.batch_samplers[task]
        seed = int(np.random.SeedSequence([self.seed, self.epoch, task]).generate_state(1)[0])
        generator = torch.Generator().manual_seed(seed)
        if isinstance(getattr(sampler, "sampler", None), RandomSampler):
            sampler.sampler.generator = generator
        elif getattr(sampler, "generator", None) is not None:
            sampler.generator = generator
        for number in itertools.count():
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(self.epoch + number)
            count = 0
            for batch in sampler:
                count += 1
                yield batch
            if count == 0:
                raise InputError(
                    f"The batch sampler of task {self.names[task]!r} gives no batch: its rows are "
                    "too few or too alike for this batch size; lower it or leave the task out."
                )


@dataclass(frozen=True)
class MixtureSamplerFactory:
    """A picklable ``multi_dataset_batch_sampler`` argument (see ``Mixture.batch_sampler``)."""

    names: tuple[str, ...]
    weights: tuple[float, ...]
    batches: int | None = None

    def __call__(
        self,
        dataset: ConcatDataset[Any],
        batch_samplers: list[BatchSampler],
        generator: torch.Generator | None = None,
        seed: int = 0,
    ) -> MixtureBatchSampler:
        """Makes the sampler; called by the trainer."""
        return MixtureBatchSampler(
            dataset,
            batch_samplers,
            generator,
            seed,
            names=self.names,
            weights=self.weights,
            batches=self.batches,
        )
