"""The memory that a stage takes on one device, part by part."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)

from tdro.estimate.rehearsal import Rehearsal, Texts
from tdro.estimate.sizes import ModelSize, size_of, skeleton
from tdro.settings import EncoderSettings, LearningSettings, LoraSettings, TrainingSettings
from tdro.training import float32_cosine

_FLOAT = 4
# AdamW keeps a mean and a square of every gradient.
_MOMENTS = 2


@dataclass(frozen=True)
class Memory:
    """Bytes on one device.

    Attributes:
        parameters: The weights, adapters among them, in float32.
        gradients: One of every trained weight, and the buffers in which processes exchange them.
        optimizer: AdamW's state.
        activations: What forward passes leave for their backward passes, or need meanwhile.
        peak: The most that is there at once; not the sum of the others, because activations go as
            gradients come.
    """

    parameters: int = 0
    gradients: int = 0
    optimizer: int = 0
    activations: int = 0
    peak: int = 0


@dataclass(frozen=True)
class Batch:
    """The largest batch of a training, on one device.

    Attributes:
        rows: Its rows.
        others: Rows of the other devices, whose passages are negatives too.
        query_length: Tokens of its queries, padding included.
        passage_length: Tokens of its passages, padding included.
        passages: Passages of a row.
    """

    rows: int
    others: int
    query_length: int
    passage_length: int
    passages: int


@dataclass(frozen=True)
class Chunk:
    """The texts of one backward pass of learning, as forward passes.

    Attributes:
        passes: Its forward passes.
        rows: Its rows.
        passages: Passages of a row.
        distinct: Distinct tokens of its texts.
        first: Whether no gradients of the step are there yet.
    """

    passes: tuple[Texts, ...]
    rows: int
    passages: int
    distinct: int
    first: bool

    @property
    def tokens(self) -> int:
        """Tokens of its forward passes, padding included."""
        return sum(texts.tokens for texts in self.passes)


@dataclass(frozen=True)
class Model:
    """A model as its stages use it.

    Attributes:
        settings: How it is built.
        bf16: Whether forward passes run under bfloat16 autocast.
        local: Ask no hub for its configuration.
    """

    settings: EncoderSettings
    bf16: bool = False
    local: bool = False

    @property
    def static(self) -> bool:
        """Whether it is a bag of embeddings, which pads nothing."""
        return self.settings.kind == "static"

    def size(self, lora: LoraSettings | None = None) -> ModelSize:
        """Returns its size, with adapters where there are any."""
        return _size(self.settings, lora, self.local)

    def rehearsal(self, lora: LoraSettings | None = None, checkpointing: bool = False) -> Rehearsal:
        """Returns it as fake tensors."""
        model = skeleton(self.settings, lora, local=self.local)
        return Rehearsal(model, bf16=self.bf16, checkpointing=checkpointing)


@lru_cache
def _size(settings: EncoderSettings, lora: LoraSettings | None, local: bool) -> ModelSize:
    return size_of(skeleton(settings, lora, local=local))


def least_memory(model: Model, lora: LoraSettings | None) -> int:
    """Returns the bytes of a model's weights, gradients and optimizer state."""
    return _trained(model.size(lora), 0, 0, shared=False).peak


@lru_cache
def training_memory(model: Model, settings: TrainingSettings, batch: Batch) -> Memory:
    """Returns what training takes, rehearsed with its largest batch.

    Args:
        model: The model.
        settings: How it is trained.
        batch: The batch.
    """
    size = model.size(settings.lora)
    rehearsal = model.rehearsal(settings.lora, settings.gradient_checkpointing)
    with rehearsal.begun():
        if settings.mini_batch_size is None:
            kept, most = _in_batch(rehearsal, settings, batch)
        else:
            kept, most = _by_mini_batches(rehearsal, settings, batch, size.dimensions)
    memory = _trained(size, kept, most, shared=batch.others > 0)
    if settings.lora is not None and not settings.save_adapter:
        # Adapters are added to the weights of a second model, read when the training has ended.
        both = 2 * size.parameters * _FLOAT + memory.gradients + memory.optimizer
        memory = replace(memory, peak=max(memory.peak, both))
    return memory


@lru_cache
def learning_memory(
    model: Model, settings: LearningSettings, chunk: Chunk, devices: int = 1
) -> Memory:
    """Returns what learning a mixture takes, rehearsed with its largest backward pass.

    Args:
        model: The proxy.
        settings: How the mixture is learned.
        chunk: The texts of the backward pass.
        devices: Processes that exchange gradients.
    """
    size = model.size(settings.lora)
    rehearsal = model.rehearsal(settings.lora, settings.gradient_checkpointing)
    with rehearsal.begun():
        if not chunk.first:
            rehearsal.give_gradients()
        before = rehearsal.bytes_now
        with rehearsal.autocast():
            embeddings = _embedded(rehearsal, chunk)
        loss = _row_loss(embeddings.float(), chunk)
        del embeddings
        kept = rehearsal.bytes_now - before
        rehearsal.back(loss)
        most = rehearsal.peak()
    return _trained(size, kept, most, shared=devices > 1)


