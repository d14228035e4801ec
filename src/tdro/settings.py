"""What a recipe says of models, training and learning: plain values, checked when made."""

from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    model_validator,
)


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
        freeze_embeddings: ``transformer`` only: leave the token embeddings as they are in
            training. They are most of a cut model's parameters.
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
    freeze_embeddings: bool = False

    @model_validator(mode="after")
    def _something_to_train(self) -> "EncoderSettings":
        if self.freeze_embeddings and self.kind == "static":
            raise ValueError("'freeze_embeddings' leaves nothing to train of kind static")
        return self

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


class ReferenceSettings(TrainingSettings):
    """How the reference is trained.

    Attributes:
        folds: With 2, two references are trained, each on half of every task, and each row's
            reference loss comes from the one that has not seen it. Costs a second training.
    """

    folds: Literal[1, 2] = 1


# What a method reads beside eta, and the values it was published with.
_METHODS: dict[str, dict[str, float]] = {
    "tdro-pooled": {"eta": 0.02, "cut": 0.25},
    "tdro": {"eta": 0.02, "cut": 0.05},
    "tdro-paper": {"eta": 0.02},
    "tdro-released": {"eta": 0.02, "cut": 1e-4},
    "group-dro": {"eta": 0.02},
    "doremi": {"eta": 1.0, "smoothing": 1e-3},
}
_TOLERANCE = 0.005


MethodName = Literal["tdro-pooled", "tdro", "tdro-paper", "tdro-released", "group-dro", "doremi"]


class LearningSettings(Settings):
    """How the mixture is learned.

    Attributes:
        method: Name of a preset (see ``tdro.learning.method``).
        steps: Updates of the weights, one an optimizer step of the proxy.
        batch_size: Rows of a step over all processes, tasks mixed in equal parts.
        accumulation: Micro-batches of a step. Only ``tdro-released`` depends on it.
        negatives: Hard negatives to a row; the row loss looks at nothing else.
        eta: Step size of the weights; by default 0.02, and 1 for ``doremi``.
        cut: ``tdro-pooled``: a task's reference loss counts as at least this fraction of the mean
            over tasks (0.25). ``tdro``: rows whose reference loss is under this fraction of the
            step's mean count as zero (0.05). ``tdro-released``: those under this share of the
            micro-batch's sum count as if it were one (1e-4).
        smoothing: ``doremi``: share of the uniform mixture added after each update (1e-3).
        ema_decay: Decay of the moving average of the weights.
        patience: End early when the EMA mixture has all but stopped over this many steps.
        tolerance: It has stopped when it moved less than this, in total variation (0.005).
        learning_rate: Peak learning rate of the proxy; the reference's when absent.
        weight_decay: Weight decay of AdamW.
        warmup: Share of the steps in which the learning rate rises.
        temperature: Divisor of the cosine similarities; the reference's when absent.
        chunk_tokens: Real tokens of one backward pass; bounds memory, not the result.
        save_every: Steps between checkpoints.
    """

    method: MethodName = "tdro-pooled"
    steps: PositiveInt = 1000
    batch_size: int = Field(default=64, ge=2)
    accumulation: PositiveInt = 1
    negatives: PositiveInt = 7
    eta: PositiveFloat = 0.02
    cut: float | None = Field(default=None, ge=0, lt=1)
    smoothing: float | None = Field(default=None, ge=0, lt=1)
    ema_decay: float = Field(default=0.9, ge=0, lt=1)
    patience: PositiveInt | None = None
    tolerance: PositiveFloat | None = None
    learning_rate: PositiveFloat | None = None
    weight_decay: float = Field(default=0.1, ge=0)
    warmup: float = Field(default=0.1, ge=0, lt=1)
    temperature: PositiveFloat | None = None
    chunk_tokens: PositiveInt = 16384
    save_every: PositiveInt = 50

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, values: Any) -> Any:
        """Fills what depends on the method and refuses what would not be read."""
        if not isinstance(values, dict):
            return values
        given = {name: value for name, value in values.items() if value is not None}
        method = given.get("method", cls.model_fields["method"].default)
        if method not in _METHODS:
            return values
        for name in ("cut", "smoothing"):
            if name in given and name not in _METHODS[method]:
                readers = [other for other, options in _METHODS.items() if name in options]
                raise ValueError(f"{name!r} is read by {', '.join(readers)}, not by {method}")
        if "tolerance" in given and "patience" not in given:
            raise ValueError("'tolerance' is only read when 'patience' is set")
        if "patience" in given:
            given.setdefault("tolerance", _TOLERANCE)
        return {**_METHODS[method], **given}

    @model_validator(mode="after")
    def _whole_micro_batches(self) -> "LearningSettings":
        if self.batch_size % self.accumulation:
            raise ValueError(
                f"a batch_size of {self.batch_size} cannot be cut into an accumulation of "
                f"{self.accumulation} equal micro-batches"
            )
        return self

    @property
    def keeps(self) -> Literal["last", "mean"]:
        """Which of the weights is the method's result: DoReMi averages over the steps."""
        return "mean" if self.method == "doremi" else "last"

    def inheriting(self, training: TrainingSettings) -> "LearningSettings":
        """Returns the settings with learning rate and temperature taken over where left open."""
        taken = {
            name: getattr(training, name)
            for name in ("learning_rate", "temperature")
            if getattr(self, name) is None
        }
        return self.model_copy(update=taken)
