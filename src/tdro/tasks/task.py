"""The task: one training collection, opened from the directory it was prepared in."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from datasets import Dataset

from tdro.errors import InputError
from tdro.files import read_json
from tdro.tasks.mapped import PassageLists

DETAILS_FILE = "task.json"


@dataclass(frozen=True)
class TaskSource:
    """Where a task is read from.

    Attributes:
        name: Unique name of the task.
        path: A ``.jsonl``, ``.jsonl.gz`` or ``.parquet`` file.
        instruction: What a query of this task asks for; empty for no prompt.
    """

    name: str
    path: Path
    instruction: str = ""


@dataclass(frozen=True)
class Task:
    """A prepared task. All tables are memory-mapped; texts are stored once and named by number.

    Attributes:
        name: Unique name of the task.
        instruction: What a query of this task asks for.
        queries: Column ``text``; one line a row, all texts distinct.
        passages: Column ``text``; all texts distinct, so equal numbers mean equal texts.
        rows: Columns ``positives`` and ``negatives``, lists of passage numbers; line i belongs to
            line i of ``queries``. The two lists of a row never share a number.
        content: Digest of the three tables; changes when any text or number changes.
    """

    name: str
    instruction: str
    queries: Dataset
    passages: Dataset
    rows: Dataset
    content: str

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def positives(self) -> PassageLists:
        """Passage numbers of the positives of each row."""
        return PassageLists(self.rows.data.column("positives"))

    @cached_property
    def negatives(self) -> PassageLists:
        """Passage numbers of the hard negatives of each row."""
        return PassageLists(self.rows.data.column("negatives"))

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
            **{
                table: Dataset.from_file(str(directory / f"{table}.arrow"))
                for table in ("queries", "passages", "rows")
            },
        )
