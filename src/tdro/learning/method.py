"""Methods: a measure, an update rule and a form of the step; the presets by name."""

from dataclasses import dataclass, field

from tdro.errors import InputError
from tdro.learning.forms import ByMicroBatch, StepForm, WholeStep
from tdro.learning.losses import Floats
from tdro.learning.measures import (
    Excess,
    Measure,
    Plain,
    PooledRatio,
    ReleasedRatio,
    RowRatio,
    TaskRatio,
)
from tdro.learning.rules import ClippedAscent, SmoothedAscent, UpdateRule
from tdro.settings import LearningSettings


@dataclass(frozen=True)
class Method:
    """How a mixture is learned from row losses.

    Attributes:
        measure: Row losses to task signals.
        rule: Task signals to weights.
        form: What is measured and weighted together.
    """

    measure: Measure
    rule: UpdateRule
    form: StepForm = field(default_factory=WholeStep)


def method_of(settings: LearningSettings, reference_of_task: Floats) -> Method:
    """Returns the preset that the settings name.

    Args:
        settings: Method, step size, cut and smoothing.
        reference_of_task: Mean reference loss of each task over all planned rows in nats, shape
            ``(K,)``.

    Raises:
        InputError: The method learns from something else.
    """
    clipped = ClippedAscent(settings.eta)
    cut, smoothing = settings.cut or 0.0, settings.smoothing or 0.0
    presets = {
        "tdro-pooled": Method(PooledRatio(reference_of_task, cut), clipped),
        "tdro": Method(RowRatio(cut), clipped),
        "tdro-paper": Method(TaskRatio(), clipped),
        "tdro-released": Method(ReleasedRatio(cut), clipped, ByMicroBatch()),
        "group-dro": Method(Plain(), clipped),
        "doremi": Method(Excess(), SmoothedAscent(settings.eta, smoothing)),
    }
    if settings.method not in presets:
        raise InputError(
            f"The method {settings.method} does not learn from row losses: run it by a recipe."
        )
    return presets[settings.method]
