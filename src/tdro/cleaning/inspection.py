"""What one has to know of tasks before they are mixed."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from tdro.cleaning.difficulty import Difficulty, difficulty
from tdro.cleaning.languages import languages
from tdro.errors import InputError
from tdro.progress import Tick
from tdro.tasks.duplicates import words_of
from tdro.tasks.overlap import Keys, keys_of, shared_counts, shares_of
from tdro.tasks.prepare import prepare_task
from tdro.tasks.scan import TaskReport
from tdro.tasks.task import Task, TaskSource
from tdro.tasks.texts import select_texts
from tdro.tasks.training import task_seed, texts

QUANTILES = (5, 25, 50, 75, 95)
LENGTHS_SAMPLED = 1000
LANGUAGES_SAMPLED = 100
SAMPLES = 10
LEAST_SHARE = 0.01
"""Share of a task's queries or positives in another task from which the pair is kept."""

_LONGEST_SAMPLE = 300


@dataclass(frozen=True)
class Sample:
    """A row, its texts cut.

    Attributes:
        query: The query.
        positive: Its first positive.
        negative: Its first negative; empty where it has none.
        positives: How many positives it has.
        negatives: How many negatives it has.
    """

    query: str
    positive: str
    negative: str
    positives: int
    negatives: int


@dataclass(frozen=True)
class Look:
    """What was seen of one task.

    Attributes:
        name: Name of the task.
        instruction: What its queries ask for.
        rows: Distinct queries.
        passages: Distinct passages.
        dropped: Rows that could not be used or were left out by choice, by reason.
        merged: Rows whose query an earlier row had.
        duplicates: Rows whose query equals an earlier one but for case, white space, punctuation.
        positives: Positives a row, on average.
        shared_positives: Share of the rows whose positive answers another row, too.
        with_negatives: Share of the rows that bring negatives.
        query_words: Words of a query at each of :data:`QUANTILES`, over a sample.
        passage_words: Likewise of a passage.
        bm25: How far plain words get.
        query_languages: Shares by language, over a sample of rows.
        passage_languages: Likewise of their first positives.
        samples: Some rows, drawn at random, in their order.
    """

    name: str
    instruction: str
    rows: int
    passages: int
    dropped: dict[str, int]
    merged: int
    duplicates: int
    positives: float
    shared_positives: float
    with_negatives: float
    query_words: tuple[float, ...]
    passage_words: tuple[float, ...]
    bm25: Difficulty
    query_languages: dict[str, float]
    passage_languages: dict[str, float]
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class Pair:
    """How much of a task is in another.

    Attributes:
        task: The task.
        other: The other task.
        queries: Share of the task's queries that the other has.
        positives: Share of its positives that are positives of the other.
    """

    task: str
    other: str
    queries: float
    positives: float


@dataclass(frozen=True)
class Inspection:
    """What was seen of all tasks.

    Attributes:
        seed: Seed of all samples.
        looks: The tasks that can be used.
        unusable: Why each other task cannot be used, by its name.
        pairs: Pairs of which either share is 1 % or more, the greatest share of queries first.
    """

    seed: int
    looks: tuple[Look, ...]
    unusable: dict[str, str]
    pairs: tuple[Pair, ...]


def inspect(
    sources: Sequence[TaskSource],
    *,
    max_rows: int | None = None,
    seed: int = 0,
    tick: Tick = lambda *_: None,
) -> Inspection:
    """Reads tasks one by one; what is kept of each is its keys (8 bytes a text) and some texts.

    Args:
        sources: The tasks.
        max_rows: Rows of a task; a task's own limit holds too.
        seed: Seed of all samples.
        tick: Called with the tasks done and the tasks in all.

    Raises:
        InputError: No task can be used, or a package is not installed.
    """
    seen = []
    unusable: dict[str, str] = {}
    for done, source in enumerate(sources, start=1):
        with tempfile.TemporaryDirectory(prefix="tdro-inspect-") as place:
            report = None
            try:
                report = prepare_task(source, Path(place), negatives=0, max_rows=max_rows)
            except InputError as error:
                unusable[source.name] = str(error)
            if report is not None:
                seen.append(_seen(Task.open(Path(place)), report, seed))
        tick(done, len(sources), None)
    if not seen:
        raise InputError(f"None of the tasks can be used: {next(iter(unusable.values()))}")
    looks, queries, positives = zip(*seen, strict=True)
    return Inspection(seed, looks, unusable, _pairs(looks, queries, positives))


def _seen(task: Task, report: TaskReport, seed: int) -> tuple[Look, Keys, Keys]:
    every = np.arange(len(task))
    lengths, numbers = task.positives.take(every)
    queries = _keys(task.queries, every)
    positives = _keys(task.passages, np.unique(numbers))
    generator = np.random.default_rng(task_seed(seed, "inspect", task.name))
    rows = np.sort(generator.permutation(every)[:LANGUAGES_SAMPLED])
    first = np.array([task.positives[int(row)][0] for row in rows], dtype=np.int64)
    shown = np.sort(generator.permutation(rows)[:SAMPLES])
    look = Look(
        name=task.name,
        instruction=task.instruction,
        rows=report.rows,
        passages=report.passages,
        dropped=dict(report.dropped),
        merged=report.merged,
        duplicates=len(task) - len(queries),
        positives=float(lengths.mean()),
        shared_positives=report.shared_positives / report.rows,
        with_negatives=report.negatives_given / report.rows,
        query_words=_quantiles(task.queries, generator),
        passage_words=_quantiles(task.passages, generator),
        bm25=difficulty(task, seed),
        query_languages=languages(texts(task.queries, rows)),
        passage_languages=languages(texts(task.passages, first)),
        samples=tuple(_sample(task, int(row)) for row in shown),
    )
    return look, queries, positives


def _keys(table: Dataset, numbers: NDArray[np.int64]) -> Keys:
    return keys_of(select_texts(table.data.column("text"), numbers))


def _quantiles(table: Dataset, generator: np.random.Generator) -> tuple[float, ...]:
    numbers = np.sort(generator.permutation(len(table))[:LENGTHS_SAMPLED])
    words = [len(words_of(text)) for text in texts(table, numbers)]
    return tuple(float(value) for value in np.percentile(words, QUANTILES).round(1))


def _sample(task: Task, row: int) -> Sample:
    positives, negatives = task.positives[row], task.negatives[row]
    (query,) = texts(task.queries, np.array([row]))
    passages = texts(task.passages, np.concatenate([positives[:1], negatives[:1]]))
    cut = [_cut(text) for text in (query, *passages, "")]
    return Sample(cut[0], cut[1], cut[2], len(positives), len(negatives))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_SAMPLE else f"{text[: _LONGEST_SAMPLE - 1]}…"


def _pairs(
    looks: Sequence[Look], queries: Sequence[Keys], positives: Sequence[Keys]
) -> tuple[Pair, ...]:
    by_queries, by_positives = (shares_of(shared_counts(sets)) for sets in (queries, positives))
    found = np.argwhere((by_queries >= LEAST_SHARE) | (by_positives >= LEAST_SHARE))
    pairs = [
        Pair(
            looks[task].name,
            looks[other].name,
            float(by_queries[task, other]),
            float(by_positives[task, other]),
        )
        for task, other in found.tolist()
    ]
    return tuple(sorted(pairs, key=lambda pair: (-pair.queries, -pair.positives)))
