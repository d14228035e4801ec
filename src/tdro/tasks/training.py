"""The rows of a task that may be trained on, and the texts that numbers stand for."""

import zlib
from dataclasses import dataclass, replace

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from tdro.errors import InputError
from tdro.tasks.task import Task

_LARGEST_HOLDOUT = 0.2


@dataclass(frozen=True)
class TrainingTask:
    """A task without the rows that are held out, and those that ask the same.

    Attributes:
        task: The whole task.
        rows: Numbers of the rows that may be trained on, ascending.
        held_out: Numbers of the rows whose queries judge the retrievers, ascending.
    """

    task: Task
    rows: NDArray[np.int64]
    held_out: NDArray[np.int64]

    @property
    def name(self) -> str:
        """Name of the task."""
        return self.task.name


def held_out_rows(asked: int, rows: int) -> int:
    """Returns how many rows of a task are held out where some are asked for: at most a fifth."""
    return min(asked, int(_LARGEST_HOLDOUT * rows))


def hold_out(
    task: Task,
    queries: int,
    seed: int,
    purpose: str = "holdout",
    rows: NDArray[np.int64] | None = None,
) -> TrainingTask:
    """Splits a task: some queries judge, the rest train.

    No held-out query is trained on, nor is a row whose query differs from one in case, white space
    and punctuation only.

    Args:
        task: The task.
        queries: Queries to hold out; at most a fifth of the rows is.
        seed: Seed of the choice.
        purpose: What the queries are held out for; each purpose draws others.
        rows: The rows to split; all when absent.
    """
    rows = np.arange(len(task)) if rows is None else rows
    count = held_out_rows(queries, len(rows))
    order = np.random.default_rng(task_seed(seed, purpose, task.name)).permutation(rows)
    held_out, others = np.sort(order[:count]), np.sort(order[count:])
    alike = np.isin(task.first_alike[others], task.first_alike[held_out])
    return TrainingTask(task, others[~alike], held_out)


def halves(task: TrainingTask, seed: int) -> tuple[TrainingTask, TrainingTask]:
    """Splits the rows to train on into two halves at random, rows that ask the same together.

    Raises:
        InputError: The task has fewer than two rows to train on.
    """
    if len(task.rows) < 2:
        raise InputError(
            f"Task {task.name!r} has {len(task.rows)} rows to train on and two folds need two: "
            "set reference.folds to 1 or leave the task out."
        )
    order = np.random.default_rng(task_seed(seed, "folds", task.name)).permutation(task.rows)
    _, firsts, group = np.unique(
        task.task.first_alike[order], return_index=True, return_inverse=True
    )
    place = firsts[group]
    order = order[np.argsort(place, kind="stable")]
    cuts = np.flatnonzero(np.diff(np.sort(place))) + 1
    middle = len(order) // 2
    if len(cuts):
        middle = int(cuts[np.abs(cuts - middle).argmin()])
    return (
        replace(task, rows=np.sort(order[:middle])),
        replace(task, rows=np.sort(order[middle:])),
    )


def task_seed(seed: int, purpose: str, name: str) -> int:
    """Returns a seed of its own for each purpose and task, whatever other tasks there are."""
    words = [seed, zlib.crc32(purpose.encode()), zlib.crc32(name.encode())]
    return int(np.random.SeedSequence(words).generate_state(1)[0])


def texts(table: Dataset, numbers: NDArray[np.int64]) -> list[str]:
    """Reads some texts of a task's ``queries`` or ``passages`` in one go."""
    found: list[str] = table[numbers.tolist()]["text"]
    return found
