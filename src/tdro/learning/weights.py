"""The task weights while they are learned."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tdro.learning.losses import Floats


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

    def moved_to(self, log_weights: Floats, ema_decay: float) -> "TaskWeights":
        """Returns the state after an update (released code: ``update_train_domain_weights``).

        Args:
            log_weights: Log-weights after the update, shape ``(K,)``.
            ema_decay: Decay of the moving average.

        Raises:
            FloatingPointError: A weight is not finite.
        """
        weights = np.exp(log_weights)
        if not np.isfinite(weights).all():
            raise FloatingPointError("A task weight is not finite after the update.")
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
