"""A look at tasks and benchmarks that reads no more of their files than it needs."""

import gzip
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from tdro.errors import InputError
from tdro.evaluation.benchmark import read_documents
from tdro.recipe import BenchmarkEntry
from tdro.run.evaluation import outside_sources
from tdro.tasks.layouts import Row
from tdro.tasks.parts import files_of
from tdro.tasks.rows import read_rows
from tdro.tasks.task import Task, TaskSource
from tdro.tasks.training import texts

_HEAD = 5000
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
        answers: Distinct positives of the part that was read.
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
    answers: int
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


class NotHereError(InputError):
    """A task lies on the hub, and was not fetched to look at it."""


def glance_at(source: TaskSource, prepared: Path | None = None) -> TaskGlance:
    """Looks at a task.

    Args:
        source: The task.
        prepared: Its folder where it has been prepared; rows are then known and sampled from all
            of it, else the first 5000 rows are read and their number is told from their share of
            the files.

    Raises:
        InputError: The task cannot be read, or none of the rows read can be used.
        NotHereError: It is a dataset of the hub that has not been prepared.
    """
    if prepared is not None:
        return _of_prepared(source, Task.open(prepared))
    if source.path is None:
        raise NotHereError(
            f"The task {source.name!r} is the dataset {source.place} of the hub, which is fetched "
            "when a run prepares it: until then nothing is known of its rows."
        )
    return _of_files(source, source.path).limited(source.max_rows)


def _of_prepared(source: TaskSource, task: Task) -> TaskGlance:
    generator = np.random.default_rng(0)
    chosen = np.sort(generator.permutation(len(task))[:_SAMPLED])
    positives = [int(generator.choice(task.positives[int(row)])) for row in chosen]
    lists = [task.negatives[int(row)] for row in chosen]
    others = [int(number) for one in lists for number in generator.permutation(one)[:_NEGATIVES]]
    return TaskGlance(
        name=task.name,
        instruction=task.instruction,
        size=_size(source),
        rows=len(task),
        passages=len(task.passages),
        answers=len(np.unique(task.positives.take(np.arange(len(task)))[1])),
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


def _of_files(source: TaskSource, path: Path) -> TaskGlance:
    rows: dict[str, Row] = {}
    passages: set[str] = set()
    answers: set[str] = set()
    stream = read_rows(source)
    head, dropped = list(islice(stream, _HEAD)), 0
    for _, _, row in head:
        if not isinstance(row, Row):
            dropped += not row.reason.by_choice
            continue
        rows.setdefault(row.query, row)
        passages.update(row.positives, row.negatives)
        answers.update(row.positives)
    if not rows:
        raise InputError(
            f"None of the first {len(head)} rows of {path} can be used: "
            f"`tdro tasks check {path}` tells why."
        )
    rest = next(stream, None)
    share = 1.0
    if rest is not None:
        told = _share(path, *head[-1][:2])
        share = told or len(head) / (len(head) + 1 + sum(1 for _ in stream))
    kept = list(rows.values())
    generator = np.random.default_rng(0)
    sample = [kept[place] for place in np.sort(generator.permutation(len(kept))[:_SAMPLED])]
    given = [len(row.negatives) or _MINED for row in kept]
    positives = [row.positives[0] for row in sample]
    others = [text for row in sample for text in row.negatives[:_NEGATIVES]]
    return TaskGlance(
        name=source.name,
        instruction=source.instruction,
        size=_size(source),
        rows=round(len(rows) / share),
        passages=round(len(passages) / share),
        answers=len(answers),
        exact=rest is None,
        negatives=min(float(np.mean(given)), len(passages) / share - 1),
        without_negatives=any(not row.negatives for row in kept),
        dropped=dropped,
        queries=[row.query for row in sample],
        positives=positives,
        # Where none are given they are mined among the passages.
        others=others or positives,
    )


def _size(source: TaskSource) -> int:
    return sum(file.stat().st_size for file in files_of(source.path)) if source.path else 0


def _share(path: Path, place: str, last: int) -> float | None:
    """Returns which share of a task's files ends with a line or row of one of them.

    None where the files do not tell it but by being read: archives and saved datasets.
    """
    files = files_of(path)
    names = [str(file) for file in files]
    if place not in names or not place.endswith((".jsonl", ".jsonl.gz", ".parquet")):
        return None
    sizes = [file.stat().st_size for file in files]
    now = names.index(place)
    # Of one whose name comes later nothing has been read.
    return (sum(sizes[:now]) + sizes[now] * _share_of(files[now], last)) / sum(sizes)


def _share_of(path: Path, last: int) -> float:
    """Returns which share of a file its first lines are (its first rows for parquet)."""
    if path.suffix == ".parquet":
        return float(last / pq.ParquetFile(path).metadata.num_rows)
    with path.open("rb") as raw, gzip.open(raw) if path.suffix == ".gz" else raw as lines:
        read = sum(len(line) for line in islice(lines, last))
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
        exact: Whether they were counted to the end.
        sample: Texts of some documents.
    """

    name: str
    instruction: str
    queries: Sequence[str]
    documents: int
    exact: bool
    sample: Sequence[str]


def glance_at_benchmarks(entry: BenchmarkEntry) -> list[BenchmarkGlance]:
    """Looks at the benchmarks of an entry: their judgements and queries, their first documents.

    Those whose layout does not have them in files of their own are left out.

    Raises:
        InputError: A file is missing or broken.
    """
    found = []
    for source in outside_sources(entry):
        if source.glimpse is None:
            continue
        seen = source.glimpse()
        documents = list(islice(read_documents(seen.corpus), _HEAD + 1))
        if not documents:
            raise InputError(f"{seen.corpus} holds no documents.")
        exact = len(documents) <= _HEAD
        head = documents[:_HEAD]
        share = 1.0 if exact else _share_of(seen.corpus, head[-1][1])
        found.append(
            BenchmarkGlance(
                name=entry.name or source.name,
                instruction=seen.instruction if entry.instruction is None else entry.instruction,
                queries=seen.queries,
                documents=round(len(head) / share),
                exact=exact,
                sample=[text for *_, text in head[:_SAMPLED]],
            )
        )
    return found
