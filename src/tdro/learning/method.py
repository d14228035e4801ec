"""Methods: a measure, an update rule and a form of the step; the presets by name."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from tdro.learning.forms import ByMicroBatch, StepForm, WholeStep
from tdro.learning.measures import Excess, Measure, Plain, ReleasedRatio, RowRatio, TaskRatio
from tdro.learning.rules import ClippedAscent, SmoothedAscent, UpdateRule
from tdro.settings import LearningSettings


@dataclass(frozen=True)
class Method:
    """How a mixture is learned from row losses.

    Attributes:
        measure: Row losses to task signals.
        rule: Task signals to weights.
        form: What is measured and weighted together.
        keeps: Which of the weights is the result: those after the last update, or their mean.
    """

    measure: Measure
    rule: UpdateRule
    form: StepForm = field(default_factory=WholeStep)
    keeps: Literal["last", "mean"] = "last"


def method_of(settings: LearningSettings) -> Method:
    """Returns the preset that the settings name, with their step size, cut and smoothing."""
    return _PRESETS[settings.method](settings)


_PRESETS: dict[str, Callable[[LearningSettings], Method]] = {
    "tdro": lambda given: Method(RowRatio(given.cut or 0.0), ClippedAscent(given.eta)),
    "tdro-paper": lambda given: Method(TaskRatio(), ClippedAscent(given.eta)),
    "tdro-released": lambda given: Method(
        ReleasedRatio(given.cut or 0.0), ClippedAscent(given.eta), ByMicroBatch()
    ),
    "group-dro": lambda given: Method(Plain(), ClippedAscent(given.eta)),
    # DoReMi (Xie et al. 2023) keeps the mean over the steps.
    "doremi": lambda given: Method(
        Excess(), SmoothedAscent(given.eta, given.smoothing or 0.0), keeps="mean"
    ),
}
