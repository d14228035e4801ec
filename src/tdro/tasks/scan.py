"""The streaming pass over a task file: numbers its texts, merges equal queries, counts faults."""

from array import array
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tdro.errors import InputError
from tdro.tasks.layouts import Problem, Row
from tdro.tasks.lists import Lists
from tdro.tasks.rows import read_rows
from tdro.tasks.task import TaskSource
from tdro.tasks.texts import DistinctTexts

PROBLEMS_KEPT = 10

QUERIES_FILE = "queries.arrow"
PASSAGES_FILE = "passages.arrow"


@dataclass(frozen=True)
class RowProblem:
    """A dropped row.

    Attributes:
        file: Path of the file as it was given.
        line: Number of the line (of the row for parquet), from 1.
        reason: Why the row was dropped, with what was found.
    """

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


@dataclass(frozen=True)
class WordCounts:
    """Words (runs of anything but white space) a text: mean, 95th percentile and maximum."""

    mean: float
    p95: float
    max: int

    @classmethod
    def of(cls, words: NDArray[np.int32]) -> "WordCounts":
        """Summarises the words of each text, shape (texts,), at least one."""
        p95 = np.percentile(words, 95)
        return cls(round(float(words.mean()), 2), round(float(p95), 2), int(words.max()))


@dataclass(frozen=True)
class TaskReport:
    """What was found in a task file. ``dataclasses.asdict`` of it can be written as JSON.

    Attributes:
        rows_read: Rows in the file: ``rows`` + ``merged`` + ``over_limit`` + all of ``dropped``.
        rows: Rows kept, one for each distinct query.
        merged: Rows whose query an earlier row had, and that were merged into it.
        over_limit: Good rows left out because of the limit on rows.
        dropped: Rows dropped, by reason.
        left_out: Passages left out of rows that were kept, by the filter's reason.
        problems: The first 10 rows dropped for a fault, not by the filter.
        passages: Distinct passages.
        shared_positives: Rows one of whose positives is another row's positive too.
        query_words: Words a query, over the rows kept.
        passage_words: Words a passage, over the distinct passages.
        negatives_given: Rows with a negative in the file.
        negatives_mined: Rows that got mined negatives.
        negatives_removed: Negatives removed because they equal a positive or the query itself.
        short_of_negatives: Rows without any negative, after mining if there was any.
    """

    rows_read: int
    rows: int
    merged: int
    over_limit: int
    dropped: Mapping[str, int]
    left_out: Mapping[str, int]
    problems: tuple[RowProblem, ...]
    passages: int
    shared_positives: int
    query_words: WordCounts
    passage_words: WordCounts
    negatives_given: int
    negatives_mined: int
    negatives_removed: int
    short_of_negatives: int


@dataclass(frozen=True)
class Scan:
    """The numbers of a task, its texts being on disk or nowhere.

    Attributes:
        positives: Passage numbers of each row.
        negatives: Passage numbers of each row; no list shares a number with ``own``.
        own: For each row its positives, and the passage equal to its query where there is one.
        text_digests: Digests of the queries and of the passages, in order.
        report: What was found.
    """

    positives: Lists
    negatives: Lists
    own: Lists
    text_digests: tuple[str, str]
    report: TaskReport


def scan(
    source: TaskSource,
    directory: Path | None = None,
    *,
    max_rows: int | None = None,
    strict: bool = False,
    seen: Callable[[Row], None] | None = None,
) -> Scan:
    """Reads a task file once, holding one line and a few numbers for each row in memory.

    Rows with an equal query become one row, at the place of the first, with all their positives
    and negatives.

    Args:
        source: The task.
        directory: Existing folder for ``queries.arrow`` and ``passages.arrow``; None writes
            nothing.
        max_rows: Rows to keep, after merging; None keeps all. The task's own limit holds too.
        strict: Raise at the first bad row instead of dropping it.
        seen: Called with every row that is kept or merged.

    Raises:
        InputError: The file cannot be read, no row of it can be used, or ``strict`` and a row is
            bad.
    """
    queries_path = directory and directory / QUERIES_FILE
    passages_path = directory and directory / PASSAGES_FILE
    with DistinctTexts(queries_path) as queries, DistinctTexts(passages_path) as passages:
        tally = _Tally(queries, passages, source.limit(max_rows))
        for place, line, row in read_rows(source, tally.left_out):
            if isinstance(row, Row):
                if tally.add(row) and seen is not None:
                    seen(row)
                continue
            if row.reason.by_choice:
                tally.drop(row)
                continue
            problem = RowProblem(place, line, str(row))
            if strict:
                raise InputError(f"{problem}: mend or remove this row.")
            tally.drop(row, problem)
    if not queries:
        raise no_row_left(source, tally.dropped)
    return tally.result()


