"""Row losses of a step or of a micro-batch: what measures look at."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RowLosses:
    """Losses of some rows, proxy beside reference.

    Attributes:
        proxy: Proxy loss of each row in nats, shape ``(rows,)``.
        reference: Reference loss of each row in nats, same shape.
        task_of: Task number of each row, same shape.
        tasks: Number of tasks K.
    """

    proxy: Floats
    reference: Floats
    task_of: NDArray[np.int64]
    tasks: int

    @classmethod
    def joined(cls, parts: "Sequence[RowLosses]") -> "RowLosses":
        """Returns the rows of several micro-batches as one."""
        return cls(
            np.concatenate([part.proxy for part in parts]),
            np.concatenate([part.reference for part in parts]),
            np.concatenate([part.task_of for part in parts]),
            parts[0].tasks,
        )

    @property
    def counts(self) -> NDArray[np.int64]:
        """Rows of each task, shape ``(K,)``."""
        return np.bincount(self.task_of, minlength=self.tasks)

    def task_means(self, values: Floats) -> Floats:
        """Returns the mean of a row value over each task's rows, shape ``(K,)``; 0 where none."""
        sums = np.bincount(self.task_of, weights=values, minlength=self.tasks)
        return sums / np.maximum(self.counts, 1)

    def task_largest(self, values: Floats) -> Floats:
        """Returns the largest row value of each task, shape ``(K,)``; 0 where none."""
        largest = np.zeros(self.tasks)
        np.maximum.at(largest, self.task_of, values)
        return largest
