"""The plan: which rows, with which hard negatives, a mixture is learned on at which step."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tdro.draws import TaskDraws
from tdro.files import read_json, write_json
from tdro.prompts import query_prompt
from tdro.tasks.task import Task
from tdro.tasks.training import TrainingTask, task_seed, texts

Named = TypeVar("Named", Task, TrainingTask)
_HEAD_FILE = "plan.json"
_ROWS_FILE = "rows.parquet"


@dataclass(frozen=True)
class PlannedTexts:
    """The texts of some planned rows, each once.

    Attributes:
        queries: Distinct queries, prompts in front.
        passages: Distinct passages.
        query_of: Place of each row's query in ``queries``, shape ``(rows,)``.
        passage_of: Places of each row's passages in ``passages``, the positive first, shape
            ``(rows, 1 + negatives)``.
    """

    queries: list[str]
    passages: list[str]
    query_of: NDArray[np.int64]
    passage_of: NDArray[np.int64]


@dataclass(frozen=True)
class Plan:
    """A balanced schedule: step s holds rows ``s * batch_size`` to ``(s + 1) * batch_size - 1``.

    Attributes:
        tasks: Names of the tasks.
        steps: Number of steps.
        batch_size: Rows of a step.
        seed: Seed of the schedule.
        task_of: Task number of each planned row, shape ``(steps * batch_size,)``.
        row_of: Row number within the task, same shape.
        passages: Passage numbers, the positive first, shape ``(rows, 1 + negatives)``.
    """

    tasks: tuple[str, ...]
    steps: int
    batch_size: int
    seed: int
    task_of: NDArray[np.int64]
    row_of: NDArray[np.int64]
    passages: NDArray[np.int64]

    def texts(self, tasks: Sequence[Task], places: NDArray[np.int64]) -> PlannedTexts:
        """Reads the texts of some planned rows, each distinct text once.

        Args:
            tasks: The tasks, in the order of ``self.tasks``.
            places: Places of the rows in the plan, shape ``(rows,)``.
        """
        queries: list[str] = []
        passages: list[str] = []
        query_of = np.empty(len(places), dtype=np.int64)
        passage_of = np.empty((len(places), self.passages.shape[1]), dtype=np.int64)
        for number in np.unique(self.task_of[places]):
            mine = np.flatnonzero(self.task_of[places] == number)
            task = tasks[number]
            rows, which = np.unique(self.row_of[places[mine]], return_inverse=True)
            query_of[mine] = which + len(queries)
            prompt = query_prompt(task.instruction)
            queries += [prompt + text for text in texts(task.queries, rows)]
            shown, which = np.unique(self.passages[places[mine]], return_inverse=True)
            passage_of[mine] = which.reshape(len(mine), -1) + len(passages)
            passages += texts(task.passages, shown)
        return PlannedTexts(queries, passages, query_of, passage_of)

    def in_order(self, tasks: Sequence[Named]) -> list[Named]:
        """Returns tasks in the plan's order; the recipe may name them in another since."""
        by_name = {task.name: task for task in tasks}
        return [by_name[name] for name in self.tasks]

    def places_of(self, tasks: Sequence[TrainingTask]) -> NDArray[np.int64]:
        """Returns the places of the planned rows that are among the rows of ``tasks``."""
        by_task = np.argsort(self.task_of, kind="stable")
        ends = np.cumsum(np.bincount(self.task_of, minlength=len(tasks)))
        found = [
            places[np.isin(self.row_of[places], task.rows)]
            for places, task in zip(np.split(by_task, ends[:-1]), tasks, strict=True)
        ]
        return np.sort(np.concatenate(found))

    def save(self, directory: Path) -> None:
        """Writes ``plan.json`` and ``rows.parquet``."""
        ends = np.arange(len(self.passages) + 1, dtype=np.int32) * self.passages.shape[1]
        passages = pa.ListArray.from_arrays(ends, self.passages.ravel())
        columns = {"task": self.task_of, "row": self.row_of, "passages": passages}
        pq.write_table(pa.table(columns), directory / _ROWS_FILE)
        head = {name: getattr(self, name) for name in ("tasks", "steps", "batch_size", "seed")}
        write_json(directory / _HEAD_FILE, head)

    @classmethod
    def load(cls, directory: Path) -> "Plan":
        """Reads what :meth:`save` wrote."""
        head = read_json(directory / _HEAD_FILE)
        rows = pq.read_table(directory / _ROWS_FILE)
        passages = rows["passages"].combine_chunks()
        return cls(
            tasks=tuple(head["tasks"]),
            steps=head["steps"],
            batch_size=head["batch_size"],
            seed=head["seed"],
            task_of=rows["task"].to_numpy(),
            row_of=rows["row"].to_numpy(),
            passages=passages.flatten().to_numpy().reshape(len(passages), -1),
        )


def make_plan(
    tasks: Sequence[TrainingTask], *, steps: int, batch_size: int, negatives: int, seed: int
) -> Plan:
    """Plans the rows of every step, tasks in equal parts and mixed in a batch (paper, section 3).

    After any number of rows each task has had its equal share to within one row. A task with
    fewer rows than its share is passed over again, shuffled anew.

    Args:
        tasks: What may be drawn.
        steps: Number of steps.
        batch_size: Rows of a step over all processes.
        negatives: Hard negatives to a row.
        seed: Seed of the schedule.
    """
    total = steps * batch_size
    names = tuple(task.name for task in tasks)
    # By name, so that the rows do not depend on the order the tasks are given in.
    by_name = np.array(sorted(range(len(tasks)), key=lambda number: names[number]), dtype=np.int64)
    order = np.random.default_rng(task_seed(seed, "plan", "")).permutation(by_name)
    task_of = np.resize(order, total)
    row_of = np.empty(total, dtype=np.int64)
    passages = np.empty((total, 1 + negatives), dtype=np.int64)
    for first, number in enumerate(order):
        task, places = tasks[number], np.arange(first, total, len(tasks))
        draws = TaskDraws(task, negatives, task_seed(seed, "plan", task.name))
        row_of[places], passages[places] = draws.first(len(places))
    return Plan(names, steps, batch_size, seed, task_of, row_of, passages)
