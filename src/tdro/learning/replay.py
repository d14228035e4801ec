"""Replay: the trajectory that recorded row losses would have given with another method."""

from dataclasses import dataclass
from typing import Any

from tdro.learning.method import Method
from tdro.learning.record import LossRecord
from tdro.learning.trajectory import Trajectory

CAVEAT = (
    "Replayed from recorded losses: with these weights the proxy would have been trained "
    "differently and its losses would have been others."
)


@dataclass(frozen=True)
class Replay:
    """A replayed trajectory.

    Attributes:
        trajectory: Weights after every step.
        updates: For every step its ``task_signal``, ``norm`` before clipping, ``log_weights``,
            ``weights``, ``weights_mean`` and ``weights_ema``, as JSON values.
        micro: For every micro-batch its ``robust_loss``, the weighted loss the proxy is trained
            on, and ``task_signal`` where the method measures micro-batches one by one.
    """

    trajectory: Trajectory
    updates: list[dict[str, Any]]
    micro: list[dict[str, Any]]


def replay(record: LossRecord, method: Method, ema_decay: float) -> Replay:
    """Recomputes a trajectory from row losses.

    Args:
        record: Row losses of every micro-batch.
        method: Measure, update rule and form of the step.
        ema_decay: Decay of the moving average of the weights.

    Raises:
        FloatingPointError: A signal or weight is not finite.
    """
    trajectory = Trajectory.start(record.tasks)
    updates: list[dict[str, Any]] = []
    micro: list[dict[str, Any]] = []
    for step in record.steps():
        before = trajectory
        trajectory = trajectory.advanced(method, step, ema_decay)
        by_micro_batch = len(method.form.parts(step)) == len(step)
        for place, part in enumerate(step, start=1):
            moved = method.form.updates_before_last and place == len(step)
            weights = (trajectory if moved else before).state.weights
            factors = method.form.row_weights(weights, part.task_of, 1)
            told: dict[str, Any] = {"robust_loss": float(factors @ part.proxy)}
            if by_micro_batch:
                told["task_signal"] = method.measure(part).tolist()
            micro.append(told)
        last, state = trajectory.steps[-1], trajectory.state
        updates.append(
            {
                "task_signal": last.signal.tolist(),
                "norm": float(last.norm[0]),
                "log_weights": state.log_weights.tolist(),
                "weights": state.weights.tolist(),
                "weights_mean": state.mean.tolist(),
                "weights_ema": state.ema.tolist(),
            }
        )
    return Replay(trajectory, updates, micro)
