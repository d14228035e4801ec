"""What a stage costs in real tokens, and how that number outlives a kill.

A count is kept with the work it is of: in the state that a trainer puts in its checkpoints, and
in the head of every finished part of an inference. Work that a kill lost is not counted.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from sentence_transformers import SentenceTransformerTrainer
from sentence_transformers.base import BaseModel
from transformers import TrainerCallback, TrainerState
from transformers.trainer import TRAINER_STATE_NAME

_TOKENS = "tokens"


class TokenCount:
    """Real tokens, prompts and EOS included and padding not, that a model was given."""

    def __init__(self) -> None:
        self._seen: torch.Tensor | int = 0

    def add(self, features: dict[str, Any]) -> None:
        """Adds the texts of a forward pass."""
        mask = features.get("attention_mask")
        # A sum stays on its device: to read it here would make every pass wait for the one before.
        self._seen = self._seen + (features["input_ids"].numel() if mask is None else mask.sum())

    def take(self) -> int:
        """Returns the count since the last call and starts anew."""
        seen, self._seen = int(self._seen), 0
        return seen


@contextlib.contextmanager
def counted_tokens(model: BaseModel, *, with_gradients: bool = False) -> Iterator[TokenCount]:
    """Counts what goes through the forward passes of a model meanwhile.

    Args:
        model: The model.
        with_gradients: Count only passes that gradients are computed of.
    """
    count = TokenCount()

    def add(module: torch.nn.Module, given: tuple[dict[str, Any], ...]) -> None:
        if torch.is_grad_enabled() or not with_gradients:
            count.add(given[0])

    hook = model[0].register_forward_pre_hook(add)
    try:
        yield count
    finally:
        hook.remove()


class CountedSteps(TrainerCallback):
    """Keeps in the trainer's state the tokens of all steps, of all processes.

    What the model encodes between steps, as for the examples of a model card, is left out.
    """

    def __init__(self, trainer: SentenceTransformerTrainer, count: TokenCount) -> None:
        self.accelerator = trainer.accelerator
        self.count = count

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Forgets what was encoded since the last step."""
        self.count.take()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Adds a step."""
        mine = torch.tensor(self.count.take(), device=self.accelerator.device)
        state.num_input_tokens_seen += int(self.accelerator.reduce(mine, "sum"))


def tokens_at(checkpoint: Path) -> int:
    """Returns the tokens of all steps up to a checkpoint of a trainer."""
    state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
    return int(state.num_input_tokens_seen)


def with_tokens(table: pa.Table, tokens: int) -> pa.Table:
    """Returns a table whose file keeps the tokens that it took."""
    return table.replace_schema_metadata({_TOKENS: str(tokens)})


def tokens_of(table: pa.Table) -> int:
    """Returns what :func:`with_tokens` kept."""
    return int(table.schema.metadata[_TOKENS.encode()])
