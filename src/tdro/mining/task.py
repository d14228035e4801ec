"""Mining one task in a folder, from which a killed attempt goes on."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tdro.files import read_json, write_json, write_table
from tdro.mining.choosing import FILTERED, Chooser, Chosen, Judge
from tdro.mining.ranking import Ranker
from tdro.mining.settings import MiningSettings
from tdro.mining.texts import TaskTexts, read_task
from tdro.progress import Tick
from tdro.tasks.convert import convert
from tdro.tasks.task import TaskSource

REPORT_FILE = "mined.json"
_TEXTS, _EMBEDDINGS, _CHOSEN = "texts", "embeddings", "chosen"
_ROWS_PER_FILE = 256
_COUNTS = b"counts"
_WRITTEN = "written.jsonl"


@dataclass(frozen=True)
class MinedTask:
    """What mining made of a task. ``dataclasses.asdict`` of it can be written as JSON.

    Attributes:
        rows: Rows written, one for each distinct query.
        passages: Distinct passages that were searched.
        negatives: Negatives a row has: ``min``, ``median``, ``max``.
        without: Rows without a negative.
        short: Rows with some negatives, but fewer than were asked for.
        found: Passages found for all rows within the depth that was searched.
        filtered: How many of them were left out, by reason.
        shares: The same as shares; of what was judged where the judge left it out, else of what
            was found.
        judged: Pairs of a query and a candidate that the judge was asked about.
        given: Negatives that rows brought, where they are kept.
        given_filtered: How many of those were left out, since they nearly equal an answer.
        dropped: Rows of the file that could not be used or that the filter left out, by reason.
        merged: Rows of the file merged into an earlier one with the same query.
    """

    rows: int
    passages: int
    negatives: dict[str, float]
    without: int
    short: int
    found: int
    filtered: dict[str, int]
    shares: dict[str, float]
    judged: int
    given: int
    given_filtered: int
    dropped: dict[str, int]
    merged: int


def rows_file(settings: MiningSettings) -> str:
    """Returns the name of the file of rows in a task's folder."""
    return f"rows.{settings.form}"


def mine_task(
    source: TaskSource,
    settings: MiningSettings,
    folder: Path,
    ranker: Callable[[TaskTexts, Path, int, Tick], Ranker],
    judge: Judge | None,
    tick: Tick,
    *,
    max_rows: int | None = None,
    strict: bool = False,
) -> MinedTask:
    """Finds negatives for each row of a task and writes its rows with them.

    Rows are done 256 at a time, each such part in a file of its own, so that a killed attempt
    loses at most what one block of the ranker takes.

    Args:
        source: The task.
        settings: What is asked of mining.
        folder: An existing folder; may hold what an attempt with the same inputs left.
        ranker: Makes what finds passages, of the task, a folder for it, the passages to find for a
            row at most, and a tick.
        judge: What rates candidates.
        tick: Told the passages encoded, then the rows done.
        max_rows: Distinct queries to read, the first ones; the task's own limit holds too.
        strict: Raise at the first bad row instead of dropping it.

    Raises:
        InputError: The task cannot be read, or has only one passage.
    """
    if (folder / REPORT_FILE).is_file():
        return _tidied(folder)
    texts = read_task(source, folder / _TEXTS, max_rows=max_rows, strict=strict)
    chooser = Chooser(texts, settings, judge)
    (folder / _CHOSEN).mkdir(exist_ok=True)
    depths = np.array([chooser.depth(row) for row in range(len(texts))], dtype=np.int64)
    if not all(path.is_file() for _, path in _parts(texts, folder)):
        made = ranker(texts, folder / _EMBEDDINGS, int(depths.max()), tick)
        _choose(texts, folder, made, chooser, depths, tick)
    write_json(folder / REPORT_FILE, asdict(_write(texts, folder, settings)))
    return _tidied(folder)


