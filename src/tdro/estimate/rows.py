"""A look at tasks and benchmarks that reads no more of their files than it needs."""

import gzip
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from tdro.errors import InputError
from tdro.evaluation.benchmark import Benchmark
from tdro.tasks.layouts import Row
from tdro.tasks.parts import files_of
from tdro.tasks.rows import read_rows
from tdro.tasks.task import Task, TaskSource
from tdro.tasks.training import texts

_HEAD = 5000
# Files of which the share that was read can be told; rows of others are counted to the end.
_SHARED_OUT = (".jsonl", ".jsonl.gz", ".parquet")
_SAMPLED = 300
# Negatives of a row whose lengths are looked at.
_NEGATIVES = 2
# Negatives that preparing a task mines for a row without any.
_MINED = 16


@dataclass(frozen=True)
class TaskGlance:
    """What a first look at a task tells.

    Attributes:
        name: Name of the task.
        instruction: What a query of it asks for.
        size: Bytes of its file.
        rows: Rows that can be used.
        passages: Distinct passages.
        exact: Whether rows and passages were counted to the end.
        negatives: Negatives of a row, on average, those mined among them.
        without_negatives: Whether some rows of the file bring none.
        dropped: Rows of the part that was read that cannot be used.
        queries: Queries of a sample of rows.
        positives: A positive of each.
        others: Some of their negatives.
    """

    name: str
    instruction: str
    size: int
    rows: int
    passages: int
    exact: bool
    negatives: float
    without_negatives: bool
    dropped: int
    queries: Sequence[str]
    positives: Sequence[str]
    others: Sequence[str]

    def limited(self, most: int | None) -> "TaskGlance":
        """Returns what ``max_rows`` leaves of it."""
        if most is None or self.rows <= most:
            return self
        return replace(self, rows=most, passages=max(1, self.passages * most // self.rows))


def glance_at(source: TaskSource, prepared: Path | None = None) -> TaskGlance:
    """Looks at a task.

    Args:
        source: The task.
        prepared: Its folder where it has been prepared; rows are then known and sampled from all
            of it, else the first 5000 rows are read and their number is told from their share of
            the file.

    Raises:
        InputError: The file cannot be read, or none of the rows read can be used.
    """
    if prepared is not None:
        return _of_prepared(source, Task.open(prepared))
    return _of_file(source).limited(source.max_rows)


def _of_prepared(source: TaskSource, task: Task) -> TaskGlance:
    generator = np.random.default_rng(0)
    chosen = np.sort(generator.permutation(len(task))[:_SAMPLED])
    positives = [int(generator.choice(task.positives[int(row)])) for row in chosen]
    lists = [task.negatives[int(row)] for row in chosen]
    others = [int(number) for one in lists for number in generator.permutation(one)[:_NEGATIVES]]
    return TaskGlance(
        name=task.name,
        instruction=task.instruction,
        size=_bytes(source),
        rows=len(task),
        passages=len(task.passages),
        exact=True,
        negatives=float(np.mean([len(one) for one in lists])),
        without_negatives=False,
        dropped=0,
        queries=texts(task.queries, chosen),
        positives=_in_order(task, positives),
        others=_in_order(task, others),
    )


def _in_order(task: Task, numbers: Sequence[int]) -> list[str]:
    return texts(task.passages, np.array(numbers, dtype=np.int64)) if numbers else []


def _of_file(source: TaskSource) -> TaskGlance:
    rows: dict[str, Row] = {}
    passages: set[str] = set()
    coming = read_rows(source)
    read, dropped = list(islice(coming, _HEAD)), 0
    for _, _, row in read:
        if not isinstance(row, Row):
            dropped += 1
            continue
        rows.setdefault(row.query, row)
        passages.update(row.positives, row.negatives)
    if not rows:
        raise InputError(
            f"None of the first {len(read)} rows of {source.place} can be used: "
            f"`tdro tasks check` tells why."
        )
    if source.path is not None and source.path.name.endswith(_SHARED_OUT):
        share = _share(source.path, read[-1][1])
    else:
        share = len(read) / (len(read) + sum(1 for _ in coming))
    kept = list(rows.values())
    generator = np.random.default_rng(0)
    sample = [kept[place] for place in np.sort(generator.permutation(len(kept))[:_SAMPLED])]
    given = [len(row.negatives) or _MINED for row in kept]
    positives = [row.positives[0] for row in sample]
    others = [text for row in sample for text in row.negatives[:_NEGATIVES]]
    return TaskGlance(
        name=source.name,
        instruction=source.instruction,
        size=_bytes(source),
        rows=round(len(rows) / share),
        passages=round(len(passages) / share),
        exact=share == 1,
        negatives=min(float(np.mean(given)), len(passages) / share - 1),
        without_negatives=any(not row.negatives for row in kept),
        dropped=dropped,
        queries=[row.query for row in sample],
        positives=positives,
        # Where none are given they are mined among the passages.
        others=others or positives,
    )


def _bytes(source: TaskSource) -> int:
    """Returns the size of a task's files; nothing for one of the hub."""
    if source.path is None:
        return 0
    return sum(file.stat().st_size for file in files_of(source.path))


def _share(path: Path, last: int) -> float:
    """Returns which share of a file its first lines are (its first rows for parquet)."""
    if path.suffix == ".parquet":
        return float(last / pq.ParquetFile(path).metadata.num_rows)
    with path.open("rb") as raw, gzip.open(raw) if path.suffix == ".gz" else raw as lines:
        read = sum(len(line) for line in islice(lines, last))
        if not any(line.strip() for line in lines.readlines(1)):
            return 1.0
        # Of a packed file, to within a buffer, what has been unpacked so far.
        return min(1.0, (raw.tell() if path.suffix == ".gz" else read) / path.stat().st_size)


@dataclass(frozen=True)
class BenchmarkGlance:
    """What a first look at an outside benchmark tells.

    Attributes:
        name: Name of the benchmark.
        instruction: What a query of it asks for.
        queries: Its judged queries.
        documents: Number of its documents.
        sample: Texts of some documents.
    """

    name: str
    instruction: str
    queries: Sequence[str]
    documents: int
    sample: Sequence[str]


def glance_at_benchmark(benchmark: Benchmark) -> BenchmarkGlance:
    """Looks at a benchmark: its queries and the first of its documents."""
    return BenchmarkGlance(
        name=benchmark.name,
        instruction=benchmark.instruction,
        queries=list(benchmark.queries.values()),
        documents=len(benchmark.documents),
        sample=benchmark.documents[:_SAMPLED]["text"],
    )
