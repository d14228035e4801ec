"""Reading the files of training collections, line by line, and finding them in a folder."""

import codecs
import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tdro.errors import InputError
from tdro.files import read_json
from tdro.tasks.layouts import Problem, Reason
from tdro.tasks.task import TaskSource

SUFFIXES = (".jsonl.gz", ".jsonl", ".parquet")
INDEX_FILE = "tasks.json"
_INDEXED_FOLDER = "tasks"
_PARQUET_BATCH = 1000


def read_records(path: Path) -> Iterator[tuple[int, object]]:
    """Reads the raw records of a file one by one; only one line or batch is held in memory.

    Blank lines are skipped.

    Args:
        path: A ``.jsonl``, ``.jsonl.gz`` or ``.parquet`` file.

    Yields:
        The number of the line (of the row for parquet), counted from 1, and the parsed value, or
        a :class:`~tdro.tasks.layouts.Problem` where the line cannot be parsed.

    Raises:
        InputError: The file is missing, unreadable, broken, empty, or of an unknown kind.
    """
    suffix = _suffix(path)
    if suffix is None:
        raise InputError(f"{path} is not a task file: its name must end in {_or(SUFFIXES)}.")
    number = 0
    try:
        for number, record in _parquet(path) if suffix == ".parquet" else _json_lines(path):
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
            f"{path} is broken after row {number}: it cannot be read as parquet "
            f"({_first_line(error)}); write it again."
        ) from None
    except OSError as error:
        raise InputError(
            f"{path} cannot be read after line {number}: {error.strerror or _first_line(error)}."
        ) from None
    if number == 0:
        raise InputError(f"{path} holds no rows: remove it or fill it.")


def _json_lines(path: Path) -> Iterator[tuple[int, object]]:
    with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as lines:
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


def _parquet(path: Path) -> Iterator[tuple[int, object]]:
    number = 0
    with pq.ParquetFile(path) as table:
        for batch in table.iter_batches(batch_size=_PARQUET_BATCH):
            for record in batch.to_pylist():
                number += 1
                yield number, record


def find_sources(path: Path) -> list[TaskSource]:
    """Finds the tasks of a file or folder, without opening their files.

    Args:
        path: One task file; or a folder of task files, named by their files; or a folder with
            ``tasks.json`` (an object: name of a task to an object with its ``instruction``) and
            the files ``tasks/<name>.jsonl.gz``, ``.jsonl`` or ``.parquet``. Only tasks that
            ``tasks.json`` names are then found.

    Returns:
        At least one source, in the order of ``tasks.json`` or sorted by name.

    Raises:
        InputError: There is no task, a name occurs twice, a named task has no file, or
            ``tasks.json`` is malformed.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist: give a task file or a folder of task files.")
    if path.is_file():
        suffix = _suffix(path)
        if suffix is None:
            raise InputError(f"{path} is not a task file: its name must end in {_or(SUFFIXES)}.")
        return [TaskSource(path.name.removesuffix(suffix), path)]
    if (path / INDEX_FILE).is_file():
        return _indexed_sources(path)
    files = _task_files(path)
    if not files:
        raise InputError(f"{path} holds neither {INDEX_FILE} nor a file in {_or(SUFFIXES)}.")
    return [TaskSource(name, files[name]) for name in sorted(files)]


def _indexed_sources(folder: Path) -> list[TaskSource]:
    index = folder / INDEX_FILE
    entries = _read_index(index)
    files = _task_files(folder / _INDEXED_FOLDER)
    sources = []
    for name, entry in entries.items():
        if name in ("", ".", "..") or "/" in name or "\\" in name:
            raise InputError(
                f"{index} names a task {name!r}: use a plain file name, without folders."
            )
        instruction = entry.get("instruction", "") if isinstance(entry, dict) else None
        if not isinstance(instruction, str):
            raise InputError(
                f"{index} describes the task {name!r} wrongly: "
                'write {"instruction": "..."} beside its name.'
            )
        if name not in files:
            raise InputError(
                f"{index} names the task {name!r}, but {folder / _INDEXED_FOLDER / name} with "
                f"the ending {_or(SUFFIXES)} does not exist: add the file or remove the name."
            )
        sources.append(TaskSource(name, files[name], instruction.strip()))
    return sources


def _read_index(index: Path) -> dict[str, object]:
    entries = read_json(index)
    if not isinstance(entries, dict) or not entries:
        raise InputError(f"{index} must be a JSON object with one entry for each task.")
    names = [name for name, _ in json.loads(index.read_bytes(), object_pairs_hook=list)]
    for name in entries:
        if names.count(name) > 1:
            raise InputError(f"{index} names the task {name!r} twice: rename or remove one.")
    return entries


def _task_files(folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for file in sorted(folder.iterdir()) if folder.is_dir() else []:
        suffix = _suffix(file)
        if suffix is None or not file.is_file():
            continue
        name = file.name.removesuffix(suffix)
        if name in files:
            raise InputError(
                f"{files[name]} and {file.name} are both the task {name!r}: rename or remove one."
            )
        files[name] = file
    return files


def _suffix(path: Path) -> str | None:
    """Returns the known suffix of a file name; None without one, or with nothing before it."""
    return next(
        (one for one in SUFFIXES if path.name.endswith(one) and path.name != one),
        None,
    )


def _or(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
