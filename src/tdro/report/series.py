"""What the report shows of a trajectory: thinned weight lines and smoothed losses."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tdro.learning.diagnosis import means
from tdro.learning.trajectory import pivot

Floats = npt.NDArray[np.float64]

_MOST_POINTS = 200


@dataclass(frozen=True)
class WeightLines:
    """Weights over steps, thinned to what a screen can show.

    Attributes:
        steps: Step numbers, rising, (points,).
        weights: Weights by task, the largest final weight first, each (points,).
    """

    steps: npt.NDArray[np.int64]
    weights: dict[str, Floats]


@dataclass(frozen=True)
class TaskLosses:
    """Mean losses of one task in the first and in the last third of the steps; NaN where absent."""

    task: str
    proxy_first: float
    proxy_last: float
    reference_first: float
    reference_last: float

    @property
    def change(self) -> float:
        """How much the proxy loss rose from the first third to the last."""
        return self.proxy_last - self.proxy_first


def weight_lines(trajectory: pa.Table) -> WeightLines:
    """Picks at most 200 evenly spaced steps, the first and the last among them.

    Args:
        trajectory: The table of a run record; not empty.
    """
    tasks, columns = pivot(trajectory)
    weights = columns["weight"]
    steps = np.unique(trajectory.column("step").to_numpy()).astype(np.int64)
    picked = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), _MOST_POINTS)).round())
    rows = picked.astype(np.int64)
    order = np.argsort(-np.nan_to_num(weights[-1]), kind="stable")
    return WeightLines(steps[rows], {tasks[task]: weights[rows, task] for task in order.tolist()})


def task_losses(trajectory: pa.Table) -> list[TaskLosses]:
    """Averages the losses of each task over the first and the last third of the steps.

    Args:
        trajectory: The table of a run record; not empty.

    Returns:
        One value for each task, the highest proxy loss of the last third first.
    """
    tasks, columns = pivot(trajectory)
    proxy, reference = columns["proxy_loss"], columns["reference_loss"]
    third = max(1, len(proxy) // 3)
    thirds = (proxy[:third], proxy[-third:], reference[:third], reference[-third:])
    losses = [
        TaskLosses(task, *map(float, row))
        for task, *row in zip(tasks, *map(means, thirds), strict=True)
    ]
    return sorted(losses, key=lambda loss: -np.nan_to_num(loss.proxy_last))
