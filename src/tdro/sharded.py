"""Models whose weights lie in parts over the processes: FSDP and DeepSpeed, by accelerate."""

from collections.abc import Callable
from typing import Any

import torch
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from transformers import Trainer
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from tdro.errors import InputError


class ShardableTrainer(SentenceTransformerTrainer):
    """The trainer of sentence-transformers, which FSDP2 can begin and go on with, too."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # Accelerate gathers a model's last norm on its own, and looks for it among the direct
        # children of a model without a base model. There it would take sentence-transformers'
        # Normalize, which has no weights and no class that FSDP2 can extend.
        model: Any = self.model
        model.base_model_prefix = "0"

    def _load_from_checkpoint(
        self, resume_from_checkpoint: str, model: torch.nn.Module | None = None
    ) -> None:
        if model is None:
            super()._load_from_checkpoint(resume_from_checkpoint)
        else:
            # Of parts that FSDP saved, which only the trainer below that one reads.
            Trainer._load_from_checkpoint(self, resume_from_checkpoint, model)


def is_sharded(trainer: SentenceTransformerTrainer) -> bool:
    """Tells whether a trainer's processes hold parts of a model instead of all of it."""
    return bool(trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled)


def whole_model(
    trainer: SentenceTransformerTrainer, anew: Callable[[], SentenceTransformer]
) -> SentenceTransformer:
    """Returns the trained model with all its weights; every process has to call it.

    Args:
        trainer: A trainer that has finished.
        anew: Reads the model as it was before the training.
    """
    if not is_sharded(trainer):
        return trainer.model
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    # With ZeRO-3 every model that is read from now on would be dealt out to the processes, this
    # one, which only the first process reads, and those that score.
    unset_hf_deepspeed_config()  # type: ignore[no-untyped-call]
    if not trainer.is_world_process_zero():
        return trainer.model
    model = anew()
    model.load_state_dict(weights)
    return model


def refuse_sharded(trainer: SentenceTransformerTrainer) -> None:
    """Checks that every process holds the whole model.

    Raises:
        InputError: The processes hold parts of it.
    """
    if is_sharded(trainer):
        raise InputError(
            "A mixture is learned with the whole proxy in every process, as their numbers of "
            "forward passes differ: launch with distributed_type MULTI_GPU and, if the retrievers "
            "need FSDP or DeepSpeed, launch the same run with it afterwards; what is done stays."
        )
