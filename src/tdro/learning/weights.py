"""The task weights while they are learned."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TaskWeights:
    """The state of the weights after some updates; all vectors have shape ``(K,)``.

    Attributes:
        updates: Number of updates so far.
        log_weights: Logarithms of the weights in force.
        mean: Mean of the weights after each update; uniform before the first.
        ema: Moving average of the weights, started at uniform.
    """

    updates: int
    log_weights: Floats
    mean: Floats
    ema: Floats

    @classmethod
    def uniform(cls, tasks: int) -> "TaskWeights":
        """Returns the state before the first update."""
        even = np.full(tasks, 1 / tasks)
        return cls(0, np.log(even), even, even)

    @property
    def weights(self) -> Floats:
        """The weights in force, summing to 1."""
        return np.exp(self.log_weights)

    def updated(self, signal: Floats, *, eta: float, ema_decay: float) -> "TaskWeights":
        """Takes one step of ascent on the log-weights, as the released code does.

        The paper normalises the signal; the released code clips it to norm 1 and then makes the
        weights sum to 1 again.

        Args:
            signal: Signal of each task, shape ``(K,)``; clipped to norm 1.
            eta: Step size.
            ema_decay: Decay of the moving average.

        Raises:
            FloatingPointError: The signal is not finite.
        """
        norm = float(np.linalg.norm(signal))
        if not np.isfinite(norm):
            raise FloatingPointError("The task signal is not finite.")
        raised = self.log_weights + eta * signal / max(norm, 1.0)
        highest = raised.max()
        log_weights = raised - (highest + np.log(np.exp(raised - highest).sum()))
        weights = np.exp(log_weights)
        return TaskWeights(
            self.updates + 1,
            log_weights,
            weights
            if self.updates == 0
            else self.mean + (weights - self.mean) / (self.updates + 1),
            ema_decay * self.ema + (1 - ema_decay) * weights,
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the state as JSON values; every float comes back the same, bit for bit."""
        vectors = {name: getattr(self, name).tolist() for name in ("log_weights", "mean", "ema")}
        return {"updates": self.updates, **vectors}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "TaskWeights":
        """Reads what :meth:`to_json` returned."""
        vectors = (np.array(values[name]) for name in ("log_weights", "mean", "ema"))
        return cls(values["updates"], *vectors)
