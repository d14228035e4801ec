"""A task as mining sees it: its texts on disk, and the passages that answer each row."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tdro.errors import InputError
from tdro.tasks.lists import Lists
from tdro.tasks.query_groups import QueryGroups
from tdro.tasks.scan import PASSAGES_FILE, QUERIES_FILE, TaskReport, scan
from tdro.tasks.task import TaskSource
from tdro.tasks.texts import read_texts


@dataclass(frozen=True)
class TaskTexts:
    """The rows of a task, one for each distinct query, in numbers.

    Attributes:
        name: Name of the task.
        queries: Memory-mapped texts, shape (rows,).
        passages: Memory-mapped distinct texts, shape (passages,).
        positives: Passage numbers of each row's positives.
        given: Passage numbers of the negatives that rows brought.
        report: What was found in the task's file.
    """

    name: str
    queries: pa.ChunkedArray
    passages: pa.ChunkedArray
    positives: Lists
    given: Lists
    report: TaskReport
    _groups: QueryGroups

    def __len__(self) -> int:
        return len(self.positives)

    def answers(self, row: int) -> NDArray[np.int32]:
        """Numbers of the passages that answer a row's query (see :class:`QueryGroups`)."""
        return self._groups.answers(row)


def read_task(source: TaskSource, folder: Path, *, max_rows: int | None, strict: bool) -> TaskTexts:
    """Reads a task file once and leaves its texts in a folder.

    Args:
        source: The task.
        folder: Gets the texts; made when missing.
        max_rows: Distinct queries to read, the first ones; the task's own limit holds too.
        strict: Raise at the first bad row instead of dropping it.

    Raises:
        InputError: The task cannot be read, no row of it can be used, ``strict`` and a row is bad,
            or it has only one passage.
    """
    folder.mkdir(exist_ok=True)
    scanned = scan(source, folder, max_rows=max_rows, strict=strict)
    queries, passages = (read_texts(folder / name) for name in (QUERIES_FILE, PASSAGES_FILE))
    if len(passages) < 2:
        raise InputError(
            f"{source.place} has one passage, so the task {source.name!r} has nothing to mine "
            "negatives from: add rows or leave it out."
        )
    return TaskTexts(
        source.name,
        queries,
        passages,
        scanned.positives,
        scanned.negatives,
        scanned.report,
        QueryGroups.of(queries, scanned.own),
    )
