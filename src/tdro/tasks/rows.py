"""The rows of a task: its records with columns mapped, filters applied and faults told."""

import difflib
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from tdro.errors import InputError
from tdro.tasks.layouts import (
    BadRowError,
    Parts,
    Problem,
    Reason,
    Row,
    find_layout,
    finish,
    read_passages,
    read_row,
    read_text,
    titled,
)
from tdro.tasks.options import Columns, RowFilter
from tdro.tasks.parts import read_parts
from tdro.tasks.scores import Scores, chosen, layout_scores, split_scores
from tdro.tasks.task import TaskSource


def read_rows(
    source: TaskSource, left_out: Counter[str] | None = None
) -> Iterator[tuple[str, int, Row | Problem]]:
    """Reads the rows of a task one by one, before any limit on their number.

    Args:
        source: The task.
        left_out: Counts passages left out of rows that are kept, by reason.

    Yields:
        The file (or dataset), the number of the line or row in it from 1, and the row or the
        problem that makes it unusable.

    Raises:
        InputError: The task cannot be read, or a column that is named is not there.
    """
    if source.columns is None and source.filter is None:
        for place, records in read_parts(source):
            for line, record in records:
                yield place, line, record if isinstance(record, Problem) else read_row(record)
        return
    reader = _Reader(source.columns, source.filter or RowFilter(), left_out)
    for place, records in read_parts(source):
        for line, record in records:
            if not isinstance(record, Problem):
                reader.look_for_columns(f"{place}:{line}", record)
                yield place, line, reader.row(record)
            else:
                yield place, line, record
    reader.tell_of_columns_never_seen(source.place)


class _Reader:
    """Makes rows of records by what is said of a task."""

    def __init__(
        self, columns: Columns | None, wanted: RowFilter, left_out: Counter[str] | None
    ) -> None:
        self._columns = columns
        self._wanted = wanted
        self._allowed = list(wanted.allowed.items())
        self._left_out: Counter[str] = Counter() if left_out is None else left_out
        self._required = columns.required if columns else set()
        self._unseen = {*wanted.where, *(columns.named if columns else ())}
        self._seen: set[str] = set()
        self._bounds = any(
            bound is not None
            for bound in (
                wanted.min_query_words,
                wanted.max_query_words,
                wanted.min_passage_words,
                wanted.max_passage_words,
            )
        )

    def look_for_columns(self, place: str, record: object) -> None:
        """Looks for the columns that are named and raises where the first record lacks one."""
        if not self._unseen or not isinstance(record, dict):
            return
        missing = sorted(self._required - record.keys())
        if missing and not self._seen:
            raise InputError(f"{place}: {_unknown(missing[0], record)}")
        self._seen |= record.keys()
        self._unseen -= record.keys()

    def tell_of_columns_never_seen(self, place: str) -> None:
        """Raises when a column that is named was in no row."""
        if self._unseen and self._seen:
            raise InputError(f"{place}: {_unknown(min(self._unseen), self._seen)}")

    def row(self, record: object) -> Row | Problem:
        """Makes a row of a record."""
        keyed: Mapping[str, Any] | None = record if isinstance(record, dict) else None
        if keyed is None and (self._allowed or self._columns):
            return Problem(Reason.NOT_OBJECT, f"found {type(record).__name__}, without columns")
        if keyed is not None:
            for column, values in self._allowed:
                if keyed.get(column) not in values:
                    return Problem(Reason.NOT_WANTED)
        try:
            if self._columns is not None and keyed is not None:
                parts, scores = self._mapped(self._columns, keyed)
            else:
                layout = find_layout(record)
                if isinstance(layout, Problem):
                    return layout
                if not self._wanted.reads_scores:
                    return self._bounded(read_row(record))
                parts = layout.split(record)
                scores = layout_scores(layout, record, parts)
            dropped: list[tuple[Reason, int]] = []
            if scores is not None:
                parts, dropped = chosen(parts, scores, self._wanted)
            row = self._bounded(finish(parts))
        except BadRowError as bad:
            return bad.problem
        if isinstance(row, Row):
            for reason, count in dropped:
                if count:
                    self._left_out[str(reason)] += count
        return row

    def _mapped(self, columns: Columns, record: Mapping[str, Any]) -> tuple[Parts, Scores | None]:
        missing = self._required - record.keys()
        if missing:
            raise BadRowError(Reason.MISSING_COLUMN, repr(min(missing)))
        query = read_text(record[columns.query], columns.query)
        if columns.passages is not None and columns.score is not None:
            passages = read_passages(record[columns.passages], columns.passages)
            graded: Parts = query, passages, []
            value = record.get(columns.score)
            listed = value if isinstance(value, list) else [value]
            return graded, split_scores(listed, columns.score, graded, graded=True)
        positives = [text for one in columns.positive for text in read_passages(record[one], one)]
        negatives = [
            text for one in columns.negative for text in read_passages(record.get(one), one)
        ]
        if columns.title is not None:
            positives = _with_titles(record.get(columns.title), columns.title, positives)
        parts = query, positives, negatives
        if columns.score is None:
            return parts, None
        return parts, split_scores(record.get(columns.score), columns.score, parts, graded=False)

    def _bounded(self, row: Row | Problem) -> Row | Problem:
        """Drops a row whose query is out of bounds, and passages that are."""
        if not self._bounds or isinstance(row, Problem):
            return row
        wanted = self._wanted
        words = len(row.query.split())
        if wanted.min_query_words is not None and words < wanted.min_query_words:
            return Problem(Reason.SHORT_QUERY, f"{words} words")
        if wanted.max_query_words is not None and words > wanted.max_query_words:
            return Problem(Reason.LONG_QUERY, f"{words} words")
        reasons = [self._passage_reason(text) for text in (*row.positives, *row.negatives)]
        count = len(row.positives)
        positives = tuple(
            text for text, why in zip(row.positives, reasons[:count], strict=True) if why is None
        )
        if not positives:
            return Problem(reasons[0] or Reason.NO_POSITIVE, "no positive is left")
        negatives = tuple(
            text for text, why in zip(row.negatives, reasons[count:], strict=True) if why is None
        )
        self._left_out.update(str(why) for why in reasons if why is not None)
        return Row(row.query, positives, negatives)

    def _passage_reason(self, text: str) -> Reason | None:
        words = len(text.split())
        least, most = self._wanted.min_passage_words, self._wanted.max_passage_words
        if least is not None and words < least:
            return Reason.SHORT_PASSAGE
        if most is not None and words > most:
            return Reason.LONG_PASSAGE
        return None


def _with_titles(value: object, key: str, positives: list[str]) -> list[str]:
    titles = value if isinstance(value, list) else [value] * min(len(positives), 1)
    if len(titles) != len(positives):
        raise BadRowError(
            Reason.WRONG_TYPE, f"{key!r} holds {len(titles)} titles for {len(positives)} positives"
        )
    return [
        titled(read_text(title, key), text) for title, text in zip(titles, positives, strict=True)
    ]


def _unknown(column: str, columns: Any) -> str:
    names = sorted(map(str, columns))
    near = difflib.get_close_matches(column, names, 1, 0.0)
    nearest = f"; the nearest is {near[0]!r}" if near else ""
    return f"there is no column {column!r}; there are {', '.join(map(repr, names))}{nearest}."
