"""Models whose weights lie in parts over the processes: FSDP and DeepSpeed, by accelerate."""

from collections.abc import Callable

from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer

from tdro.errors import InputError


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