def no_row_left(source: TaskSource, dropped: Mapping[str, int]) -> InputError:
    """Returns what to say of a task all of whose rows were dropped.

    Args:
        source: The task; read again up to its first row that is bad.
        dropped: Rows dropped, by reason; at least one.
    """
    count = sum(dropped.values())
    for _, line, row in read_rows(source):
        if isinstance(row, Problem) and not row.reason.by_choice:
            told = f"all {count} were dropped, the first in line {line}"
            if count == 1:
                told = f"its only row was dropped, in line {line}"
            return InputError(f"{source.place} holds no usable row: {told} ({row}).")
    reason, most = max(dropped.items(), key=lambda one: one[1])
    told = f"all {count} were dropped, {most} for" if count > 1 else "its only row was dropped for"
    return InputError(f"{source.place}: the filter leaves no row: {told} {reason!r}; loosen it.")


class _Pairs:
    def __init__(self) -> None:
        self.owners = array("i")
        self.values = array("i")

    def append(self, owner: int, value: int) -> None:
        self.owners.append(owner)
        self.values.append(value)

    def grouped(self, count: int) -> Lists:
        return Lists.from_pairs(self.owners, self.values, count)


@dataclass
class _Tally:
    queries: DistinctTexts
    passages: DistinctTexts
    max_rows: int | None
    rows_read: int = 0
    merged: int = 0
    over_limit: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    problems: list[RowProblem] = field(default_factory=list)
    positives: _Pairs = field(default_factory=_Pairs)
    negatives: _Pairs = field(default_factory=_Pairs)

    def drop(self, problem: Problem, where: RowProblem | None = None) -> None:
        self.rows_read += 1
        self.dropped[str(problem.reason)] += 1
        if where is not None and len(self.problems) < PROBLEMS_KEPT:
            self.problems.append(where)

    def add(self, row: Row) -> bool:
        """Adds a row, unless it is over the limit, and tells whether it did."""
        self.rows_read += 1
        number = self.queries.number(row.query)
        if number is not None:
            self.merged += 1
        elif self.max_rows is not None and len(self.queries) >= self.max_rows:
            self.over_limit += 1
            return False
        else:
            number = self.queries.add(row.query)
        for text in row.positives:
            self.positives.append(number, self.passages.add(text))
        for text in row.negatives:
            self.negatives.append(number, self.passages.add(text))
        return True

    def result(self) -> Scan:
        count = len(self.queries)
        positives = self.positives.grouped(count)
        given = self.negatives.grouped(count)
        twins = np.array(self.queries.twins(self.passages), dtype=np.int64).reshape(-1, 2)
        own = Lists.from_pairs(
            np.concatenate([positives.owners, twins[:, 0]]),
            np.concatenate([positives.values, twins[:, 1]]),
            count,
        )
        negatives = given.minus(own)
        return Scan(
            positives=positives,
            negatives=negatives,
            own=own,
            text_digests=(self.queries.digest, self.passages.digest),
            report=self._report(positives, negatives, len(given.values) - len(negatives.values)),
        )

    def _report(self, positives: Lists, negatives: Lists, removed: int) -> TaskReport:
        uses = np.bincount(positives.values, minlength=len(self.passages))
        shared = positives.owners[uses[positives.values] > 1]
        with_negatives = int(np.count_nonzero(negatives.lengths))
        return TaskReport(
            rows_read=self.rows_read,
            rows=len(positives),
            merged=self.merged,
            over_limit=self.over_limit,
            dropped=dict(self.dropped),
            left_out=dict(self.left_out),
            problems=tuple(self.problems),
            passages=len(self.passages),
            shared_positives=len(np.unique(shared)),
            query_words=WordCounts.of(self.queries.words),
            passage_words=WordCounts.of(self.passages.words),
            negatives_given=with_negatives,
            negatives_mined=0,
            negatives_removed=removed,
            short_of_negatives=len(positives) - with_negatives,
        )
