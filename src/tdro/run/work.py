"""What stages do with models, and the only room of a run that imports torch.

A stage imports it when it has something to do: a run that is finished answers without it.
"""

from collections.abc import Sequence
from pathlib import Path

from sentence_transformers import SentenceTransformer

from tdro.encoder import build_encoder, count_parameters
from tdro.evaluation.development import DevelopmentSet
from tdro.evaluation.judge import judge
from tdro.files import MODEL_FOLDER
from tdro.learning.experts import Experts
from tdro.learning.trainer import learn_weights, mixture_trainer
from tdro.reference import Share, held_out_plan, load_losses, score_plan, write_by_task
from tdro.token_memory import remember_tokens
from tdro.training import quiet_libraries, read_trained_rows, train

__all__ = [
    "MODEL_FOLDER",
    "DevelopmentSet",
    "Share",
    "build_encoder",
    "count_parameters",
    "experts_of",
    "held_out_plan",
    "judge",
    "learn_weights",
    "load_losses",
    "load_model",
    "mixture_trainer",
    "read_trained_rows",
    "score_plan",
    "train",
    "write_by_task",
]

# The stages speak for themselves.
quiet_libraries()


def load_model(trained: Path) -> SentenceTransformer:
    """Reads the model that a finished stage left."""
    model = SentenceTransformer(str(trained / MODEL_FOLDER), local_files_only=True)
    return remember_tokens(model)


def experts_of(trained: Sequence[Path]) -> Experts:
    """Reads the models that finished stages left, side by side."""
    return Experts([folder / MODEL_FOLDER for folder in trained])
