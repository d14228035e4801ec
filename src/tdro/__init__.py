"""Learn how much of each dataset an embedding model should be trained on.

The names below are imported when they are first used, so that ``import tdro`` needs no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from tdro.encoder import build_encoder
    from tdro.errors import InputError
    from tdro.learning.learn import learn_mixture
    from tdro.learning.losses import RowLosses
    from tdro.learning.record import LossRecord
    from tdro.mixture import Mixture
    from tdro.settings import EncoderSettings, LearningSettings, TrainingSettings
    from tdro.tasks.entry import TaskEntry
    from tdro.tasks.prepare import prepare_tasks
    from tdro.tasks.task import Task, TaskSource

_PLACES = {
    "EncoderSettings": "tdro.settings",
    "InputError": "tdro.errors",
    "LearningSettings": "tdro.settings",
    "LossRecord": "tdro.learning.record",
    "Mixture": "tdro.mixture",
    "RowLosses": "tdro.learning.losses",
    "Task": "tdro.tasks.task",
    "TaskEntry": "tdro.tasks.entry",
    "TaskSource": "tdro.tasks.task",
    "TrainingSettings": "tdro.settings",
    "build_encoder": "tdro.encoder",
    "learn_mixture": "tdro.learning.learn",
    "prepare_tasks": "tdro.tasks.prepare",
}

__all__ = [
    "EncoderSettings",
    "InputError",
    "LearningSettings",
    "LossRecord",
    "Mixture",
    "RowLosses",
    "Task",
    "TaskEntry",
    "TaskSource",
    "TrainingSettings",
    "__version__",
    "build_encoder",
    "learn_mixture",
    "prepare_tasks",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("tdro")
    if name not in _PLACES:
        raise AttributeError(f"module 'tdro' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)
