"""What stages do with models, and the only room of a run that imports torch.

A stage imports it when it has something to do: a run that is finished answers without it.
"""

from pathlib import Path

from sentence_transformers import SentenceTransformer

from tdro.encoder import build_encoder, freeze_embeddings
from tdro.evaluation.judge import judge
from tdro.learning.trainer import learn_weights
from tdro.reference import Share, held_out_plan, load_losses, score_plan, write_by_task
from tdro.training import MODEL_FOLDER, quiet_libraries, read_trained_rows, train

__all__ = [
    "MODEL_FOLDER",
    "Share",
    "build_encoder",
    "freeze_embeddings",
    "held_out_plan",
    "judge",
    "learn_weights",
    "load_losses",
    "load_model",
    "read_trained_rows",
    "score_plan",
    "train",
    "write_by_task",
]

# The stages speak for themselves.
quiet_libraries()


def load_model(trained: Path) -> SentenceTransformer:
    """Reads the model that a finished stage left."""
    return SentenceTransformer(str(trained / MODEL_FOLDER), local_files_only=True)
