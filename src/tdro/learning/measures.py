"""Measures: how a row's proxy loss is set against its reference loss, as a signal per task."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tdro.settings import LearningSettings

Floats = NDArray[np.float64]


class Measure(Protocol):
    """Turns the losses of all rows of a step into one signal a task."""

    def __call__(
        self, proxy: Floats, reference: Floats, task_of: NDArray[np.int64], tasks: int
    ) -> Floats:
        """Measures one step.

        Args:
            proxy: Proxy loss of each row in nats, shape ``(rows,)``.
            reference: Reference loss of each row in nats, same shape.
            task_of: Task number of each row, same shape.
            tasks: Number of tasks K.

        Returns:
            Signal of each task, shape ``(K,)``; 0 for a task that has no row in the step.
        """
        ...


def task_means(values: Floats, task_of: NDArray[np.int64], tasks: int) -> Floats:
    """Returns the mean of a row value over each task's rows, shape ``(K,)``; 0 where none."""
    sums = np.bincount(task_of, weights=values, minlength=tasks)
    counts = np.bincount(task_of, minlength=tasks)
    return sums / np.maximum(counts, 1)


@dataclass(frozen=True)
class RowRatio:
    """Mean over a task's rows of proxy loss / reference loss, rows that are too easy left at zero.

    The released code (commit c27893a) divides by the reference losses normalised over the
    gathered micro-batch and sets those under 1e-4 to one, which at 512 rows makes rows under
    5.1 % of the mean count for almost nothing. Here the unit is the mean reference loss of the
    step and the cut a fraction of it, so the signal does not change with the number of rows.

    Attributes:
        cut: Rows with a reference loss under this fraction of the step's mean count as zero.
    """

    cut: float = 0.05

    def __call__(
        self, proxy: Floats, reference: Floats, task_of: NDArray[np.int64], tasks: int
    ) -> Floats:
        """Measures one step (see :class:`Measure`)."""
        relative = reference / max(float(reference.mean()), np.finfo(np.float64).tiny)
        counted = relative > max(self.cut, np.finfo(np.float64).tiny)
        ratio = np.divide(proxy, relative, out=np.zeros_like(proxy), where=counted)
        return task_means(ratio, task_of, tasks)


@dataclass(frozen=True)
class TaskRatio:
    """Mean proxy loss of a task over its mean reference loss (the paper's M_g)."""

    def __call__(
        self, proxy: Floats, reference: Floats, task_of: NDArray[np.int64], tasks: int
    ) -> Floats:
        """Measures one step (see :class:`Measure`)."""
        below = task_means(reference, task_of, tasks)
        above = task_means(proxy, task_of, tasks)
        return np.divide(above, below, out=np.zeros(tasks), where=below > 0)


@dataclass(frozen=True)
class Plain:
    """Mean proxy loss of a task (GroupDRO, Sagawa et al. 2020); the reference is not used."""

    def __call__(
        self, proxy: Floats, reference: Floats, task_of: NDArray[np.int64], tasks: int
    ) -> Floats:
        """Measures one step (see :class:`Measure`)."""
        return task_means(proxy, task_of, tasks)


PRESETS: dict[str, Callable[[LearningSettings], Measure]] = {
    "tdro": lambda settings: RowRatio(settings.cut),
    "tdro-paper": lambda settings: TaskRatio(),
    "group-dro": lambda settings: Plain(),
}
