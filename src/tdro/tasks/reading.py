"""Reading one file of a training collection, line by line."""

import codecs
import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tdro.errors import InputError
from tdro.tasks.layouts import Problem, Reason

SUFFIXES = (".jsonl.gz", ".jsonl", ".parquet", ".arrow")
BATCH = 1000
_ARROW_FILE_MAGIC = b"ARROW1"

Records = Iterator[tuple[int, object]]
"""Number of the line or row, from 1, and the parsed value or a problem."""


def read_records(path: Path) -> Records:
    """Reads the raw records of a file one by one; only one line or batch is held in memory.

    Blank lines are skipped.

    Args:
        path: A ``.jsonl``, ``.jsonl.gz``, ``.parquet`` or ``.arrow`` file.

    Yields:
        The number of the line (of the row for tables), counted from 1, and the parsed value, or
        a :class:`~tdro.tasks.layouts.Problem` where the line cannot be parsed.

    Raises:
        InputError: The file is missing, unreadable, broken, empty, or of an unknown kind.
    """
    number = 0
    for number, record in read_possibly_empty(path):
        yield number, record
    if number == 0:
        raise InputError(f"{path} holds no rows: remove it or fill it.")


def read_possibly_empty(path: Path) -> Records:
    """As :func:`read_records`, but a file may hold nothing, as one shard of several may."""
    suffix = suffix_of(path)
    if suffix is None:
        raise InputError(f"{path} is not a task file: its name must end in {either(SUFFIXES)}.")
    number = 0
    try:
        for number, record in _READERS[suffix](path):
            yield number, record
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(f"{path} does not exist or is not a file.") from None
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise InputError(
            f"{path} is broken after line {number}: its gzip data cannot be read further; "
            "copy or download it again."
        ) from None
    except pa.ArrowException as error:
        raise InputError(
            f"{path} is broken after row {number}: it cannot be read as {suffix[1:]} "
            f"({first_line(error)}); write it again."
        ) from None
    except OSError as error:
        raise InputError(
            f"{path} cannot be read after line {number}: {error.strerror or first_line(error)}."
        ) from None


def _json_file(path: Path) -> Records:
    with path.open("rb") as lines:
        yield from json_lines(lines)


def _zipped_json_file(path: Path) -> Records:
    with gzip.open(path) as lines:
        yield from json_lines(lines)


def json_lines(lines: Iterable[bytes]) -> Records:
    """Parses the lines of a JSONL file."""
    for number, line in enumerate(lines, start=1):
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if line.strip():
            yield number, _json_value(line)


def _json_value(line: bytes) -> object:
    try:
        return json.loads(line.decode())
    except UnicodeDecodeError as error:
        return Problem(Reason.NOT_UTF8, f"byte {error.start + 1} of the line")
    except json.JSONDecodeError as error:
        return Problem(Reason.NOT_JSON, f"{error.msg} at column {error.colno}")
    except (ValueError, RecursionError):
        return Problem(Reason.NOT_JSON, "a number or nesting beyond any use")


def _parquet(path: Path) -> Records:
    with pq.ParquetFile(path) as table:
        yield from table_records(table.iter_batches(batch_size=BATCH))


def _arrow(path: Path) -> Records:
    with path.open("rb") as start:
        is_file = start.read(len(_ARROW_FILE_MAGIC)) == _ARROW_FILE_MAGIC
    with pa.memory_map(str(path)) as mapped:
        if is_file:
            table = pa.ipc.open_file(mapped)
            batches = (table.get_batch(place) for place in range(table.num_record_batches))
        else:
            batches = iter(pa.ipc.open_stream(mapped))
        yield from table_records(batches)


def table_records(batches: Iterable[pa.RecordBatch]) -> Records:
    """Turns the rows of a table into records, a slice of them at a time."""
    number = 0
    for batch in batches:
        for start in range(0, len(batch), BATCH):
            for record in _records(batch.slice(start, BATCH)):
                number += 1
                yield number, record


def _records(rows: pa.RecordBatch) -> Iterable[object]:
    try:
        found: list[object] = rows.to_pylist()
    except (ValueError, OverflowError):
        return (_record(rows.slice(place, 1)) for place in range(len(rows)))
    return found


def _record(row: pa.RecordBatch) -> object:
    """Converts one row, cell by cell, where Python cannot hold what a cell of it holds."""
    record: dict[str, object] = {}
    for name, (cell,) in zip(row.schema.names, row.columns, strict=True):
        try:
            record[name] = cell.as_py()
        except UnicodeDecodeError as error:
            return Problem(Reason.NOT_UTF8, f"byte {error.start + 1} of a text in {name!r}")
        except (ValueError, OverflowError):
            # Such as a date after the year 9999: left as it is, and no text to who reads it.
            record[name] = cell
    return record


_READERS: dict[str, Callable[[Path], Records]] = {
    ".jsonl.gz": _zipped_json_file,
    ".jsonl": _json_file,
    ".parquet": _parquet,
    ".arrow": _arrow,
}


def suffix_of(path: Path) -> str | None:
    """Returns the known suffix of a file name; None without one, or with nothing before it."""
    return next(
        (one for one in SUFFIXES if path.name.endswith(one) and path.name != one),
        None,
    )


def task_files(folder: Path) -> dict[str, Path]:
    """Returns the files of a folder that can be read, by their names without the suffix.

    Those that begin with a dot are left out.

    Raises:
        InputError: Two files have the same name but for the suffix.
    """
    files: dict[str, Path] = {}
    for file in sorted(folder.iterdir()) if folder.is_dir() else []:
        suffix = suffix_of(file)
        # macOS puts ._NAME beside what it copies to other disks.
        if suffix is None or file.name.startswith(".") or not file.is_file():
            continue
        name = file.name.removesuffix(suffix)
        if name in files:
            raise InputError(
                f"{files[name]} and {file.name} are both the task {name!r}: rename or remove one."
            )
        files[name] = file
    return files


def either(words: tuple[str, ...]) -> str:
    """Lists words for a sentence: a, b or c."""
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def first_line(error: Exception) -> str:
    """Returns the first line of what an error says."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
