"""Recorded row losses: what a mixture was learned from, to be replayed with another method."""

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tdro.errors import InputError
from tdro.files import read_json
from tdro.learning.growing import Growing
from tdro.learning.losses import Floats, RowLosses

RECORD_FILE = "row_losses.parquet"
_HEAD = "tdro"
_LISTS = ("proxy_loss", "reference_loss", "task_ids")


@dataclass(frozen=True)
class LossRecord:
    """Row losses of the micro-batches of every step, over all processes.

    Attributes:
        tasks: Names of the K tasks.
        accumulation: Micro-batches of a step.
        reference_of_task: Mean reference loss of each task over the whole plan, shape ``(K,)``,
            of which a learning that ended early saw a part only; None where not known.
        micro_batches: Their row losses, in order.
    """

    tasks: tuple[str, ...]
    accumulation: int
    reference_of_task: Floats | None = None
    micro_batches: Sequence[RowLosses] = ()

    def extended(self, step: list[RowLosses]) -> "LossRecord":
        """Adds a step."""
        return replace(self, micro_batches=Growing.of(self.micro_batches).extended(step))

    def means(self) -> Floats:
        """Returns ``reference_of_task``, out of the recorded rows where it was not recorded."""
        if self.reference_of_task is not None:
            return self.reference_of_task
        everything = RowLosses.joined(self.micro_batches)
        return everything.task_means(everything.reference)

    def steps(self) -> Iterator[tuple[RowLosses, ...]]:
        """Yields the micro-batches of each step."""
        for start in range(0, len(self.micro_batches), self.accumulation):
            yield tuple(self.micro_batches[start : start + self.accumulation])

    def save(self, path: Path) -> None:
        """Writes the record: one line a row in Parquet, or lists by micro-batch in JSON.

        Args:
            path: Ends in ``.parquet`` or ``.json``.
        """
        if path.suffix == ".json":
            content = {
                "n_tasks": len(self.tasks),
                "tasks": self.tasks,
                "accumulation": self.accumulation,
                **self._extra(),
                "proxy_loss": [part.proxy.tolist() for part in self.micro_batches],
                "reference_loss": [part.reference.tolist() for part in self.micro_batches],
                "task_ids": [part.task_of.tolist() for part in self.micro_batches],
            }
            path.write_text(json.dumps(content), encoding="utf-8")
            return
        rows = [len(part.proxy) for part in self.micro_batches]
        head = {"tasks": self.tasks, "accumulation": self.accumulation, **self._extra()}
        joined = RowLosses.joined(self.micro_batches) if rows else _empty(len(self.tasks))
        table = pa.table(
            {
                "micro_batch": np.repeat(np.arange(len(rows), dtype=np.int32), rows),
                "task": joined.task_of.astype(np.int32),
                "proxy_loss": joined.proxy,
                "reference_loss": joined.reference,
            }
        )
        pq.write_table(table.replace_schema_metadata({_HEAD: json.dumps(head)}), path)

    def _extra(self) -> dict[str, Any]:
        known = self.reference_of_task
        return {} if known is None else {"reference_of_task": known.tolist()}

    @classmethod
    def load(cls, path: Path) -> "LossRecord":
        """Reads a record.

        Args:
            path: A ``.parquet`` file that :meth:`save` wrote, or a JSON file ``{"n_tasks": K,
                "accumulation": 1, "proxy_loss": [[...]], "reference_loss": [[...]],
                "task_ids": [[...]]}`` with one inner list a micro-batch; ``tasks`` may name
                the tasks and ``reference_of_task`` give their means over more rows than these.

        Raises:
            InputError: The file is missing or holds something else.
        """
        if path.suffix == ".parquet":
            return _from_parquet(path)
        return _from_json(path, read_json(path))


def _empty(tasks: int) -> RowLosses:
    return RowLosses(np.empty(0), np.empty(0), np.empty(0, dtype=np.int64), tasks)


