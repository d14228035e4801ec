"""Taking the texts of benchmarks out of tasks: a stage a task, then one folder of clean tasks."""

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console

from tdro.cleaning.finder import Finder, Findings, Placed
from tdro.cleaning.judged import Judged, judged
from tdro.errors import InputError, require
from tdro.evaluation.loaders.source import Source
from tdro.files import digest, file_identity, file_name, locked, read_json, write_json
from tdro.progress import Tick
from tdro.stages import RunDirectory, Stage
from tdro.tasks.convert import LayoutName, row_writer
from tdro.tasks.duplicates import THRESHOLD
from tdro.tasks.identity import reading_options, source_identity
from tdro.tasks.layouts import Row
from tdro.tasks.rows import read_rows
from tdro.tasks.scan import no_row_left
from tdro.tasks.sources import INDEX_FILE, INDEXED_FOLDER
from tdro.tasks.task import TaskSource
from tdro.tasks.texts import DistinctTexts

REPORT_FILE = "report.json"
_ROWS_FILE = "rows.jsonl"
_FOUND_FILE = "found.json"
_CORPORA_FOLDER = "corpora"
_LOCK_FILE = ".lock"
_BATCH = 1000


@dataclass(frozen=True)
class Asked:
    """What is taken out, and how the rest is written.

    Attributes:
        benchmarks: The benchmarks.
        threshold: Jaccard similarity from which two texts are nearly equal; above 0, at most 1.
        layout: The layout to write.
        max_rows: Distinct queries of a clean task to write, the first ones; a task's own limit
            holds too.
    """

    benchmarks: Sequence[Source]
    threshold: float = THRESHOLD
    layout: LayoutName = "flagembedding"
    max_rows: int | None = None


def decontaminate(
    sources: Sequence[TaskSource], target: Path, asked: Asked, console: Console
) -> dict[str, Any]:
    """Writes tasks without the queries and relevant passages of benchmarks.

    Each task is a stage: a killed call leaves ``.NAME.partial`` beside ``target``, and the same
    call goes on there. Only one batch of rows is held in memory, and the texts of the benchmarks
    that count (see :class:`~tdro.cleaning.judged.Judged`).

    Args:
        sources: The tasks.
        target: A folder that is not there yet. Gets ``tasks.json``, ``tasks/<name>/rows.jsonl``
            and ``report.json``.
        asked: What is taken out.
        console: Where progress goes.

    Returns:
        The content of ``report.json``.

    Raises:
        InputError: ``target`` is there, another process is at work on it, a task or benchmark
            cannot be read, or nothing is left of a task.
    """
    if not 0 < asked.threshold <= 1:
        raise InputError(f"The threshold is {asked.threshold}: give one above 0, at most 1.")
    if target.exists():
        raise InputError(f"{target} is there already: remove it or give another name.")
    require("rensa", "clean")
    partial = target.with_name(f".{target.name}.partial")
    try:
        with locked(partial / _LOCK_FILE, wait=False):
            report = _all(sources, partial, asked, console)
            shutil.rmtree(partial / _CORPORA_FOLDER, ignore_errors=True)
            (partial / _LOCK_FILE).unlink()
            partial.rename(target)
    except BlockingIOError:
        raise InputError(
            f"Another process is at work on {target}: wait for it or give another name."
        ) from None
    return report


def _all(
    sources: Sequence[TaskSource], partial: Path, asked: Asked, console: Console
) -> dict[str, Any]:
    texts = [judged(source.read(partial / _CORPORA_FOLDER)) for source in asked.benchmarks]
    for one in texts:
        console.print(
            f"{one.name}: {len(one.queries):,} queries, {len(one.passages):,} relevant passages",
            highlight=False,
            markup=False,
        )
    finder = Finder(texts, asked.threshold)
    directory = RunDirectory(partial, console)
    found = {}
    for number, source in enumerate(sources, start=1):
        label = f"task {source.name} ({number} of {len(sources)})"
        stage = _stage(source, label, asked, finder)
        found[source.name] = read_json(directory.complete(stage) / _FOUND_FILE)
    _check_left(sources, found, texts)
    index = {
        source.name: {
            "path": f"{INDEXED_FOLDER}/{file_name(source.name)}/{_ROWS_FILE}",
            "instruction": source.instruction,
        }
        for source in sources
    }
    report = {
        "threshold": asked.threshold,
        "benchmarks": {
            one.name: {"queries": len(one.queries), "passages": len(one.passages)} for one in texts
        },
        "tasks": found,
    }
    write_json(partial / INDEX_FILE, index)
    write_json(partial / REPORT_FILE, report)
    return report


def _stage(source: TaskSource, label: str, asked: Asked, finder: Finder) -> Stage:
    def work(directory: Path, tick: Tick) -> dict[str, Any]:
        found = _clean(source, directory / _ROWS_FILE, asked, finder, tick)
        write_json(directory / _FOUND_FILE, found)
        return {"rows": found["rows"], "removed": sum(found["rows_removed"].values())}

    inputs = {
        "source": source_identity(source),
        "name": source.name,
        "max_rows": asked.max_rows,
        **reading_options(source),
        "threshold": asked.threshold,
        "layout": asked.layout,
        "benchmarks": {
            one.name: [digest([file_identity(path) for path in one.files]), *one.traits]
            for one in asked.benchmarks
        },
    }
    return Stage(label, f"{INDEXED_FOLDER}/{file_name(source.name)}", inputs, work)


def _clean(
    source: TaskSource, path: Path, asked: Asked, finder: Finder, tick: Tick
) -> dict[str, Any]:
    """Writes what is left of a task and returns what was found in it."""
    # Reading costs little beside looking up, and without it nobody could tell the time left.
    total = sum(1 for _ in read_rows(source))
    limit = source.limit(asked.max_rows)
    findings = Findings()
    dropped: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    queries = DistinctTexts()
    read = written = 0
    records = read_rows(source, left_out)
    with row_writer(path, asked.layout) as write:
        while batch := list(islice(records, _BATCH)):
            read += len(batch)
            for placed in finder.cleaned(list(_usable(batch, dropped)), findings):
                query = placed.row.query
                if limit is not None and queries.number(query) is None:
                    if len(queries) >= limit:
                        dropped["over max_rows"] += 1
                        continue
                    queries.add(query)
                write(placed.row)
                written += 1
            tick(read, total, None)
    return {
        "rows_read": read,
        "rows": written,
        "rows_dropped": dict(dropped),
        "passages_left_out": dict(left_out),
        **findings.as_json(),
    }


def _usable(batch: Sequence[tuple[str, int, Any]], dropped: Counter[str]) -> Iterator[Placed]:
    for file, line, row in batch:
        if isinstance(row, Row):
            yield Placed(file, line, row)
        else:
            dropped[str(row.reason)] += 1


def _check_left(
    sources: Sequence[TaskSource], found: dict[str, Any], texts: Sequence[Judged]
) -> None:
    empty = [source for source in sources if not found[source.name]["rows"]]
    if not empty:
        return
    first = empty[0]
    one = found[first.name]
    removed = sum(one["rows_removed"].values())
    if not removed:
        raise no_row_left(first, one["rows_dropped"])
    names = sorted({line["benchmark"] for line in one["found"]})
    more = f" Likewise {', '.join(repr(other.name) for other in empty[1:])}." if empty[1:] else ""
    raise InputError(
        f"Nothing is left of the task {first.name!r} ({first.place}): {removed:,} of its "
        f"{one['rows_read']:,} rows are in {', '.join(map(repr, names))}: leave the task out, or "
        f"the benchmark.{more}"
    )
