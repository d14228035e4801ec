"""The trajectory: weights, losses and signals of every step of learning a mixture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tdro.files import read_json, write_json
from tdro.learning.weights import Floats, TaskWeights
from tdro.mixture import Mixture

TRAJECTORY_FILE = "trajectory.parquet"
_STATE_FILE = "weights.json"
_COLUMNS = ("weight", "weight_mean", "weight_ema", "proxy_loss", "reference_loss", "signal")


@dataclass(frozen=True)
class Trajectory:
    """What happened at every step so far.

    Attributes:
        tasks: Names of the K tasks.
        state: The weights after the last step.
        records: For each step an array of shape ``(6, K)``: weight, mean, EMA (after the step's
            update), mean proxy and reference loss (NaN for an absent task) and signal.
    """

    tasks: tuple[str, ...]
    state: TaskWeights
    records: tuple[Floats, ...]

    @classmethod
    def start(cls, tasks: Sequence[str]) -> "Trajectory":
        """Returns the trajectory before the first step."""
        return cls(tuple(tasks), TaskWeights.uniform(len(tasks)), ())

    def extended(
        self, state: TaskWeights, proxy: Floats, reference: Floats, signal: Floats
    ) -> "Trajectory":
        """Adds a step.

        Args:
            state: The weights after the step's update.
            proxy: Mean proxy loss of each task, shape ``(K,)``; NaN for an absent task.
            reference: Mean reference loss of each task, likewise.
            signal: Signal of each task, shape ``(K,)``.
        """
        record = np.stack([state.weights, state.mean, state.ema, proxy, reference, signal])
        return replace(self, state=state, records=(*self.records, record))

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
        columns = [table[name].to_numpy(zero_copy_only=False) for name in _COLUMNS]
        tasks = tuple(state["tasks"])
        cube = np.stack(columns).reshape(len(_COLUMNS), -1, len(tasks))
        return cls(tasks, TaskWeights.from_json(state), tuple(cube.transpose(1, 0, 2).copy()))

    def table(self) -> pa.Table:
        """Returns the records in long form: step from 1, task, and one column a quantity."""
        steps, count = len(self.records), len(self.tasks)
        cube = np.stack(self.records) if steps else np.empty((0, len(_COLUMNS), count))
        columns = {
            "step": pa.array(np.repeat(np.arange(1, steps + 1, dtype=np.int32), count)),
            "task": pa.array(np.tile(np.array(self.tasks, dtype=object), steps), pa.string()),
        }
        for place, name in enumerate(_COLUMNS):
            columns[name] = pa.array(cube[:, place].ravel(), from_pandas=True)
        return pa.table(columns)
