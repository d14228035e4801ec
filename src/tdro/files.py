"""Files and directories that are either whole or absent, and names that stay inside a folder."""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tdro.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

# What the reference knows of each task; named here since who reads it need not import torch.
BY_TASK_FILE = "by_task.parquet"
# Likewise what a training was given: weights asked for and batches had; the rows of each task.
SAMPLING_FILE = "sampling.json"
TRAINED_ROWS_FILE = "trained_rows.parquet"
# The folder of a stage that holds its model.
MODEL_FOLDER = "model"
# And what helps a killed stage to go on: where its trainer works and, by patterns, the checkpoints
# there; the losses of some planned rows; the scores on some benchmarks.
TRAINER_FOLDER = "trainer"
CHECKPOINTS = f"{TRAINER_FOLDER}/checkpoint-*"
WINDOWS = "window-*"
JUDGED_FOLDER = "judged"
# And what the retrievers of a comparison cost.
COSTS_FILE = "costs.parquet"
# What should make one doubt the results of a run or a comparison, a sentence each.
WARNINGS_FILE = "warnings.json"
# The resolved recipe of a run or a comparison, and what a finished stage tells of itself.
RECIPE_FILE = "recipe.yaml"
MANIFEST_FILE = "manifest.json"
_LONGEST_FILE_NAME = 120
_HALF_A_CODE = re.compile("%.?$")


def digest(value: object) -> str:
    """Returns a short SHA-256 of a JSON value; equal values have equal digests."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def content_digest(path: Path) -> str:
    """Returns a short SHA-256 of what a file holds, wherever it lies and however old it is."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def file_identity(path: Path) -> dict[str, Any]:
    """Returns what tells a file from a changed one without reading it."""
    state = path.stat()
    return {"path": str(path), "bytes": state.st_size, "changed": state.st_mtime_ns}


def files_digest(folder: Path, files: Iterable[Path]) -> str:
    """Returns what tells files below a folder from changed ones without reading them."""
    states = [(str(file.relative_to(folder)), file.stat()) for file in files]
    return digest([[name, state.st_size, state.st_mtime_ns] for name, state in states])


def make_folder(folder: Path) -> None:
    """Makes a folder, and those above it, where they are missing.

    Raises:
        InputError: None can be made there, as in ``/proc``.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError:
        # Those above were made or are there: the system itself holds no new folder here.
        raise InputError(f"The folder {folder} cannot be made: give another path.") from None


def write_text(path: Path, text: str) -> None:
    """Writes a file at once: readers see the old text or the new one, never half of it."""
    make_folder(path.parent)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def write_json(path: Path, value: object) -> None:
    """Writes a value as indented JSON, at once (see :func:`write_text`)."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_table(path: Path, table: "pa.Table") -> None:
    """Writes a Parquet file at once (see :func:`write_text`)."""
    # Here, since `tdro --help` imports this module and has no table to write.
    import pyarrow.parquet as pq

    partial = path.with_name(f".{path.name}.partial")
    pq.write_table(table, partial)
    partial.replace(path)


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        InputError: The file is missing, cannot be read or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid JSON ({error}).") from None


@contextlib.contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[None]:
    """Holds a lock file against other processes.

    Args:
        path: The lock file; made when missing.
        wait: Wait while another process holds it.

    Raises:
        BlockingIOError: Another process holds it and ``wait`` is off.
    """
    make_folder(path.parent)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def publish(partial: Path, target: Path) -> None:
    """Renames a finished directory to its final name, replacing a stale one of that name."""
    make_folder(target.parent)
    _hide(target)
    partial.rename(target)
    remove_hidden(target)


def discard(folder: Path) -> None:
    """Removes a directory, if it is there: a kill leaves all of it, or none under its name."""
    _hide(folder)
    remove_hidden(folder)


def _hide(folder: Path) -> None:
    remove_hidden(folder)
    with contextlib.suppress(FileNotFoundError):
        folder.rename(_hidden(folder))


def remove_hidden(folder: Path) -> None:
    """Removes what a killed :func:`publish` or :func:`discard` left of the old directory."""
    shutil.rmtree(_hidden(folder), ignore_errors=True)


def _hidden(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.stale")


def file_name(name: str) -> str:
    """Turns any task or retriever name into one safe path component, distinct for distinct names.

    Letters, digits, ``.``, ``_`` and ``-`` stay, everything else is percent-encoded, so a name
    such as ``../x`` or ``<script>`` cannot leave its folder. What is too long for a file name then
    (a Chinese character takes nine) ends in a ``+`` and a digest of the name.

    Raises:
        InputError: The name is empty.
    """
    if not name:
        raise InputError("An empty name cannot be used for a file or folder: write one.")
    encoded = quote(name, safe="")
    if encoded.startswith("."):
        encoded = "%2E" + encoded[1:]
    if len(encoded) <= _LONGEST_FILE_NAME:
        return encoded
    # No encoded name holds a plus, so none that is short equals one that was shortened.
    end = f"+{digest(name)}"
    return _HALF_A_CODE.sub("", encoded[: _LONGEST_FILE_NAME - len(end)]) + end
