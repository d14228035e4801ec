"""What a recipe says of models, training and learning: plain values, checked when made."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

# What changes how a stage works but not what comes out of it, but for rounding.
_NOT_INPUTS = {"save_every", "mini_batch_size", "gradient_checkpointing", "chunk_tokens"}


class Settings(BaseModel):
    """Base of all settings: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def inputs(self, *without: str) -> dict[str, Any]:
        """Returns what the result of a stage depends on, as JSON values.

        Args:
            without: Names of further settings that it does not depend on.
        """
        left_out = {*_NOT_INPUTS, *without}
        if getattr(self, "lora", None) is None:
            # They came later than the others: without them a finished stage stays finished.
            left_out |= {"lora", "save_adapter"}
        return self.model_dump(mode="json", exclude=left_out)


class EncoderSettings(Settings):
    """How an embedding model is built from a pretrained one.

    Attributes:
        name_or_path: A Hugging Face id, a folder, or a ``.gguf`` file.
        kind: ``transformer``, or ``static`` for a bag of the model's input embeddings, which has
            no layers and no pooling, and one length for all texts, ``max_passage_length``.
        layers: Keep only the first layers; all when absent.
        dimensions: ``static`` only: reduce the embeddings to this many dimensions (PCA).
        pooling: Token to text; by default ``lasttoken`` for decoders and ``mean`` for encoders. A
            decoder cut to a few ``layers`` learns sooner with ``mean``.
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

    @model_validator(mode="after")
    def _dimensions_are_read(self) -> "EncoderSettings":
        if self.dimensions is not None and self.kind != "static":
            raise ValueError("'dimensions' is only read by kind: static")
        return self

    @property
    def instructed(self) -> bool:
        """Whether queries get their task's instruction."""
        return self.kind == "transformer" if self.instructions is None else self.instructions


class LoraSettings(Settings):
    """Low-rank adapters in place of a model's own weights (Hu et al. 2021), on all linear layers.

    Attributes:
        rank: Rank of the adapters.
        alpha: An adapter's output counts ``alpha / rank`` times.
        dropout: Share of an adapter's inputs that are zeroed in training.
    """

    rank: PositiveInt = 16
    alpha: PositiveFloat = 32
    dropout: float = Field(default=0, ge=0, lt=1)


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
        mini_batch_size: Rows of one forward and backward pass (GradCache, Gao et al. 2021): memory
            does not grow with ``batch_size`` then, for a second forward pass. All rows at once
            when absent.
        gradient_checkpointing: Compute activations again in the backward pass instead of keeping
            them.
        lora: Train adapters instead of the model's own weights.
        save_adapter: With ``lora``: leave the adapters beside the model they belong to instead of
            adding them to its weights.
        save_every: Steps between checkpoints; a killed run loses fewer steps than this.
    """

    steps: PositiveInt = 1000
    batch_size: int = Field(default=64, ge=2)
    negatives: int = Field(default=1, ge=0)
    learning_rate: PositiveFloat = 1e-4
    weight_decay: float = Field(default=0.1, ge=0)
    warmup: float = Field(default=0.1, ge=0, lt=1)
    temperature: PositiveFloat = 0.02
    mini_batch_size: PositiveInt | None = None
    gradient_checkpointing: bool = False
    lora: LoraSettings | None = None
    save_adapter: bool = False
    save_every: PositiveInt = 50

    @model_validator(mode="after")
    def _adapter_is_trained(self) -> "TrainingSettings":
        if self.save_adapter and self.lora is None:
            raise ValueError("'save_adapter' is only read when 'lora' is set")
        return self


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
MERGE_SEARCH = "merge-search"
LEARNING_CURVE = "learning-curve"
REGRESSION = "regression"
# Methods without a loop, and the section that each reads in place of ``learning``.
_SECTIONS = {MERGE_SEARCH: "merging", LEARNING_CURVE: "curve", REGRESSION: "regression"}
# Methods that learn from row losses, in a loop.
LOOPED = tuple(_METHODS)
LEARNERS = (*LOOPED, *_SECTIONS)
# Methods whose mixtures tell what further rows gain on each task.
MEASURE_GAINS = (LEARNING_CURVE, REGRESSION)
_TOLERANCE = 0.005


MethodName = Literal[
    "tdro-pooled",
    "tdro",
    "tdro-paper",
    "tdro-released",
    "group-dro",
    "doremi",
    "merge-search",
    "learning-curve",
    "regression",
]


class LearningSettings(Settings):
    """How the mixture is learned.

    Attributes:
        method: Name of a preset (see ``tdro.learning.method``); or ``merge-search``,
            ``learning-curve`` or ``regression``, which have no loop and read ``MergingSettings``,
            ``CurveSettings`` or ``RegressionSettings`` instead of all that follows.
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
        chunk_tokens: Real tokens of one backward pass, and less than a row more; bounds memory,
            not the result.
        gradient_checkpointing: Compute activations again in the backward pass instead of keeping
            them.
        lora: Train adapters of the proxy instead of its own weights.
        save_every: Steps between checkpoints.
    """

    method: MethodName = "tdro"
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
    gradient_checkpointing: bool = False
    lora: LoraSettings | None = None
    save_every: PositiveInt = 50

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, values: Any) -> Any:
        """Fills what depends on the method and refuses what would not be read."""
        if not isinstance(values, dict):
            return values
        given = {name: value for name, value in values.items() if value is not None}
        method = given.get("method", cls.model_fields["method"].default)
        if not isinstance(method, str):
            return given
        if method in _SECTIONS and len(given) > 1:
            odd = next(name for name in given if name != "method")
            raise ValueError(
                f"{odd!r} is not read by {method}: see the section {_SECTIONS[method]!r} and "
                f"write learning: {{method: {method}}} alone"
            )
        if method not in _METHODS:
            return given
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
    def in_a_loop(self) -> bool:
        """Whether the method trains a proxy and moves the weights at every step."""
        return self.method not in _SECTIONS

    @property
    def section(self) -> str:
        """Name of the recipe's section that a method without a loop reads."""
        return _SECTIONS[self.method]

    @property
    def keeps(self) -> Literal["last", "mean"]:
        """Which of the weights is the method's result: DoReMi averages over the steps."""
        return "mean" if self.method == "doremi" else "last"

    def with_method(self, method: str) -> "LearningSettings":
        """Returns the settings with another method (see :func:`carried_over`)."""
        taken = carried_over(self.model_dump(), method)
        return LearningSettings.model_validate({**taken, "method": method})

    def inheriting(self, training: TrainingSettings) -> "LearningSettings":
        """Returns the settings with learning rate and temperature taken over where left open."""
        taken = {
            name: getattr(training, name)
            for name in ("learning_rate", "temperature")
            if getattr(self, name) is None
        }
        return self.model_copy(update=taken)


