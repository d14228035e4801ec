"""The batch samplers: rows of one task a batch, tasks dealt by a mixture."""

import bisect
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers.base.sampler import DefaultBatchSampler, MultiDatasetDefaultBatchSampler
from sentence_transformers.util.distributed import get_world_size
from torch.utils.data import BatchSampler, ConcatDataset, RandomSampler

from tdro.draws import quota_sequence
from tdro.errors import InputError


class BlockBatchSampler(DefaultBatchSampler):
    """Yields the rows of a dataset in order, one batch for each value of its ``block`` column.

    With N processes a block is cut into N equal batches that follow each other: together they are
    the batch of one process, but for up to N - 1 rows of a block that N does not divide.

    Raises:
        InputError: A block has fewer rows than there are processes.
    """

    def __init__(self, dataset: Dataset, **options: Any) -> None:
        options.pop("valid_label_columns", None)
        super().__init__(dataset, **options)
        blocks = dataset.with_format("numpy")["block"][:]
        self._bounds = np.flatnonzero(np.diff(blocks, prepend=-1, append=-1)).tolist()
        self._processes = get_world_size()
        fewest = min(np.diff(self._bounds), default=self._processes)
        if fewest < self._processes:
            raise InputError(
                f"A task fills a batch of {fewest} rows only, fewer than the {self._processes} "
                "processes: use fewer processes or leave out the smallest task."
            )

    def __iter__(self) -> Iterator[list[int]]:
        for start, end in itertools.pairwise(self._bounds):
            share = (end - start) // self._processes
            for first in range(start, start + share * self._processes, share):
                yield list(range(first, first + share))

    def __len__(self) -> int:
        return (len(self._bounds) - 1) * self._processes


def _read_together(dataset: ConcatDataset[Any], rows: list[int]) -> list[Any]:
    """Reads the rows of a batch, all that follow each other in one dataset in one go."""
    ends = dataset.cumulative_sizes
    found: list[Any] = []
    for place, mine in itertools.groupby(rows, lambda row: bisect.bisect_right(ends, row)):
        start = ends[place - 1] if place else 0
        part: Any = dataset.datasets[place]
        found += part.__getitems__([row - start for row in mine])
    return found


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
        if get_world_size() > 1:
            # Given a size, accelerate passes over batches that are shorter.
            self.batch_size = None  # type: ignore[assignment]
        if all(hasattr(part, "__getitems__") for part in dataset.datasets):
            # A loader asks a ConcatDataset for one row at a time, and a row of a mapped dataset
            # costs as much to look up as a batch; it asks once where this method is there.
            dataset.__getitems__ = partial(_read_together, dataset)  # type: ignore[attr-defined]

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
