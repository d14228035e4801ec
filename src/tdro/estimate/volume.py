"""How much text a stage puts through a model: rows, tokens and padding, by a sample of texts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from tdro.encoder import pass_cuts
from tdro.estimate.lengths import Ints, Lengths, longest_of
from tdro.estimate.memory import Batch, Chunk
from tdro.estimate.rehearsal import Texts
from tdro.reference import WINDOW
from tdro.row_loss import FORWARDS_PER_CHUNK, row_chunks
from tdro.settings import LearningSettings, TrainingSettings
from tdro.similarity import ScoredTexts

# Steps of learning that are drawn to see how they are cut.
_DRAWN_STEPS = 4


@dataclass(frozen=True)
class SizedTask:
    """A task as a stage draws from it.

    Attributes:
        name: Name of the task.
        rows: Rows that may be drawn.
        passages: Distinct passages.
        negatives: Negatives of a row, on average.
        lengths: Tokens of its texts.
    """

    name: str
    rows: int
    passages: int
    negatives: float
    lengths: Lengths


@dataclass(frozen=True)
class Volume:
    """What goes through a model once.

    Attributes:
        rows: Rows.
        tokens: Real tokens, prompts and EOS included.
        padded: The same with padding.
        squares: Sum over all texts of the square of their padded length.
    """

    rows: float = 0
    tokens: float = 0
    padded: float = 0
    squares: float = 0

    def __add__(self, other: "Volume") -> "Volume":
        return Volume(
            self.rows + other.rows,
            self.tokens + other.tokens,
            self.padded + other.padded,
            self.squares + other.squares,
        )

    def times(self, count: float) -> "Volume":
        """Returns the volume of several like it."""
        return Volume(
            self.rows * count, self.tokens * count, self.padded * count, self.squares * count
        )


def training_volume(
    tasks: Sequence[SizedTask], weights: Sequence[float], settings: TrainingSettings, static: bool
) -> Volume:
    """Returns what all steps of a training put through its model once.

    Args:
        tasks: What may be drawn.
        weights: Weight of each task.
        settings: How the model is trained.
        static: Whether it pads nothing.
    """
    total = Volume()
    for task, weight in zip(tasks, weights, strict=True):
        total += _batch_volume(task, settings, static).times(settings.steps * weight)
    return total


def _batch_volume(task: SizedTask, settings: TrainingSettings, static: bool) -> Volume:
    rows, lengths = min(settings.batch_size, task.rows), task.lengths
    negatives = settings.negatives
    tokens = rows * (
        lengths.queries.mean() + lengths.positives.mean() + negatives * _mean_other(lengths)
    )
    if static:
        return Volume(rows, tokens, tokens)
    together = settings.mini_batch_size or rows
    # GradCache takes the columns one by one, a plain step all passages together.
    passages = together if settings.mini_batch_size else rows * (1 + negatives)
    query, passage = longest_of(lengths.queries, together), longest_of(lengths.passages, passages)
    padded = rows * (query + (1 + negatives) * passage)
    return Volume(rows, tokens, padded, rows * (query**2 + (1 + negatives) * passage**2))


def _mean_other(lengths: Lengths) -> float:
    return float((lengths.others if len(lengths.others) else lengths.positives).mean())


def largest_batch(tasks: Sequence[SizedTask], settings: TrainingSettings, devices: int) -> Batch:
    """Returns the batch of a training that takes most memory: the longest texts of one task."""
    batches = []
    for task in tasks:
        rows = min(settings.batch_size, task.rows)
        mine = -(-rows // devices)
        batches.append(
            Batch(
                rows=mine,
                others=rows - mine if devices > 1 else 0,
                query_length=int(task.lengths.queries.max()),
                passage_length=int(task.lengths.passages.max()),
                passages=1 + settings.negatives,
            )
        )
    return max(
        batches, key=lambda one: one.rows * (one.query_length + one.passages * one.passage_length)
    )


@dataclass(frozen=True)
class _Rows:
    """Rows with made-up numbers of passages, whose texts have lengths of the sample.

    Attributes:
        lengths: Tokens of each distinct text, queries first (see ``ScoredTexts``).
        query_of: Place of each row's query, shape ``(rows,)``.
        passage_of: Places of its passages, shape ``(rows, passages)``.
    """

    lengths: Ints
    query_of: Ints
    passage_of: Ints


def _joined(parts: Sequence[_Rows]) -> _Rows:
    starts = np.cumsum([0, *(len(part.lengths) for part in parts[:-1])])
    shifted = [
        (part.query_of + start, part.passage_of + start)
        for part, start in zip(parts, starts, strict=True)
    ]
    return _Rows(
        np.concatenate([part.lengths for part in parts]),
        np.concatenate([queries for queries, _ in shifted]),
        np.concatenate([passages for _, passages in shifted]),
    )


def _drawn(task: SizedTask, rows: Ints, negatives: int, generator: np.random.Generator) -> _Rows:
    """Draws the passages of rows of a task: a positive of the row and some of its negatives."""
    own, which = np.unique(rows, return_inverse=True)
    listed = max(negatives, min(round(task.negatives), task.passages))
    lists = generator.integers(task.passages, size=(len(own), 1 + listed))
    chosen = np.argsort(generator.random((len(rows), listed)), axis=1)[:, :negatives]
    passages = np.concatenate(
        [lists[which, :1], np.take_along_axis(lists[which, 1:], chosen, axis=1)], axis=1
    )
    shown, passage_of = np.unique(passages, return_inverse=True)
    sample = task.lengths
    lengths = np.concatenate(
        [sample.queries[own % len(sample.queries)], sample.passages[shown % len(sample.passages)]]
    )
    return _Rows(lengths, which, passage_of.reshape(passages.shape) + len(own))


def _micro_batches(
    tasks: Sequence[SizedTask], settings: LearningSettings, devices: int
) -> Iterator[_Rows]:
    """Draws micro-batches of learning on one device: tasks in equal parts."""
    generator = np.random.default_rng(0)
    count = max(1, settings.batch_size // (devices * settings.accumulation))
    for _ in range(_DRAWN_STEPS):
        owners = np.resize(generator.permutation(len(tasks)), count)
        yield _joined(
            [
                _drawn(
                    tasks[number],
                    generator.integers(tasks[number].rows, size=int((owners == number).sum())),
                    settings.negatives,
                    generator,
                )
                for number in np.unique(owners)
            ]
        )


def _passes(rows: _Rows, places: Ints, chunk_tokens: int, static: bool) -> list[Ints]:
    """Returns the lengths of the texts of each forward pass, as ``row_losses`` cuts them."""
    shown = np.unique(
        np.concatenate([rows.query_of[places, None], rows.passage_of[places]], axis=1)
    )
    lengths = -np.sort(-rows.lengths[shown])
    if static:
        return [lengths]
    cuts = pass_cuts(lengths, max(1, chunk_tokens // FORWARDS_PER_CHUNK))
    return [lengths[start:end] for start, end in cuts]


def _volume(passes: Sequence[Ints], rows: int, static: bool) -> Volume:
    tokens = float(sum(int(one.sum()) for one in passes))
    if static:
        return Volume(rows, tokens, tokens)
    padded = float(sum(len(one) * int(one.max()) for one in passes))
    squares = float(sum(len(one) * int(one.max()) ** 2 for one in passes))
    return Volume(rows, tokens, padded, squares)


def learning_volume(
    tasks: Sequence[SizedTask], settings: LearningSettings, devices: int, static: bool
) -> tuple[Volume, Chunk]:
    """Returns what all steps of learning put through the proxy once, and the largest chunk.

    Args:
        tasks: The tasks.
        settings: How the mixture is learned.
        devices: Processes that share a step.
        static: Whether the proxy pads nothing.
    """
    total, chunks = Volume(), []
    for rows in _micro_batches(tasks, settings, devices):
        # Of the texts it asks for nothing but their lengths.
        texts = cast(ScoredTexts, rows)
        cut = list(row_chunks(texts, rows.query_of, rows.passage_of, settings.chunk_tokens))
        alone = len(cut) == 1 and settings.accumulation == 1
        for places in cut:
            passes = _passes(rows, places, settings.chunk_tokens, static)
            total += _volume(passes, len(places), static)
            tokens = int(sum(one.sum() for one in passes))
            chunks.append(
                Chunk(_texts(passes, static), len(places), 1 + settings.negatives, tokens, alone)
            )
    repeats = settings.steps * settings.batch_size / total.rows
    return total.times(repeats), max(chunks, key=lambda one: one.tokens)


def _texts(passes: Sequence[Ints], static: bool) -> tuple[Texts, ...]:
    lengths = [one.mean() if static else one.max() for one in passes]
    return tuple(
        Texts(len(one), int(np.ceil(length))) for one, length in zip(passes, lengths, strict=True)
    )


def window_volume(
    tasks: Sequence[SizedTask],
    planned: float,
    settings: LearningSettings,
    share: float,
    static: bool,
) -> tuple[Volume, tuple[Texts, ...]]:
    """Returns what scoring a plan puts through the reference, and the largest window's passes.

    Args:
        tasks: The tasks.
        planned: Planned rows of each.
        settings: How the mixture is learned.
        share: Share of every task's rows that one reference scores.
        static: Whether the reference pads nothing.
    """
    generator = np.random.default_rng(0)
    total, windows = Volume(), []
    for task in tasks:
        # Planned rows lie side by side by their number, so those of one row are in one window.
        repeats = max(1.0, planned / task.rows)
        scored = max(1, round(min(planned * share, WINDOW)))
        rows = np.sort(np.resize(np.arange(max(1, round(scored / repeats))), scored))
        drawn = _drawn(task, rows, settings.negatives, generator)
        passes = _passes(drawn, np.arange(scored), settings.chunk_tokens, static)
        total += _volume(passes, scored, static).times(planned / scored)
        windows.append(_texts(passes, static))
    return total, max(windows, key=lambda passes: sum(texts.tokens for texts in passes))