def carried_over(values: Mapping[str, Any], method: Any) -> dict[str, Any]:
    """Returns what a method takes over from the settings of another one.

    One without a loop takes nothing. Cut and smoothing are a method's own, and so is its eta where
    that means something else: DoReMi does not clip its steps.
    """
    before = values.get("method", LearningSettings.model_fields["method"].default)
    if before == method or not (isinstance(before, str) and isinstance(method, str)):
        return dict(values)
    if method in _SECTIONS:
        return {}
    own = {"method", "cut", "smoothing"}
    if _METHODS.get(method, {}).get("eta") != _METHODS.get(before, {}).get("eta"):
        own.add("eta")
    return {name: value for name, value in values.items() if name not in own}


class MergingSettings(Settings):
    """How ``merge-search`` finds a mixture by averaging experts.

    Experts, start and confirming runs are trained with the reference's settings on the rows that
    are not set apart for development.

    Attributes:
        start_steps: Steps with the uniform mixture from which all experts start; with 0 they
            start from the pretrained encoder.
        steps: Steps of each task's expert.
        development: Rows of a task set apart to score merged models; at most a fifth.
        passages: Passages of a task's development set, at least the judged ones.
        samples: Mixtures that are scored.
        confirm: Best mixtures of the search that are trained for real.
    """

    start_steps: int = Field(default=100, ge=0)
    steps: PositiveInt = 50
    development: PositiveInt = 32
    passages: PositiveInt = 200
    samples: int = Field(default=1000, ge=4)
    confirm: PositiveInt = 3


class CurveSettings(Settings):
    """How ``learning-curve`` finds a mixture.

    Both trainings take the reference's settings, on the rows that are not set apart.

    Attributes:
        shorter: Steps of the shorter training, as a share of the reference's.
        development: Rows of a task set apart to score both; at most a fifth.
        passages: Passages of a task's development set, at least the judged ones.
        floor: Least weight of a task, as a fraction of its uniform weight.
    """

    shorter: float = Field(default=0.25, gt=0, lt=1)
    development: PositiveInt = 100
    passages: PositiveInt = 500
    floor: float = Field(default=0.2, ge=0, le=1)


class RegressionSettings(Settings):
    """How ``regression`` finds a mixture.

    All models take the reference's settings, on the rows that are not set apart.

    Attributes:
        mixtures: Random mixtures with which a model each is trained.
        spread: Standard deviation of their log-weights.
        development: Rows of a task set apart to score the models; at most a fifth.
        passages: Passages of a task's development set, at least the judged ones.
        floor: Least weight of a task, as a fraction of its uniform weight.
    """

    mixtures: int = Field(default=24, ge=4)
    spread: PositiveFloat = 0.6
    development: PositiveInt = 100
    passages: PositiveInt = 500
    floor: float = Field(default=0.2, ge=0, le=1)
