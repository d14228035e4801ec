"""Whether the tasks of a run hold its benchmarks, or each other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tdro.cleaning.judged import judged
from tdro.files import read_json, write_json
from tdro.progress import Tick
from tdro.run.context import Context, contents
from tdro.run.evaluation import Judge
from tdro.stages import Stage
from tdro.tasks.overlap import Keys, keys_of, overlaps, shared_counts
from tdro.tasks.task import Task
from tdro.tasks.texts import select_texts
from tdro.tasks.training import TrainingTask

OVERLAPS_FILE = "overlaps.json"
MOSTLY = 0.5
"""A task with more than this share of its queries in another is said to lie in it."""

_MOST_WARNINGS = 10
_AMONG_TASKS, _WITH_EXCLUDED, _WITH_BENCHMARKS = (
    f"overlaps/{what}" for what in ("tasks", "excluded", "benchmarks")
)

_Line = dict[str, Any]


@dataclass(frozen=True)
class _Texts:
    """What is judged by: its name, keys of its queries and of its relevant passages."""

    name: str
    queries: Keys
    passages: Keys


def warn_of_overlaps(context: Context, outside: Sequence[Judge]) -> None:
    """Warns of what is judged on and trained on, and of tasks that lie in other tasks.

    Texts are compared for equality alone (see :func:`~tdro.tasks.duplicates.normalise`), which
    costs little. Stages of their own, on which no other depends.

    Args:
        context: The recipe at work.
        outside: The benchmarks, without hold-outs of the tasks.
    """
    sentences = {
        _AMONG_TASKS: _of_task,
        _WITH_EXCLUDED: _of_excluded,
        _WITH_BENCHMARKS: _of_benchmark,
    }
    for stage in overlap_stages(context, outside):
        _warn(context, stage, sentences[stage.directory])


def overlap_stages(context: Context, outside: Sequence[Judge]) -> list[Stage]:
    """Returns the stages that compare tasks with each other, with excluded ones and benchmarks.

    Args:
        context: The recipe at work.
        outside: The benchmarks, without hold-outs of the tasks.
    """
    tasks, excluded = context.tasks, [item for item in context.excluded if len(item.held_out)]
    stages = [
        Stage(
            "overlaps of tasks",
            _AMONG_TASKS,
            dict(context.identity),
            lambda directory, tick: _kept(directory, _tasks_in_tasks(tasks, tick)),
        )
    ]
    if excluded:
        stages.append(
            Stage(
                "overlaps with excluded tasks",
                _WITH_EXCLUDED,
                {**context.identity, "excluded": contents(excluded)},
                lambda directory, tick: _kept(
                    directory, _texts_in_tasks(tasks, _held_out(excluded), tick)
                ),
            )
        )
    if outside:
        identities = {item.benchmark.name: item.identity for item in outside}
        stages.append(
            Stage(
                "overlaps with benchmarks",
                _WITH_BENCHMARKS,
                {**context.identity, "benchmarks": identities},
                lambda directory, tick: _kept(
                    directory, _texts_in_tasks(tasks, _judged(outside), tick)
                ),
            )
        )
    return stages


def _kept(directory: Path, found: list[_Line]) -> dict[str, Any]:
    write_json(directory / OVERLAPS_FILE, found)
    return {"overlaps": len(found)}


def _warn(context: Context, stage: Stage, sentence: Callable[[_Line], str]) -> None:
    place = context.directory.complete(stage) / OVERLAPS_FILE
    lines: list[_Line] = context.directory.processes.once(lambda: read_json(place))
    for line in lines[:_MOST_WARNINGS]:
        context.directory.warn(sentence(line))
    if len(lines) > _MOST_WARNINGS:
        context.directory.warn(f"{len(lines) - _MOST_WARNINGS} more like this: see {place}.")


def _tasks_in_tasks(tasks: Sequence[TrainingTask], tick: Tick) -> list[_Line]:
    queries = []
    for done, item in enumerate(tasks, start=1):
        queries.append(_queries(item))
        tick(done, len(tasks), None)
    names = [item.name for item in tasks]
    return [
        {"task": one.task, "other": one.other, "queries": one.shared, "of_queries": one.texts}
        for one in overlaps(names, shared_counts(queries), MOSTLY)
    ]


def _judged(outside: Sequence[Judge]) -> list[_Texts]:
    """Returns the texts of benchmarks that count."""
    texts = [judged(item.benchmark) for item in outside]
    return [
        _Texts(
            one.name, keys_of(text for _, text in one.queries), keys_of(t for _, t in one.passages)
        )
        for one in texts
    ]


def _held_out(excluded: Sequence[TrainingTask]) -> list[_Texts]:
    """Returns what is asked of tasks that are not trained on."""
    held = [replace(item, rows=item.held_out) for item in excluded]
    return [_Texts(item.name, _queries(item), _positives(item)) for item in held]


def _texts_in_tasks(
    tasks: Sequence[TrainingTask], held: Sequence[_Texts], tick: Tick
) -> list[_Line]:
    nothing = keys_of([])
    found: list[_Line] = []
    for done, item in enumerate(tasks, start=1):
        queries = _queries(item)
        positives = _positives(item) if any(len(one.passages) for one in held) else nothing
        for one in held:
            line: _Line = {
                "task": item.name,
                "benchmark": one.name,
                "queries": _shared(one.queries, queries),
                "of_queries": len(one.queries),
                "passages": _shared(one.passages, positives),
                "of_passages": len(one.passages),
            }
            if line["queries"] or line["passages"]:
                found.append(line)
        tick(done, len(tasks), None)
    return sorted(found, key=lambda line: (-line["queries"], -line["passages"]))


def _queries(item: TrainingTask) -> Keys:
    return _keys(item.task, "queries", item.rows)


def _positives(item: TrainingTask) -> Keys:
    _, numbers = item.task.positives.take(item.rows)
    return _keys(item.task, "passages", np.unique(numbers))


def _keys(task: Task, table: str, numbers: np.ndarray[Any, Any]) -> Keys:
    column: pa.ChunkedArray = getattr(task, table).data.column("text")
    return keys_of(select_texts(column, numbers))


def _shared(keys: Keys, others: Keys) -> int:
    return len(np.intersect1d(keys, others, assume_unique=True))


def _of_benchmark(line: _Line) -> str:
    return (
        f"{_shares(line)} of benchmark {line['benchmark']!r}: scores on it are too good; `tdro "
        "tasks decontaminate` takes them out."
    )


def _of_excluded(line: _Line) -> str:
    return (
        f"{_shares(line)} that task {line['benchmark']!r} is judged by, which is meant not to be "
        "trained on: scores on it are too good; leave one of the tasks out of the recipe."
    )


def _shares(line: _Line) -> str:
    parts = [
        f"{line[what]:,} of the {line[f'of_{what}']:,} {named} "
        f"({line[what] / line[f'of_{what}']:.1%})"
        for what, named in (("queries", "queries"), ("passages", "relevant passages"))
        if line[what]
    ]
    return f"The training rows of task {line['task']!r} hold {' and '.join(parts)}"


def _of_task(line: _Line) -> str:
    return (
        f"Task {line['task']!r} lies in task {line['other']!r}: {line['queries']:,} of its "
        f"{line['of_queries']:,} queries ({line['queries'] / line['of_queries']:.1%}) are there, "
        "too, so their weights cannot be told apart; leave one of them out."
    )
