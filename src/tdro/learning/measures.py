"""Measures: how a row's proxy loss is set against its reference loss, as a signal per task."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tdro.learning.losses import Floats, RowLosses

# Of a reference loss of zero there is no ratio; such a row or task counts as zero.
_TINY = np.finfo(np.float64).tiny


class Measure(Protocol):
    """Turns row losses into one signal a task. Any callable of this form will do."""

    def __call__(self, losses: RowLosses) -> Floats:
        """Measures the rows of a step.

        Args:
            losses: Losses of all rows of the step.

        Returns:
            Signal of each task, shape ``(K,)``; 0 for a task that has no row in the step.
        """
        ...


class RowMeasure(ABC):
    """A measure that gives each row a value and each task the mean of its rows'."""

    @abstractmethod
    def values(self, losses: RowLosses) -> Floats:
        """Returns the value of each row, shape ``(rows,)``."""

    def under_cut(self, losses: RowLosses) -> NDArray[np.bool_]:
        """Tells which rows' reference loss is too small to divide by, shape ``(rows,)``."""
        return np.zeros(len(losses.proxy), dtype=np.bool_)

    def __call__(self, losses: RowLosses) -> Floats:
        """Measures a step (see :class:`Measure`)."""
        return losses.task_means(self.values(losses))


@dataclass(frozen=True)
class RowRatio(RowMeasure):
    """Proxy loss over reference loss row by row, rows that are too easy left at zero.

    The released code divides by reference losses normalised over the gathered micro-batch
    (:class:`ReleasedRatio`). Here the unit is the mean reference loss of the step and the cut a
    fraction of it, so that the signal does not change with the number of rows.

    Attributes:
        cut: Rows with a reference loss under this fraction of the step's mean count as zero.
    """

    cut: float = 0.05

    def values(self, losses: RowLosses) -> Floats:
        """Returns ``proxy * mean(reference) / reference``; 0 under the cut."""
        ratio = np.zeros_like(losses.proxy)
        counted = ~self.under_cut(losses)
        np.divide(losses.proxy, _relative(losses.reference), out=ratio, where=counted)
        return ratio

    def under_cut(self, losses: RowLosses) -> NDArray[np.bool_]:
        """Tells which rows are under the cut."""
        return _relative(losses.reference) <= max(self.cut, _TINY)


@dataclass(frozen=True)
class ReleasedRatio(RowMeasure):
    """The released code's ratio (commit c27893a, ``compute_group_dro_loss``).

    Reference losses are divided by their sum over the gathered micro-batch, those under 1e-4 then
    set to one. At 512 rows a row under 5.1 % of the mean so counts for proxy / 1 instead of
    proxy * 512 / ..., which is next to nothing; at 32 rows the cut is at 0.3 %.

    Attributes:
        cut: Normalised reference losses under this are set to one.
    """

    cut: float = 1e-4

    def values(self, losses: RowLosses) -> Floats:
        """Returns ``proxy / normalised reference``."""
        normalised = losses.reference / max(float(losses.reference.sum()), _TINY)
        return losses.proxy / np.where(normalised < self.cut, 1.0, normalised)

    def under_cut(self, losses: RowLosses) -> NDArray[np.bool_]:
        """Tells which rows are under the cut."""
        return losses.reference / max(float(losses.reference.sum()), _TINY) < self.cut


@dataclass(frozen=True)
class TaskRatio:
    """Mean proxy loss of a task over its mean reference loss (the paper's M_g, section 3)."""

    def __call__(self, losses: RowLosses) -> Floats:
        """Measures a step (see :class:`Measure`)."""
        below = losses.task_means(losses.reference)
        above = losses.task_means(losses.proxy)
        return np.divide(above, below, out=np.zeros(losses.tasks), where=below > _TINY)


@dataclass(frozen=True, eq=False)
class PooledRatio(RowMeasure):
    """Mean proxy loss of a task over its mean reference loss in the whole plan.

    The paper's M_g is a ratio of expectations. A step holds few rows of a task, so a mean over
    them makes a noisy denominator; the reference losses of all planned rows are known before the
    first step, so the expectation needs no step.

    Attributes:
        reference_of_task: Mean reference loss of each task over the plan in nats, shape ``(K,)``;
            0 for a task without rows.
        cut: A task's reference loss counts as at least this fraction of the mean over tasks, so
            that one which the reference has solved or memorised cannot take the mixture over.
    """

    reference_of_task: Floats
    cut: float = 0.25

    def values(self, losses: RowLosses) -> Floats:
        """Returns ``proxy / reference of the task``."""
        unit = np.maximum(self.reference_of_task, self._least())[losses.task_of]
        nothing = np.zeros_like(losses.proxy)
        return np.divide(losses.proxy, unit, out=nothing, where=unit > _TINY)

    def under_cut(self, losses: RowLosses) -> NDArray[np.bool_]:
        """Tells which rows are of a task under the cut."""
        return (self.reference_of_task < self._least())[losses.task_of]

    def _least(self) -> float:
        there = self.reference_of_task[self.reference_of_task > 0]
        return self.cut * float(there.mean()) if len(there) else 0.0


@dataclass(frozen=True)
class Excess(RowMeasure):
    """Proxy loss above reference loss, never less than zero (DoReMi)."""

    def values(self, losses: RowLosses) -> Floats:
        """Returns ``max(proxy - reference, 0)``."""
        return np.maximum(losses.proxy - losses.reference, 0.0)


@dataclass(frozen=True)
class Plain(RowMeasure):
    """The proxy loss (GroupDRO, Sagawa et al. 2020); the reference is not used."""

    def values(self, losses: RowLosses) -> Floats:
        """Returns the proxy losses."""
        return losses.proxy


def _relative(reference: Floats) -> Floats:
    return reference / max(float(reference.mean()), _TINY)