def _from_parquet(path: Path) -> LossRecord:
    if not path.is_file():
        raise InputError(f"{path} does not exist.")
    try:
        table = pq.read_table(path, partitioning=None)
    except (pa.ArrowException, ValueError) as error:
        raise InputError(f"{path} is no record of row losses ({error}).") from None
    written = (table.schema.metadata or {}).get(_HEAD.encode())
    if written is None:
        raise InputError(
            f"{path} is no record of row losses: give the {RECORD_FILE} that a run leaves beside "
            "its mixture."
        )
    try:
        head = json.loads(written)
        tasks, accumulation = tuple(head["tasks"]), int(head["accumulation"])
        proxy, reference, task_of, micro = (
            table[name].to_numpy()
            for name in ("proxy_loss", "reference_loss", "task", "micro_batch")
        )
    except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no record of row losses ({error}).") from None
    bounds = [0, *(np.flatnonzero(np.diff(micro)) + 1).tolist(), len(micro)]
    found = [
        RowLosses(
            proxy[start:end], reference[start:end], task_of[start:end].astype(np.int64), len(tasks)
        )
        for start, end in itertools.pairwise(bounds)
        if end > start
    ]
    known = _known(path, head, len(tasks))
    return LossRecord(tasks, accumulation, known, tuple(found))


def _from_json(path: Path, content: Any) -> LossRecord:
    if not isinstance(content, dict):
        raise InputError(f"{path} is no JSON object with the keys n_tasks, {', '.join(_LISTS)}.")
    missing = [name for name in ("n_tasks", *_LISTS) if name not in content]
    if missing:
        raise InputError(f"{path}: the key {missing[0]!r} is missing.")
    count, accumulation = content["n_tasks"], content.get("accumulation", 1)
    for name, value in (("n_tasks", count), ("accumulation", accumulation)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"{path}: {name!r} is {value!r}, not a number from 1.")
    names = content.get("tasks", [f"task {number}" for number in range(count)])
    if not isinstance(names, list) or len(set(map(str, names))) != count:
        raise InputError(f"{path}: 'tasks' must give {count} different names.")
    lists = [content[name] for name in _LISTS]
    lengths = {len(value) if isinstance(value, list) else None for value in lists}
    if len(lengths) > 1 or None in lengths:
        raise InputError(f"{path}: {', '.join(_LISTS)} must be equally long lists of lists.")
    number = lengths.pop()
    if not number or number % accumulation:
        raise InputError(
            f"{path}: {number} micro-batches are no whole number of steps of {accumulation}."
        )
    micro_batches = [
        _micro_batch(f"{path}: micro-batch {place}", count, *part)
        for place, part in enumerate(zip(*lists, strict=True), start=1)
    ]
    known = _known(path, content, count)
    return LossRecord(tuple(map(str, names)), accumulation, known, tuple(micro_batches))


def _known(path: Path, content: dict[str, Any], tasks: int) -> Floats | None:
    values = content.get("reference_of_task")
    if values is None:
        return None
    numbers = isinstance(values, list) and all(isinstance(value, int | float) for value in values)
    if not numbers or len(values) != tasks:
        raise InputError(f"{path}: 'reference_of_task' must give {tasks} numbers.")
    return np.array(values, dtype=np.float64)


def _micro_batch(where: str, tasks: int, *lists: Any) -> RowLosses:
    try:
        proxy, reference = (np.asarray(values, dtype=np.float64) for values in lists[:2])
        ids = np.asarray(lists[2])
    except (TypeError, ValueError):
        raise InputError(f"{where} holds something that is no number.") from None
    if not proxy.shape == reference.shape == ids.shape or proxy.ndim != 1 or not len(proxy):
        raise InputError(f"{where}: its three lists must be equally long and not empty.")
    if not np.issubdtype(ids.dtype, np.integer) or ids.min() < 0 or ids.max() >= tasks:
        raise InputError(f"{where}: task_ids must be whole numbers from 0 to {tasks - 1}.")
    if not (np.isfinite(proxy).all() and np.isfinite(reference).all()):
        raise InputError(f"{where} holds a loss that is not finite.")
    if min(proxy.min(), reference.min()) < 0:
        raise InputError(f"{where} holds a loss below zero.")
    return RowLosses(proxy, reference, ids.astype(np.int64), tasks)
