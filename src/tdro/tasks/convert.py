"""Writing tasks in another layout, row by row, whole or not at all."""

import gzip
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from tdro.errors import InputError
from tdro.files import file_name, make_folder, write_json
from tdro.tasks.layouts import Row
from tdro.tasks.reading import either, suffix_of
from tdro.tasks.rows import read_rows
from tdro.tasks.scan import no_row_left
from tdro.tasks.sources import INDEX_FILE, INDEXED_FOLDER
from tdro.tasks.task import TaskSource
from tdro.tasks.texts import DistinctTexts

LayoutName = Literal["flagembedding", "tevatron", "sentence-transformers"]
Format = Literal["jsonl", "jsonl.gz", "parquet"]
_BATCH = 1000
_WRITTEN = get_args(Format)
# Endings that only a file has, so that none of them is made a folder.
_FILES = (".csv", ".gz", ".json", ".ndjson", ".tsv", ".txt", ".xlsx", ".zip", ".zst")

_Record = dict[str, Any]
_Write = Callable[[_Record], None]


@dataclass(frozen=True)
class Converted:
    """What was written of one task.

    Attributes:
        source: The task.
        path: The file written.
        rows: Rows written.
        dropped: Rows that could not be used or that the filter left out, by reason.
        left_out: Passages left out of rows that were written, by the filter's reason.
    """

    source: TaskSource
    path: Path
    rows: int
    dropped: dict[str, int]
    left_out: dict[str, int]


def convert(
    sources: Sequence[TaskSource],
    target: Path,
    layout: LayoutName,
    form: Format | None = None,
    *,
    max_rows: int | None = None,
    strict: bool = False,
) -> list[Converted]:
    """Writes tasks in another layout, holding one row of them in memory.

    Rows are written as they are read; a task's columns and filter are applied. In the layout of
    sentence-transformers a row has one positive, so a row with several becomes several rows.

    Args:
        sources: The tasks.
        target: What must not be there yet: a file with a known ending, for one task; or a folder,
            which gets ``tasks/<name>`` and a ``tasks.json`` with names and instructions.
        layout: The layout to write.
        form: The kind of file; by default that of ``target``, or JSONL in a folder.
        max_rows: Distinct queries of a task to write, the first ones; a task's own limit holds too.
        strict: Raise at the first bad row instead of dropping it.

    Raises:
        InputError: ``target`` is there, does not fit, a task cannot be read, or no row is left.
    """
    if target.exists():
        raise InputError(f"{target} is there already: remove it or give another name.")
    ending = (suffix_of(target) or "")[1:]
    if not ending and target.suffix.lower() in _FILES:
        raise InputError(
            f"{target} is named as a file that no task is read from: end its name in "
            f"{either(tuple(f'.{one}' for one in _WRITTEN))}, or name a folder."
        )
    if not ending:
        return _folder(sources, target, layout, form or "jsonl", max_rows, strict)
    if ending not in _WRITTEN or form not in (None, ending):
        raise InputError(f"{target} is not named as a file of the format {form or 'jsonl'}.")
    if len(sources) != 1:
        raise InputError(
            f"{len(sources)} tasks do not go into the one file {target}: name a folder."
        )
    if sources[0].instruction:
        raise InputError(
            f"The task {sources[0].name!r} has an instruction, which the file {target} cannot "
            "hold: name a folder, which gets a tasks.json."
        )
    partial = target.with_name(f".partial.{target.name}")
    make_folder(target.parent)
    try:
        done = _file(sources[0], partial, target, layout, max_rows, strict)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return [done]


def _folder(
    sources: Sequence[TaskSource],
    target: Path,
    layout: LayoutName,
    form: Format,
    max_rows: int | None,
    strict: bool,
) -> list[Converted]:
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    make_folder(partial / INDEXED_FOLDER)
    index: dict[str, dict[str, str]] = {}
    done = []
    try:
        for source in sources:
            place = f"{INDEXED_FOLDER}/{file_name(source.name)}.{form}"
            done.append(_file(source, partial / place, target / place, layout, max_rows, strict))
            index[source.name] = {"path": place, "instruction": source.instruction}
        write_json(partial / INDEX_FILE, index)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return done


