"""Update rules: how the signal of a step moves the log-weights."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tdro.learning.losses import Floats


class UpdateRule(Protocol):
    """Moves the log-weights. Any callable of this form will do."""

    def __call__(self, log_weights: Floats, signal: Floats) -> Floats:
        """Takes one step of ascent.

        Args:
            log_weights: Logarithms of the weights in force, shape ``(K,)``.
            signal: Signal of each task, same shape.

        Returns:
            Log-weights after the step, whose exponentials sum to 1.
        """
        ...


@dataclass(frozen=True)
class ClippedAscent:
    """Exponentiated ascent with the signal clipped to norm 1.

    The paper (algorithm 1) speaks of normalising the signal; the released code clips it
    (``dro_max_grad_norm``). Relative losses have a norm far above 1, so both come to the same:
    every update has length ``eta`` before the weights are made to sum to 1 again.

    Attributes:
        eta: Step size.
    """

    eta: float

    def __call__(self, log_weights: Floats, signal: Floats) -> Floats:
        """Takes one step (see :class:`UpdateRule`)."""
        clipped = signal / max(float(np.linalg.norm(signal)), 1.0)
        return log_softmax(log_weights + self.eta * clipped)


@dataclass(frozen=True)
class SmoothedAscent:
    """Exponentiated ascent, then a little of the uniform mixture (DoReMi, algorithm 1).

    Attributes:
        eta: Step size.
        smoothing: Share of the uniform mixture in the weights after a step, so that no task is
            lost for good.
    """

    eta: float
    smoothing: float

    def __call__(self, log_weights: Floats, signal: Floats) -> Floats:
        """Takes one step (see :class:`UpdateRule`)."""
        weights = np.exp(log_softmax(log_weights + self.eta * signal))
        mixed: Floats = np.log((1 - self.smoothing) * weights + self.smoothing / len(weights))
        return log_softmax(mixed)


def log_softmax(values: Floats) -> Floats:
    """Shifts values so that their exponentials sum to 1, shape ``(K,)``."""
    highest = values.max()
    shifted: Floats = values - (highest + np.log(np.exp(values - highest).sum()))
    return shifted
