"""Forms of a step: whether all of its rows are measured together, or micro-batch by micro-batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tdro.learning.losses import Floats, RowLosses


class StepForm(Protocol):
    """Which rows of a step are measured together, and how each is weighted."""

    @property
    def updates_before_last(self) -> bool:
        """Whether the weights move before the last micro-batch is weighted, not after it."""
        ...

    def parts(self, micro_batches: Sequence[RowLosses]) -> list[RowLosses]:
        """Returns what is measured together; the mean of the signals moves the weights."""
        ...

    def row_weights(
        self, weights: Floats, task_of: NDArray[np.int64], micro_batches: int
    ) -> Floats:
        """Returns the factor of each row's loss in the loss of the step.

        Args:
            weights: Weights in force, shape ``(K,)``.
            task_of: Task number of each row of one process's micro-batch, shape ``(rows,)``.
            micro_batches: Micro-batches of the step, all equally large.

        Returns:
            Factors, shape ``(rows,)``. The loss is their sum over rows and micro-batches, its
            gradient the mean over processes.
        """
        ...


@dataclass(frozen=True)
class WholeStep:
    """All rows of the step count together, whatever micro-batch or process they are in.

    The loss is ``(1 / B) * sum_i K * weight_task(i) * loss_i`` over the B rows of the step.
    """

    updates_before_last: bool = False

    def parts(self, micro_batches: Sequence[RowLosses]) -> list[RowLosses]:
        """Returns all rows as one part."""
        return [RowLosses.joined(micro_batches)]

    def row_weights(
        self, weights: Floats, task_of: NDArray[np.int64], micro_batches: int
    ) -> Floats:
        """Returns ``K * weight / B``."""
        factors: Floats = len(weights) * weights[task_of] / (len(task_of) * micro_batches)
        return factors


@dataclass(frozen=True)
class ByMicroBatch:
    """The released code's form (commit c27893a, ``training_step_for_dromodelv2``).

    Each micro-batch is measured on its own and the signals are averaged. Row weights are made to
    sum to 1 in each micro-batch of each process, and the update comes before the last micro-batch
    is weighted. The result so depends on how a step is cut.
    """

    updates_before_last: bool = True

    def parts(self, micro_batches: Sequence[RowLosses]) -> list[RowLosses]:
        """Returns the micro-batches as they are."""
        return list(micro_batches)

    def row_weights(
        self, weights: Floats, task_of: NDArray[np.int64], micro_batches: int
    ) -> Floats:
        """Returns ``weight / sum of weights`` over the micro-batch's rows, shared out."""
        factors: Floats = weights[task_of] / (weights[task_of].sum() * micro_batches)
        return factors
