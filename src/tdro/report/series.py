"""What the report shows of a trajectory: thinned weight lines and smoothed losses."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

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
    steps, tasks, weights = _pivot(trajectory, "weight")
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
    steps, tasks, proxy = _pivot(trajectory, "proxy_loss")
    reference = _pivot(trajectory, "reference_loss")[2]
    third = max(1, len(steps) // 3)
    columns = (
        _means(proxy[:third]),
        _means(proxy[-third:]),
        _means(reference[:third]),
        _means(reference[-third:]),
    )
    losses = [
        TaskLosses(task, *map(float, row)) for task, *row in zip(tasks, *columns, strict=True)
    ]
    return sorted(losses, key=lambda loss: -np.nan_to_num(loss.proxy_last))


def _pivot(trajectory: pa.Table, column: str) -> tuple[npt.NDArray[np.int64], list[str], Floats]:
    """Spreads a column over its steps (rows) and tasks (columns); NaN where there is no value."""
    codes = trajectory.column("task").combine_chunks().dictionary_encode()
    tasks = codes.dictionary.to_pylist()
    steps, rows = np.unique(trajectory.column("step").to_numpy(), return_inverse=True)
    values = np.full((len(steps), len(tasks)), np.nan)
    values[rows, codes.indices.to_numpy()] = trajectory.column(column).to_numpy()
    return steps.astype(np.int64), tasks, values


def _means(values: Floats) -> Floats:
    """Averages each column over its values that are not NaN; NaN without any."""
    there = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        means: Floats = np.where(there, values, 0.0).sum(axis=0) / there.sum(axis=0)
    return means
