"""Preparing a task: texts and numbers on disk, in the form that is memory-mapped for training."""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from tdro.files import digest, file_name, publish, write_json
from tdro.tasks.lists import Lists
from tdro.tasks.negatives import mine
from tdro.tasks.query_groups import QueryGroups
from tdro.tasks.scan import PASSAGES_FILE, QUERIES_FILE, Scan, TaskReport, scan
from tdro.tasks.sources import find_sources
from tdro.tasks.task import DETAILS_FILE, ROWS_COLUMNS, Task, TaskSource
from tdro.tasks.texts import read_texts, select_texts

ROWS_FILE = "rows.arrow"
_ROWS_BATCH = 1000


def prepare_task(
    source: TaskSource,
    directory: Path,
    *,
    negatives: int = 16,
    max_rows: int | None = None,
    seed: int = 0,
) -> TaskReport:
    """Reads a task file once and writes the directory that ``Task.open`` opens.

    Equal texts get equal numbers, rows with an equal query become one row, and rows without a
    negative get negatives by BM25 among the task's own passages. No list of a row holds a number
    twice, and no negative equals a positive of its row or its query; none that is mined equals one
    of a row whose query differs in case, white space and punctuation only.

    Args:
        source: The task.
        directory: Existing folder; the caller renames it once this function has returned.
        negatives: Negatives to mine for each row that has none; 0 mines none.
        max_rows: Rows to keep, the first ones after merging; None keeps all. The task's own
            limit holds too.
        seed: Seed of what is random in mining.

    Returns:
        What was found; also kept in ``task.json``.

    Raises:
        InputError: The file cannot be read, no row of it can be used, or negatives are wanted and
            the package bm25s is not installed.
    """
    scanned = scan(source, directory, max_rows=max_rows)
    given = all_negatives = scanned.negatives
    groups = QueryGroups.of(read_texts(directory / QUERIES_FILE), scanned.own)
    if negatives:
        all_negatives = _with_mined(scanned, groups, directory, negatives, seed)
    table = _rows(scanned, all_negatives, groups)
    _write(directory / ROWS_FILE, table)
    report = replace(
        scanned.report,
        negatives_mined=int(np.count_nonzero(all_negatives.lengths > given.lengths)),
        short_of_negatives=int(np.count_nonzero(all_negatives.lengths == 0)),
    )
    details = {
        "name": source.name,
        "instruction": source.instruction,
        "content": _content(scanned, all_negatives, table),
        "report": asdict(report),
    }
    write_json(directory / DETAILS_FILE, details)
    return report


def prepare_tasks(tasks: Path | str | Sequence[TaskSource], directory: Path | str) -> list[Task]:
    """Prepares all tasks of a file or folder, or those named, and opens them.

    Args:
        tasks: A task file, a folder of them, one with ``tasks.json`` and ``tasks/``, or sources.
        directory: Receives a folder a task; what was there of these names is replaced.

    Raises:
        InputError: A task cannot be read.
    """
    sources = find_sources(Path(tasks)) if isinstance(tasks, str | Path) else tasks
    prepared = []
    for source in sources:
        target = Path(directory) / file_name(source.name)
        partial = target.with_name(f".{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        prepare_task(source, partial)
        publish(partial, target)
        prepared.append(Task.open(target))
    return prepared


def _with_mined(
    scanned: Scan, groups: QueryGroups, directory: Path, count: int, seed: int
) -> Lists:
    """Adds mined negatives to the rows that have none."""
    given = scanned.negatives
    wanting = np.flatnonzero(given.lengths == 0)
    if len(wanting) == 0:
        return given
    mined = list(
        mine(
            select_texts(read_texts(directory / QUERIES_FILE), wanting),
            read_texts(directory / PASSAGES_FILE),
            map(groups.answers, wanting.tolist()),
            count,
            seed,
        )
    )
    return Lists.from_pairs(
        np.concatenate([given.owners, np.repeat(wanting, [len(one) for one in mined])]),
        np.concatenate([given.values, *mined]),
        len(given),
    )


def _rows(scanned: Scan, negatives: Lists, groups: QueryGroups) -> pa.Table:
    lists = [
        pa.ListArray.from_arrays(pa.array(one.offsets, pa.int32()), pa.array(one.values))
        for one in (scanned.positives, negatives)
    ]
    others = scanned.own.minus(scanned.positives)
    own = np.full(len(others), -1, dtype=np.int32)
    own[others.owners] = others.values
    return pa.table([*lists, own, groups.first.astype(np.int32)], names=ROWS_COLUMNS)


def _write(path: Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=_ROWS_BATCH)


def _content(scanned: Scan, negatives: Lists, table: pa.Table) -> str:
    sha = hashlib.sha256()
    for lists in (scanned.positives, negatives):
        sha.update(lists.offsets.astype("<i8").tobytes())
        sha.update(lists.values.astype("<i4").tobytes())
    # A task where these tell nothing stays what it was before they were kept.
    for name, nothing in (("own", -1), ("first_alike", np.arange(len(table)))):
        numbers = table[name].to_numpy()
        if (numbers != nothing).any():
            sha.update(name.encode() + numbers.astype("<i4").tobytes())
    return digest([*scanned.text_digests, sha.hexdigest()])