def _file(
    source: TaskSource,
    path: Path,
    final: Path,
    layout: LayoutName,
    max_rows: int | None,
    strict: bool,
) -> Converted:
    limit = source.limit(max_rows)
    dropped: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    columns = 0
    if layout == "sentence-transformers" and path.name.endswith(".parquet"):
        # A table's columns are fixed before its first row, so the longest row is looked for.
        found = _rows(source, limit, Counter(), Counter(), strict)
        columns = max((len(row.negatives) for row in found), default=0)
    rows = 0
    with row_writer(path, layout, columns) as write:
        for row in _rows(source, limit, dropped, left_out, strict):
            write(row)
            rows += 1
    if rows == 0:
        raise no_row_left(source, dropped)
    return Converted(source, final, rows, dict(dropped), dict(left_out))


def _rows(
    source: TaskSource,
    limit: int | None,
    dropped: Counter[str],
    left_out: Counter[str],
    strict: bool,
) -> Iterator[Row]:
    queries = DistinctTexts()
    for place, line, row in read_rows(source, left_out):
        if not isinstance(row, Row):
            if strict and not row.reason.by_choice:
                raise InputError(f"{place}:{line}: {row}: mend or remove this row.")
            dropped[str(row.reason)] += 1
            continue
        if limit is not None:
            if queries.number(row.query) is None and len(queries) >= limit:
                dropped["over max_rows"] += 1
                continue
            queries.add(row.query)
        yield row


def _flag_embedding(row: Row, number: int) -> Iterator[_Record]:
    yield {"query": row.query, "pos": list(row.positives), "neg": list(row.negatives)}


def _tevatron(row: Row, number: int) -> Iterator[_Record]:
    texts = (*row.positives, *row.negatives)
    passages = [
        {"docid": f"{number}-{place}", "title": "", "text": text}
        for place, text in enumerate(texts)
    ]
    count = len(row.positives)
    yield {
        "query_id": str(number),
        "query": row.query,
        "positive_passages": passages[:count],
        "negative_passages": passages[count:],
    }


def _sentence_transformers(row: Row, number: int) -> Iterator[_Record]:
    negatives = {f"negative_{place}": text for place, text in enumerate(row.negatives, start=1)}
    for positive in row.positives:
        yield {"anchor": row.query, "positive": positive, **negatives}


_LAYOUTS: dict[LayoutName, Callable[[Row, int], Iterator[_Record]]] = {
    "flagembedding": _flag_embedding,
    "tevatron": _tevatron,
    "sentence-transformers": _sentence_transformers,
}


def _schema(layout: LayoutName, negatives: int) -> pa.Schema:
    text, texts = pa.string(), pa.list_(pa.string())
    passages = pa.list_(pa.struct({"docid": text, "title": text, "text": text}))
    fields: dict[str, Any] = {
        "flagembedding": {"query": text, "pos": texts, "neg": texts},
        "tevatron": {
            "query_id": text,
            "query": text,
            "positive_passages": passages,
            "negative_passages": passages,
        },
        "sentence-transformers": {
            "anchor": text,
            "positive": text,
            **{f"negative_{place}": text for place in range(1, negatives + 1)},
        },
    }[layout]
    return pa.schema(fields)


@contextmanager
def row_writer(
    path: Path, layout: LayoutName, negatives: int = 0
) -> Iterator[Callable[[Row], None]]:
    """Opens a new file and gives what writes a row to it, as one record or several.

    Args:
        path: The file; its name says how it is written.
        layout: The layout of the records.
        negatives: The most negatives of a row, where the file is a table in the layout of
            sentence-transformers.
    """
    rows = 0
    with _record_writer(path, layout, negatives) as write:

        def write_row(row: Row) -> None:
            nonlocal rows
            for record in _LAYOUTS[layout](row, rows):
                write(record)
            rows += 1

        yield write_row


@contextmanager
def _record_writer(path: Path, layout: LayoutName, negatives: int) -> Iterator[_Write]:
    if not path.name.endswith(".parquet"):
        zipped = path.name.endswith(".gz")
        with gzip.open(path, "wb") if zipped else path.open("wb") as lines:

            def write_line(record: _Record) -> None:
                lines.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")

            yield write_line
        return
    batch: list[_Record] = []
    schema = _schema(layout, negatives)
    with pq.ParquetWriter(path, schema) as table:

        def flush() -> None:
            if batch:
                table.write_batch(pa.RecordBatch.from_pylist(batch, schema))
                batch.clear()

        def write(record: _Record) -> None:
            batch.append(record)
            if len(batch) >= _BATCH:
                flush()

        yield write
        flush()