@lru_cache
def inference_memory(
    model: Model, passes: tuple[Texts, ...], *, beside: int = 0, models: int = 1
) -> Memory:
    """Returns what forward passes without gradients take.

    Args:
        model: The model.
        passes: Forward passes that follow each other under one autocast.
        beside: Bytes of what is there meanwhile.
        models: Models that are held at once.
    """
    rehearsal = model.rehearsal()
    rehearsal.model.eval()
    with rehearsal.begun(), torch.no_grad(), rehearsal.autocast():
        found = [rehearsal.embed(texts) for texts in passes]
        del found
        most = rehearsal.peak()
    weights = models * model.size().parameters * _FLOAT
    return Memory(parameters=weights, activations=most + beside, peak=weights + most + beside)


def _trained(size: ModelSize, kept: int, most: int, *, shared: bool) -> Memory:
    trained = size.trained * _FLOAT
    weights = (size.parameters + size.adapters) * _FLOAT
    # With several processes the gradients are copied to buffers that are exchanged.
    buckets = trained if shared else 0
    optimizer = _MOMENTS * trained
    return Memory(
        parameters=weights,
        gradients=trained + buckets,
        optimizer=optimizer,
        activations=kept,
        peak=weights + optimizer + buckets + max(most, trained),
    )


def _in_batch(rehearsal: Rehearsal, settings: TrainingSettings, batch: Batch) -> tuple[int, int]:
    """Rehearses a step of all rows at once: queries by themselves, all passages together."""
    model: Any = rehearsal.model
    loss_of: Any = MultipleNegativesRankingLoss(
        model, scale=1 / settings.temperature, similarity_fct=float32_cosine
    )
    with rehearsal.autocast():
        queries = rehearsal.embed(Texts(batch.rows, batch.query_length))
        passages = rehearsal.embed(Texts(batch.rows * batch.passages, batch.passage_length))
        columns = passages.reshape(batch.passages, batch.rows, -1).unbind(0)
        documents = [_with_others(column, batch) for column in columns]
        loss = loss_of.compute_loss_from_embeddings([queries, *documents], None)
    del queries, passages, columns, documents
    kept = rehearsal.bytes_now
    rehearsal.back(loss)
    return kept, rehearsal.peak()


def _with_others(column: torch.Tensor, batch: Batch) -> torch.Tensor:
    if not batch.others:
        return column
    return torch.cat([column, column.new_empty(batch.others, column.shape[1])])


def _by_mini_batches(
    rehearsal: Rehearsal, settings: TrainingSettings, batch: Batch, dimensions: int
) -> tuple[int, int]:
    """Rehearses GradCache: the loss on embeddings alone, then one mini-batch at a time."""
    rows = min(settings.mini_batch_size or batch.rows, batch.rows)
    model: Any = rehearsal.model
    loss_of: Any = CachedMultipleNegativesRankingLoss(
        model,
        scale=1 / settings.temperature,
        similarity_fct=float32_cosine,
        mini_batch_size=rows,
    )
    queries = torch.empty(batch.rows, dimensions, requires_grad=True)
    documents = [
        torch.empty(batch.rows + batch.others, dimensions, requires_grad=True)
        for _ in range(batch.passages)
    ]
    loss_of.calculate_loss([[queries], *([one] for one in documents)], with_backward=True)
    rehearsal.give_gradients()
    before = rehearsal.bytes_now
    with rehearsal.autocast():
        embeddings = rehearsal.embed(Texts(rows, max(batch.query_length, batch.passage_length)))
    loss = embeddings.float().sum()
    kept = rehearsal.bytes_now - before
    rehearsal.back(loss)
    return kept, rehearsal.peak()


def _embedded(rehearsal: Rehearsal, chunk: Chunk) -> torch.Tensor:
    """Runs the forward passes of a chunk on one look-up of their input embeddings."""
    with rehearsal.looked_up_once(chunk.distinct if len(chunk.passes) > 1 else 0):
        return torch.cat([rehearsal.embed(texts) for texts in chunk.passes])


def _row_loss(embeddings: torch.Tensor, chunk: Chunk) -> torch.Tensor:
    """Does what ``row_losses`` does with the embeddings of a chunk."""
    which = torch.zeros(chunk.rows, 1 + chunk.passages, dtype=torch.long)
    of_row = embeddings[which]
    scores = torch.einsum("rd,rpd->rp", of_row[:, 0], of_row[:, 1:]) / 0.02
    target = torch.zeros(chunk.rows, dtype=torch.long)
    return torch.nn.functional.cross_entropy(scores, target, reduction="none").sum()
