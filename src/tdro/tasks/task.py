"""The task: one training collection, opened from the directory it was prepared in."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from datasets.table import MemoryMappedTable
from numpy.typing import NDArray

from tdro.errors import InputError
from tdro.files import digest, read_json
from tdro.tasks.mapped import PassageLists
from tdro.tasks.options import Columns, RowFilter

DETAILS_FILE = "task.json"
DEFAULT_SPLIT = "train"
ROWS_COLUMNS = ("positives", "negatives", "own", "first_alike")
"""What is kept of each row; a task prepared with other columns is prepared anew."""


@dataclass(frozen=True)
class HubDataset:
    """A dataset of the Hugging Face hub.

    Attributes:
        name: Its id, ``org/name``.
        config: Its configuration; None for the only or default one.
        revision: Commit, branch or tag; None for the newest.
    """

    name: str
    config: str | None = None
    revision: str | None = None


@dataclass(frozen=True)
class TaskSource:
    """Where a task is read from, and how.

    Attributes:
        name: Unique name of the task.
        path: A ``.jsonl``, ``.jsonl.gz``, ``.parquet`` or ``.arrow`` file, a ``.tar`` of JSONL
            files, a folder of such shards, or one that ``datasets.save_to_disk`` wrote.
        instruction: What a query of this task asks for; empty for no prompt.
        hub: Instead of ``path``: a dataset of the Hugging Face hub.
        split: Split of ``hub`` or of a saved folder with splits; ``train`` when None.
        columns: Which columns hold what; None where the keys tell the layout.
        filter: Which rows are used; None for all.
        max_rows: Rows to keep, the first ones; None keeps all.
    """

    name: str
    path: Path | None
    instruction: str = ""
    hub: HubDataset | None = None
    split: str | None = None
    columns: Columns | None = None
    filter: RowFilter | None = None
    max_rows: int | None = None

    @property
    def place(self) -> str:
        """Where it is, for people."""
        if self.hub is None:
            return str(self.path)
        parts = [self.hub.config, self.split or DEFAULT_SPLIT, self.hub.revision]
        return f"{self.hub.name} ({', '.join(filter(None, parts))})"

    def limit(self, rows: int | None) -> int | None:
        """Returns how many rows to keep where another limit holds too; None for all."""
        return min((one for one in (self.max_rows, rows) if one is not None), default=None)


@dataclass(frozen=True)
class Task:
    """A prepared task. All tables are memory-mapped; texts are stored once and named by number.

    Attributes:
        name: Unique name of the task.
        instruction: What a query of this task asks for.
        queries: Column ``text``; one line a row, all texts distinct.
        passages: Column ``text``; all texts distinct, so equal numbers mean equal texts.
        rows: Columns ``positives`` and ``negatives``, lists of passage numbers, ``own``, the
            number of a passage or -1, and ``first_alike``, the number of a row; line i belongs to
            line i of ``queries``. The first three of a row never share a number.
        content: Digest of the three tables; changes when any text or number changes.
        directory: Where it was prepared; a copy for another process is opened there again.
    """

    name: str
    instruction: str
    queries: Dataset
    passages: Dataset
    rows: Dataset
    content: str
    directory: Path

    def __len__(self) -> int:
        return len(self.rows)

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened_again, (self.directory, self.instruction)

    @cached_property
    def positives(self) -> PassageLists:
        """Passage numbers of the positives of each row."""
        return PassageLists(self.rows.data.column("positives"))

    @cached_property
    def negatives(self) -> PassageLists:
        """Passage numbers of the hard negatives of each row."""
        return PassageLists(self.rows.data.column("negatives"))

    @cached_property
    def own(self) -> NDArray[np.int32]:
        """The passage equal to each row's query, -1 where there is none or it is a positive."""
        return self._numbers("own")

    @cached_property
    def first_alike(self) -> NDArray[np.int32]:
        """The first row that asks what each row does, but for case, white space and punctuation."""
        return self._numbers("first_alike")

    def answers(self, row: int) -> NDArray[np.int32]:
        """Passage numbers that are never a negative of a row: its positives and its query."""
        own = self.own[row]
        return self.positives[row] if own < 0 else np.append(self.positives[row], own)

    def _numbers(self, name: str) -> NDArray[np.int32]:
        if name not in self.rows.column_names:
            raise InputError(
                f"The task in {self.directory} was prepared by an earlier version: prepare it anew."
            )
        numbers: NDArray[np.int32] = self.rows.data.column(name).to_numpy()
        return numbers

    @classmethod
    def open(cls, directory: Path) -> "Task":
        """Opens a prepared task without reading its texts.

        Raises:
            InputError: The directory holds no prepared task.
        """
        if not (directory / DETAILS_FILE).is_file():
            raise InputError(f"{directory} holds no prepared task: {DETAILS_FILE} is missing.")
        details = read_json(directory / DETAILS_FILE)
        return cls(
            name=details["name"],
            instruction=details["instruction"],
            content=details["content"],
            directory=directory,
            **{
                # Given a fingerprint, a dataset does not pickle itself to find one.
                table: Dataset(
                    MemoryMappedTable.from_file(str(directory / f"{table}.arrow")),
                    fingerprint=digest([details["content"], table]),
                )
                for table in ("queries", "passages", "rows")
            },
        )


def _opened_again(directory: Path, instruction: str) -> Task:
    return replace(Task.open(directory), instruction=instruction)
