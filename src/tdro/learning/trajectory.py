"""The trajectory: weights, losses and signals of every step of learning a mixture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tdro.files import read_json, write_json
from tdro.learning.growing import Growing
from tdro.learning.losses import Floats, RowLosses
from tdro.learning.measures import Measure, RowMeasure
from tdro.learning.method import Method
from tdro.learning.weights import TaskWeights
from tdro.mixture import Mixture

TRAJECTORY_FILE = "trajectory.parquet"
_STATE_FILE = "weights.json"

# Temperatures as low as the paper's 0.002 drive the loss of a solved row to exactly zero.
ZERO_LOSS = 1e-6


@dataclass(frozen=True)
class Step:
    """What happened at one step; every vector has shape ``(K,)``.

    Attributes:
        weight: Weights after the update.
        weight_mean: Their mean so far.
        weight_ema: Their moving average.
        proxy_loss: Mean proxy loss in nats; NaN for a task without a row in the step.
        reference_loss: Mean reference loss in nats, likewise.
        signal: Signal before clipping.
        norm: Euclidean norm of the signal before clipping, the same for each task.
        largest: What the row that counts most adds to its task's signal; NaN where the measure
            does not count row by row.
        under_cut: Share of rows whose reference loss is under the measure's cut.
        zero_loss: Share of rows whose proxy loss is zero (under 1e-6 nats).
    """

    weight: Floats
    weight_mean: Floats
    weight_ema: Floats
    proxy_loss: Floats
    reference_loss: Floats
    signal: Floats
    norm: Floats
    largest: Floats
    under_cut: Floats
    zero_loss: Floats


STEP_COLUMNS = tuple(Step.__dataclass_fields__)


@dataclass(frozen=True)
class Trajectory:
    """What happened at every step so far.

    Attributes:
        tasks: Names of the K tasks.
        state: The weights after the last step.
        steps: One record a step.
    """

    tasks: tuple[str, ...]
    state: TaskWeights
    steps: Sequence[Step]

    @classmethod
    def start(cls, tasks: Sequence[str]) -> "Trajectory":
        """Returns the trajectory before the first step."""
        return cls(tuple(tasks), TaskWeights.uniform(len(tasks)), Growing())

    def advanced(
        self, method: Method, micro_batches: Sequence[RowLosses], ema_decay: float
    ) -> "Trajectory":
        """Updates the weights by the losses of a step and adds the step.

        Args:
            method: How.
            micro_batches: Losses of the step, over all processes.
            ema_decay: Decay of the moving average of the weights.

        Raises:
            FloatingPointError: The signal or a weight is not finite.
        """
        parts = method.form.parts(micro_batches)
        signal = np.mean([method.measure(part) for part in parts], axis=0)
        norm = float(np.linalg.norm(signal))
        if not np.isfinite(norm):
            raise FloatingPointError(
                f"The signal of task {self.tasks[int(np.argmin(np.isfinite(signal)))]!r} "
                f"is not finite at step {len(self.steps) + 1}."
            )
        state = self.state.moved_to(method.rule(self.state.log_weights, signal), ema_decay)
        largest, under_cut = _row_by_row(method.measure, parts)
        losses = RowLosses.joined(parts)
        present = losses.counts > 0

        def mean(values: NDArray[Any]) -> Floats:
            return np.where(present, losses.task_means(values.astype(np.float64)), np.nan)

        step = Step(
            weight=state.weights,
            weight_mean=state.mean,
            weight_ema=state.ema,
            proxy_loss=mean(losses.proxy),
            reference_loss=mean(losses.reference),
            signal=signal,
            norm=np.full(losses.tasks, norm),
            largest=largest,
            under_cut=mean(under_cut),
            zero_loss=mean(losses.proxy < ZERO_LOSS),
        )
        return replace(self, state=state, steps=Growing.of(self.steps).extended([step]))

    def moved(self, steps: int) -> float:
        """Returns how far the EMA weights moved in the last so many steps (total variation)."""
        if len(self.steps) <= steps:
            return distance(self.state.ema, np.full(len(self.tasks), 1 / len(self.tasks)))
        return distance(self.state.ema, self.steps[-1 - steps].weight_ema)

    def settled(self, patience: int, tolerance: float) -> bool:
        """Tells whether the EMA weights moved less than ``tolerance`` in ``patience`` steps."""
        return len(self.steps) > patience and self.moved(patience) < tolerance

    def mixture(
        self, kind: str, sizes: Mapping[str, int], details: Mapping[str, object]
    ) -> Mixture:
        """Returns the ``last``, ``mean`` or ``ema`` weights as a mixture."""
        vectors = {"last": self.state.weights, "mean": self.state.mean, "ema": self.state.ema}
        weights = vectors[kind] / vectors[kind].sum()
        named = dict(zip(self.tasks, weights.tolist(), strict=True))
        return Mixture(named, sizes, {"kind": kind, **details})

    def save(self, directory: Path) -> None:
        """Writes ``trajectory.parquet``, one line a step and task, and the state in JSON."""
        pq.write_table(self.table(), directory / TRAJECTORY_FILE)
        write_json(directory / _STATE_FILE, {"tasks": self.tasks, **self.state.to_json()})

    @classmethod
    def load(cls, directory: Path) -> "Trajectory":
        """Reads what :meth:`save` wrote, every float the same, bit for bit."""
        state = read_json(directory / _STATE_FILE)
        table = pq.read_table(directory / TRAJECTORY_FILE)
        tasks = tuple(state["tasks"])
        columns = {
            name: table[name].to_numpy(zero_copy_only=False).reshape(-1, len(tasks))
            for name in STEP_COLUMNS
        }
        count = len(table) // len(tasks)
        steps = [
            Step(**{name: values[place] for name, values in columns.items()})
            for place in range(count)
        ]
        return cls(tasks, TaskWeights.from_json(state), Growing(steps))

    def table(self) -> pa.Table:
        """Returns the steps in long form: step from 1, task, and the columns of :class:`Step`."""
        steps, count = len(self.steps), len(self.tasks)
        columns: dict[str, Any] = {
            "step": pa.array(np.repeat(np.arange(1, steps + 1, dtype=np.int32), count)),
            "task": pa.array(np.tile(np.array(self.tasks, dtype=object), steps), pa.string()),
        }
        for name in STEP_COLUMNS:
            values = [getattr(step, name) for step in self.steps]
            flat = np.concatenate(values) if values else np.empty(0)
            columns[name] = pa.array(flat, from_pandas=True)
        return pa.table(columns)


def _row_by_row(measure: Measure, parts: Sequence[RowLosses]) -> tuple[Floats, NDArray[np.bool_]]:
    """Returns each task's largest addend to its signal, and which rows are under the cut."""
    if not isinstance(measure, RowMeasure):
        rows = sum(len(part.proxy) for part in parts)
        return np.full(parts[0].tasks, np.nan), np.zeros(rows, dtype=np.bool_)
    addends = [
        part.task_largest(measure.values(part)) / np.maximum(part.counts, 1) / len(parts)
        for part in parts
    ]
    largest: Floats = np.max(addends, axis=0)
    return largest, np.concatenate([measure.under_cut(part) for part in parts])


def distance(one: Floats, other: Floats) -> float:
    """Returns the total variation between two mixtures: half the sum of absolute differences."""
    return 0.5 * float(np.abs(one - other).sum())


def pivot(table: pa.Table) -> tuple[list[str], dict[str, Floats]]:
    """Spreads the columns of a trajectory in long form over its steps and tasks.

    Returns:
        The tasks, and for each column of :class:`Step` that is there an array of shape
        ``(steps, K)``, NaN where there is no value.
    """
    codes = table.column("task").combine_chunks().dictionary_encode()
    tasks: list[str] = codes.dictionary.to_pylist()
    steps, rows = np.unique(table.column("step").to_numpy(), return_inverse=True)
    columns = {}
    for name in set(STEP_COLUMNS).intersection(table.column_names):
        columns[name] = np.full((len(steps), len(tasks)), np.nan)
        columns[name][rows, codes.indices.to_numpy()] = table.column(name).to_numpy()
    return tasks, columns
