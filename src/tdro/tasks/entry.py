"""A task as a recipe or a ``tasks.json`` names it."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveInt, field_validator, model_validator

from tdro.tasks.options import Columns, Options, RowFilter
from tdro.tasks.task import HubDataset, TaskSource

_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


class TaskEntry(Options):
    """One task: where it is and how it is read.

    Attributes:
        name: Unique name of the task.
        path: A task file, a folder of its shards, or a folder of ``datasets.save_to_disk``.
        dataset: Instead of a path: a dataset of the Hugging Face hub, as ``org/name``.
        config: Configuration of ``dataset``.
        revision: Commit, branch or tag of ``dataset``.
        split: Split of ``dataset`` or of a saved folder with splits; ``train`` when absent.
        instruction: What a query of this task asks for; empty for no prompt.
        columns: Which columns hold what; when absent the layout is told by the keys.
        filter: Which rows are used.
        max_rows: Rows that are used at most, the first ones.
    """

    name: Annotated[str, Field(min_length=1)]
    path: Path | None = None
    dataset: str | None = None
    config: str | None = None
    revision: str | None = None
    split: str | None = None
    instruction: str = ""
    columns: Columns | None = None
    filter: RowFilter | None = None
    max_rows: PositiveInt | None = None

    @field_validator("dataset")
    @classmethod
    def _is_an_id(cls, name: str | None) -> str | None:
        if name is not None and not _HUB_ID.fullmatch(name):
            raise ValueError("a dataset of the hub is 'org/name'; a folder is given as 'path'")
        return name

    @field_validator("instruction")
    @classmethod
    def _is_unicode(cls, instruction: str) -> str:
        try:
            instruction.encode()
        except UnicodeEncodeError:
            raise ValueError("it holds half a surrogate pair, write the whole character") from None
        return instruction

    @model_validator(mode="after")
    def _one_place(self) -> "TaskEntry":
        if self.path is not None and self.dataset is not None:
            raise ValueError("'path' and 'dataset' are both given: keep one")
        if self.path is None and self.dataset is None:
            raise ValueError("give a 'path', or a 'dataset' of the Hugging Face hub")
        for option in ("config", "revision"):
            if self.dataset is None and getattr(self, option) is not None:
                raise ValueError(f"{option!r} is only read with 'dataset'")
        return self

    @model_validator(mode="after")
    def _scores_are_read(self) -> "TaskEntry":
        used = self.filter is not None and self.filter.reads_scores
        if self.columns is None:
            return self
        if self.columns.passages and (not self.filter or self.filter.min_positive_score is None):
            raise ValueError("'columns.passages' needs 'filter.min_positive_score'")
        if self.columns.score and not used:
            raise ValueError(
                "'columns.score' is only read with 'filter.min_positive_score' or "
                "'filter.max_negative_ratio'"
            )
        if used and not self.columns.score:
            raise ValueError("the filter reads scores, but 'columns.score' is missing")
        return self

    def source(self) -> TaskSource:
        """Returns what a task is read from."""
        hub = None
        if self.dataset is not None:
            hub = HubDataset(self.dataset, self.config, self.revision)
        return TaskSource(
            self.name,
            self.path,
            self.instruction.strip(),
            hub=hub,
            split=self.split,
            columns=self.columns,
            filter=self.filter,
            max_rows=self.max_rows,
        )