def _tidied(folder: Path) -> MinedTask:
    """Removes what a finished task needs no more, and returns its report."""
    for name in (_TEXTS, _EMBEDDINGS, _CHOSEN):
        shutil.rmtree(folder / name, ignore_errors=True)
    return MinedTask(**read_json(folder / REPORT_FILE))


def _parts(texts: TaskTexts, folder: Path) -> Iterator[tuple[int, Path]]:
    for start in range(0, len(texts), _ROWS_PER_FILE):
        yield start, folder / _CHOSEN / f"{start:010d}.parquet"


def _choose(
    texts: TaskTexts,
    folder: Path,
    ranker: Ranker,
    chooser: Chooser,
    depths: NDArray[np.int64],
    tick: Tick,
) -> None:
    """Chooses negatives part by part; a block without a missing part is not ranked again."""
    block = max(1, ranker.rows // _ROWS_PER_FILE) * _ROWS_PER_FILE
    parts = list(_parts(texts, folder))
    per_block = block // _ROWS_PER_FILE
    for number in range(0, len(parts), per_block):
        some = parts[number : number + per_block]
        if any(not path.is_file() for _, path in some):
            first = some[0][0]
            ranked = ranker.rank(first, depths[first : first + block])
            for start, path in some:
                if not path.is_file():
                    mine = ranked[start - first : start - first + _ROWS_PER_FILE]
                    _keep(path, chooser.choose(start, mine))
                tick(min(start + _ROWS_PER_FILE, len(texts)), len(texts), None)


def _keep(path: Path, chosen: Chosen) -> None:
    table = pa.table({"negatives": pa.array(chosen.negatives, pa.list_(pa.int32()))})
    write_table(path, table.replace_schema_metadata({_COUNTS: json.dumps(chosen.counts)}))


def _write(texts: TaskTexts, folder: Path, settings: MiningSettings) -> MinedTask:
    """Writes the rows, and tells what became of the passages that were found."""
    counts: Counter[str] = Counter()
    lengths: list[int] = []
    written = folder / _WRITTEN
    with written.open("wb") as lines:
        for start, path in _parts(texts, folder):
            table = pq.read_table(path)
            counts.update(json.loads(table.schema.metadata[_COUNTS]))
            for row, negatives in enumerate(table["negatives"].to_pylist(), start=start):
                record = {
                    "query": texts.queries[row].as_py(),
                    "pos": _texts(texts, texts.positives[row].tolist()),
                    "neg": _texts(texts, negatives),
                }
                lines.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
                lengths.append(len(negatives))
    target = folder / rows_file(settings)
    if (settings.layout, settings.form) == ("flagembedding", "jsonl"):
        written.replace(target)
    else:
        target.unlink(missing_ok=True)
        convert([TaskSource(texts.name, written)], target, settings.layout)
        written.unlink()
    return _report(texts, counts, np.array(lengths), settings.count)


def _texts(texts: TaskTexts, numbers: list[int]) -> list[str]:
    return [texts.passages[number].as_py() for number in numbers]


def _report(
    texts: TaskTexts, counts: Counter[str], lengths: NDArray[np.int64], count: int
) -> MinedTask:
    filtered = {reason: counts[reason] for reason in FILTERED}
    shares = {
        reason: round(number / max(1, counts["judged" if reason == "judge" else "found"]), 6)
        for reason, number in filtered.items()
    }
    spread: dict[str, Any] = {
        "min": int(lengths.min()),
        "median": float(np.median(lengths)),
        "max": int(lengths.max()),
    }
    return MinedTask(
        rows=len(texts),
        passages=len(texts.passages),
        negatives=spread,
        without=int(np.count_nonzero(lengths == 0)),
        short=int(np.count_nonzero((lengths > 0) & (lengths < count))),
        found=counts["found"],
        filtered=filtered,
        shares=shares,
        judged=counts["judged"],
        given=counts["given"],
        given_filtered=counts["given_near_equal"],
        dropped=dict(texts.report.dropped),
        merged=texts.report.merged,
    )
