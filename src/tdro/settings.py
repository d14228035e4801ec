"""What a recipe says of models, training and learning: plain values, checked when made."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt


class Settings(BaseModel):
    """Base of all settings: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class EncoderSettings(Settings):
    """How an embedding model is built from a pretrained one.

    Attributes:
        name_or_path: A Hugging Face id, a folder, or a ``.gguf`` file.
        kind: ``transformer``, or ``static`` for a bag of the model's input embeddings.
        layers: Keep only the first layers; all when absent.
        dimensions: ``static`` only: reduce the embeddings to this many dimensions (PCA).
        pooling: Token to text; by default ``lasttoken`` for decoders and ``mean`` for encoders.
        instructions: Put the task's instruction before each query; by default for
            ``transformer`` only, since in a bag of embeddings it would drown the query.
        max_query_length: Tokens of a query, prompt and EOS included.
        max_passage_length: Tokens of a passage, EOS included.
        precision: ``bf16`` runs forward passes under bfloat16 autocast; ``auto`` does so where
            the device has it in hardware.
    """

    name_or_path: str
    kind: Literal["transformer", "static"] = "transformer"
    layers: PositiveInt | None = None
    dimensions: PositiveInt | None = None
    pooling: Literal["lasttoken", "mean", "cls"] | None = None
    instructions: bool | None = None
    max_query_length: int = Field(default=128, ge=4)
    max_passage_length: int = Field(default=512, ge=4)
    precision: Literal["auto", "bf16", "fp32"] = "auto"

    @property
    def instructed(self) -> bool:
        """Whether queries get their task's instruction."""
        return self.kind == "transformer" if self.instructions is None else self.instructions


class TrainingSettings(Settings):
    """How a retriever, or the reference, is trained.

    Attributes:
        steps: Optimizer steps.
        batch_size: Rows of a step, all of one task.
        negatives: Hard negatives to a row, beside the in-batch negatives.
        learning_rate: Peak learning rate of AdamW.
        weight_decay: Weight decay of AdamW.
        warmup: Share of the steps in which the learning rate rises.
        temperature: Divisor of the cosine similarities.
        save_every: Steps between checkpoints; a killed run loses fewer steps than this.
    """

    steps: PositiveInt = 1000
    batch_size: int = Field(default=64, ge=2)
    negatives: int = Field(default=1, ge=0)
    learning_rate: PositiveFloat = 1e-4
    weight_decay: float = Field(default=0.1, ge=0)
    warmup: float = Field(default=0.1, ge=0, lt=1)
    temperature: PositiveFloat = 0.02
    save_every: PositiveInt = 50


class LearningSettings(Settings):
    """How the mixture is learned.

    Attributes:
        method: Name of a preset (see ``tdro.learning.measures.PRESETS``).
        steps: Updates of the weights, one an optimizer step of the proxy.
        batch_size: Rows of a step, tasks mixed in equal parts.
        negatives: Hard negatives to a row; the row loss looks at nothing else.
        eta: Step size of the weights.
        cut: Rows whose reference loss is under this fraction of the step's mean count as zero.
        ema_decay: Decay of the moving average of the weights.
        learning_rate: Peak learning rate of the proxy; the reference's when absent.
        weight_decay: Weight decay of AdamW.
        warmup: Share of the steps in which the learning rate rises.
        temperature: Divisor of the cosine similarities; the reference's when absent.
        chunk_tokens: Real tokens of one backward pass; bounds memory, not the result.
        save_every: Steps between checkpoints.
    """

    method: Literal["tdro", "tdro-paper", "group-dro"] = "tdro"
    steps: PositiveInt = 1000
    batch_size: int = Field(default=64, ge=2)
    negatives: PositiveInt = 7
    eta: PositiveFloat = 0.02
    cut: float = Field(default=0.05, ge=0, lt=1)
    ema_decay: float = Field(default=0.9, ge=0, lt=1)
    learning_rate: PositiveFloat | None = None
    weight_decay: float = Field(default=0.1, ge=0)
    warmup: float = Field(default=0.1, ge=0, lt=1)
    temperature: PositiveFloat | None = None
    chunk_tokens: PositiveInt = 16384
    save_every: PositiveInt = 50

    def inheriting(self, training: TrainingSettings) -> "LearningSettings":
        """Returns the settings with learning rate and temperature taken over where left open."""
        taken = {
            name: getattr(training, name)
            for name in ("learning_rate", "temperature")
            if getattr(self, name) is None
        }
        return self.model_copy(update=taken)
