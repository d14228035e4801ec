"""Reading the files of benchmarks: lines, JSON lines and Parquet rows, each with its place.

A place is a file and a number counted from 1: the line of a text file, the row of a Parquet file.
"""

import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from tdro.errors import InputError

Document = tuple[Path, int, str, str]
"""Where a document stands (file and number), its id and its text, title in front."""

_ROWS_PER_BATCH = 1000
_HALF_A_PAIR = re.compile(r"\\u[dD][89a-fA-F]")
_SHARD = re.compile(r"(?P<split>.+?)-\d{5}-of-\d{5}$")


def place(path: Path, number: int) -> str:
    """Says where something stands, as ``file:line`` or ``file, row N``."""
    return f"{path}, row {number}" if path.suffix == ".parquet" else f"{path}:{number}"


def either(directory: Path, name: str) -> Path | None:
    """Returns the plain or the gzipped file of that name, or nothing."""
    found = (directory / name, directory / f"{name}.gz")
    return next((path for path in found if path.is_file()), None)


def passage(title: str | None, text: str) -> str:
    """Returns what of a document is embedded."""
    return f"{title} {text}" if title else text


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yields number and text of every line that is not blank.

    Raises:
        InputError: The file is missing, a broken gzip file or not UTF-8.
    """
    try:
        with _open(path) as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path} is not a whole gzip file ({error}): copy it again.") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error}).") from None


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields number and fields of every line of a file of JSON objects.

    Raises:
        InputError: See :func:`lines`, or a line is no JSON object.
    """
    for number, line in lines(path):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}:{number} is not valid JSON ({error}).") from None
        except (ValueError, RecursionError):
            raise InputError(f"{path}:{number} has a number or nesting beyond any use.") from None
        if _HALF_A_PAIR.search(line) and not _is_text(record):
            raise InputError(
                f"{path}:{number} holds half a surrogate pair: write whole characters."
            )
        if not isinstance(record, dict):
            raise InputError(f"{path}:{number} must be a JSON object.")
        yield number, record


def parquet_rows(
    path: Path, needed: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields number and fields of every row, a batch in memory at a time.

    Args:
        path: The Parquet file.
        needed: Columns that have to be there.
        optional: Columns that are read where they are there.

    Raises:
        InputError: The file is missing or broken, or a needed column is not there.
    """
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            there = file.schema_arrow.names
            for column in needed:
                if column not in there:
                    raise InputError(
                        f"{path} lacks the column {column!r}: it has {', '.join(there)}."
                    )
            columns = [*needed, *(column for column in optional if column in there)]
            for batch in file.iter_batches(_ROWS_PER_BATCH, columns=columns):
                for record in batch.to_pylist():
                    number += 1
                    yield number, record
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text after row {number} ({error}).") from None
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is not a whole Parquet file ({reason}): copy it again.") from None


def seen(folder: Path, pattern: str = "*") -> list[Path]:
    """Returns what matches a pattern and begins with no dot, as macOS's ``._NAME`` does, sorted."""
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))


def parquet_splits(folder: Path) -> dict[str, tuple[Path, ...]]:
    """Returns the Parquet files of each split of a folder, by what stands before ``-00000-of-``."""
    splits: dict[str, list[Path]] = {}
    for path in seen(folder, "*.parquet"):
        shard = _SHARD.match(path.stem)
        splits.setdefault(shard["split"] if shard else path.stem, []).append(path)
    return {split: tuple(files) for split, files in splits.items()}


def rows(
    files: Iterable[Path], needed: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[tuple[Path, int, dict[str, Any]]]:
    """Yields file, number and fields of each row of Parquet or JSON-lines files, one by one.

    Raises:
        InputError: A file is missing or broken, or a needed column is not there.
    """
    for path in files:
        if path.suffix == ".parquet":
            for number, record in parquet_rows(path, needed, optional):
                yield path, number, record
            continue
        for number, record in json_lines(path):
            for column in needed:
                if column not in record:
                    raise InputError(f"{path}:{number} lacks the field {column!r}.")
            yield path, number, record


def identifier(value: Any, path: Path, number: int, name: str) -> str:
    """Returns an id that a run file can hold.

    Raises:
        InputError: It is no text, empty, or holds a space.
    """
    if not isinstance(value, str) or not value or value.split() != [value]:
        raise InputError(
            f"{place(path, number)} needs an {name!r} that is a text without spaces, not "
            f"{value!r}: run files separate their columns by spaces."
        )
    return value


def as_id(value: Any) -> Any:
    """Returns a whole number as a text, and a text with its spaces percent-encoded."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return re.sub(r"\s", lambda found: quote(found[0]), value) if isinstance(value, str) else value


def text_of(record: Mapping[str, Any], name: str, path: Path, number: int) -> str:
    """Returns a text field.

    Raises:
        InputError: The field is not there or is no text.
    """
    value = record.get(name)
    if not isinstance(value, str):
        raise InputError(f"{place(path, number)} must have a text in the field {name!r}.")
    return value


def read_queries(
    records: Iterable[tuple[Path, int, Mapping[str, Any]]], key: str, text: str
) -> dict[str, str]:
    """Returns the text of each query by its id.

    Args:
        records: File, number and fields of each.
        key: The field of the id.
        text: The field of the text.

    Raises:
        InputError: An id is missing or there twice, or a text is missing or empty.
    """
    queries: dict[str, str] = {}
    for path, number, record in records:
        query = identifier(record.get(key), path, number, key)
        if query in queries:
            raise repeated(path, number, key, query)
        queries[query] = text_of(record, text, path, number)
        if not queries[query].strip():
            raise InputError(
                f"{place(path, number)} is an empty query: give it a text or remove it."
            )
    return queries


def repeated(path: Path, number: int, key: str, value: str) -> InputError:
    """Returns what to say of an id that is there twice."""
    return InputError(
        f"{place(path, number)} repeats the {key} {value!r}: every {key} must be unique."
    )


def _is_text(record: dict[str, Any]) -> bool:
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig")
    return path.open(encoding="utf-8-sig")
