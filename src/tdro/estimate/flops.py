"""Floating-point operations of a stage, in the convention of ``tdro.run.costs``."""

from dataclasses import dataclass

from tdro.estimate.sizes import ModelSize
from tdro.estimate.volume import Volume
from tdro.run.costs import FORWARD, TRAINING
from tdro.settings import TrainingSettings

# Of frozen weights a backward pass computes no gradient, only what flows through them.
_THROUGH = 2
# Two products of n x n with n x width, each a multiplication and an addition, a forward pass; a
# backward pass has four.
_ATTENTION = 4


@dataclass(frozen=True)
class Work:
    """Floating-point operations.

    Attributes:
        weights: Of real tokens with weights: 2 a parameter in a forward pass, 6 in a training step,
            2 more wherever activations are computed again.
        padding: The same of padding.
        attention: Of tokens with tokens, padding included.
    """

    weights: float = 0
    padding: float = 0
    attention: float = 0

    @property
    def total(self) -> float:
        """What the device has to do."""
        return self.weights + self.padding + self.attention

    def __add__(self, other: "Work") -> "Work":
        return Work(
            self.weights + other.weights,
            self.padding + other.padding,
            self.attention + other.attention,
        )


def inference_work(size: ModelSize, volume: Volume, passes: float = 1) -> Work:
    """Returns the work of forward passes without gradients."""
    of_token = FORWARD * passes * (size.parameters_per_token + size.adapters)
    attention = _ATTENTION * passes * size.attention_width * volume.squares
    return _work(volume, of_token, attention)


def training_work(size: ModelSize, volume: Volume, again: float = 0) -> Work:
    """Returns the work of training steps.

    Args:
        size: The model, with adapters where they are trained in place of its own weights.
        volume: What goes through it once.
        again: Further forward passes: one for gradient checkpointing, one for GradCache.
    """
    if size.adapters:
        of_token = (FORWARD + _THROUGH) * size.parameters_per_token + TRAINING * size.adapters
    else:
        of_token = TRAINING * size.parameters_per_token
    attention = _ATTENTION * (TRAINING / FORWARD) * size.attention_width * volume.squares
    return _work(volume, of_token, attention) + inference_work(size, volume, again)


def passes_again(settings: TrainingSettings) -> int:
    """Returns how many forward passes a training makes beside the one it learns from."""
    return settings.gradient_checkpointing + (settings.mini_batch_size is not None)


def _work(volume: Volume, of_token: float, attention: float) -> Work:
    padding = (volume.padded - volume.tokens) * of_token
    return Work(volume.tokens * of_token, padding, attention)
