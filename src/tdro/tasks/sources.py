"""Finding the tasks of a file or folder, and what its ``tasks.json`` says of them."""

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tdro.errors import InputError
from tdro.files import read_json
from tdro.tasks.entry import TaskEntry
from tdro.tasks.parts import TAR_SUFFIXES, is_saved
from tdro.tasks.reading import SUFFIXES, either, suffix_of, task_files
from tdro.tasks.task import TaskSource

INDEX_FILE = "tasks.json"
INDEXED_FOLDER = "tasks"
_OPTIONS = tuple(name for name in TaskEntry.model_fields if name != "name")
# A key of tasks.json that is no option is a remark, unless it looks like an option misspelt.
_MISSPELT = 0.8


def find_sources(path: Path) -> list[TaskSource]:
    """Finds the tasks of a file or folder, without opening their files.

    Args:
        path: One task file; or a folder that ``datasets.save_to_disk`` wrote; or a folder of task
            files or saved datasets, named by them; or a folder with ``tasks.json`` (an object:
            name of a task to an object with the keys of a recipe's task, such as ``instruction``)
            and, for tasks without ``path`` or ``dataset``, ``tasks/<name>`` with a known ending or
            as a folder of shards. Only tasks that ``tasks.json`` names are then found.

    Returns:
        At least one source, in the order of ``tasks.json`` or sorted by name.

    Raises:
        InputError: There is no task, a name occurs twice, a named task has no file, or
            ``tasks.json`` is malformed.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist: give a task file or a folder of task files.")
    if path.is_file():
        suffix = suffix_of(path) or next(
            (one for one in TAR_SUFFIXES if path.name.endswith(one) and path.name != one), None
        )
        if suffix is None:
            raise InputError(f"{path} is not a task file: its name must end in {either(SUFFIXES)}.")
        return [TaskSource(path.name.removesuffix(suffix), path)]
    if is_saved(path):
        return [TaskSource(path.resolve().name, path)]
    if (path / INDEX_FILE).is_file():
        return _indexed_sources(path)
    found = task_files(path)
    for folder in sorted(path.iterdir()):
        if folder.is_dir() and not folder.name.startswith(".") and is_saved(folder):
            if folder.name in found:
                raise InputError(
                    f"{found[folder.name]} and {folder} are both the task {folder.name!r}: "
                    "rename or remove one."
                )
            found[folder.name] = folder
    if not found:
        raise InputError(f"{path} holds neither {INDEX_FILE} nor a file in {either(SUFFIXES)}.")
    return [TaskSource(name, found[name]) for name in sorted(found)]


def _indexed_sources(folder: Path) -> list[TaskSource]:
    index = folder / INDEX_FILE
    files = task_files(folder / INDEXED_FOLDER)
    return [_indexed_source(folder, name, said, files) for name, said in _read_index(index).items()]


def _indexed_source(folder: Path, name: str, said: object, files: Mapping[str, Path]) -> TaskSource:
    index = folder / INDEX_FILE
    if not isinstance(said, dict):
        raise InputError(
            f"{index} describes the task {name!r} wrongly: "
            'write {"instruction": "..."} beside its name.'
        )
    for key in said:
        near = difflib.get_close_matches(key, _OPTIONS, 1, _MISSPELT)
        if key not in _OPTIONS and near:
            raise InputError(
                f"{index} gives the task {name!r} the key {key!r}, which is unknown; "
                f"the nearest valid key is {near[0]!r}."
            )
    options = {key: said[key] for key in _OPTIONS if key in said}
    if "path" in options:
        options["path"] = _inside(folder, name, options["path"])
    elif "dataset" not in options:
        options["path"] = _listed(folder, name, files)
    try:
        return TaskEntry.model_validate({"name": name, **options}).source()
    except ValidationError as error:
        raise InputError(f"{index} describes the task {name!r} wrongly: {_told(error)}.") from None


def _inside(folder: Path, name: str, said: object) -> Path:
    try:
        path = (folder / str(said)).resolve()
    except ValueError:
        raise InputError(
            f"{folder / INDEX_FILE} gives the task {name!r} the path {str(said)!r}, "
            "which no file can have: it holds a zero byte or half a surrogate pair."
        ) from None
    if not path.is_relative_to(folder.resolve()):
        raise InputError(
            f"{folder / INDEX_FILE} gives the task {name!r} the path {str(said)!r}, "
            "which leaves the folder: name it in a recipe instead."
        )
    if not path.exists():
        raise InputError(
            f"{folder / INDEX_FILE} gives the task {name!r} the path {str(said)!r}, "
            "which does not exist."
        )
    return folder / str(said)


def _listed(folder: Path, name: str, files: Mapping[str, Path]) -> Path:
    index = folder / INDEX_FILE
    if not name or name.startswith(".") or "/" in name or "\\" in name:
        raise InputError(
            f"{index} names a task {name!r}: use a plain file name, without folders and with no "
            "dot in front."
        )
    shards = folder / INDEXED_FOLDER / name
    if name not in files and not shards.is_dir():
        raise InputError(
            f"{index} names the task {name!r}, but {shards} with "
            f"the ending {either(SUFFIXES)} does not exist: add the file or remove the name."
        )
    return files.get(name, shards)


def _told(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    key = ".".join(map(str, first["loc"]))
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        return f"the key {key!r} is unknown"
    return f"{key!r} is {first['input']!r}: {message[0].lower()}{message[1:]}" if key else message


def _read_index(index: Path) -> dict[str, Any]:
    entries = read_json(index)
    if not isinstance(entries, dict) or not entries:
        raise InputError(f"{index} must be a JSON object with one entry for each task.")
    names = [name for name, _ in json.loads(index.read_bytes(), object_pairs_hook=list)]
    for name in entries:
        if names.count(name) > 1:
            raise InputError(f"{index} names the task {name!r} twice: rename or remove one.")
    return entries
