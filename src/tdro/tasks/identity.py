"""What tells a task's source from a changed one, without reading it."""

from typing import Any

from tdro.files import file_identity, files_digest
from tdro.tasks.parts import files_of
from tdro.tasks.task import DEFAULT_SPLIT, TaskSource


def source_identity(source: TaskSource) -> dict[str, Any]:
    """Returns what tells where a task is read from, and every file of it from a changed one."""
    if source.hub is not None:
        return {"dataset": source.hub.name, "revision": source.hub.revision} | (
            {"config": source.hub.config, "split": source.split or DEFAULT_SPLIT}
        )
    path = source.path
    if path is None or path.is_file():
        return file_identity(path) if path else {}
    return {"path": str(path), "files": files_digest(path, files_of(path))}


def reading_options(source: TaskSource) -> dict[str, Any]:
    """Returns how a task is read, as far as it says; without that a finished stage stays so."""
    options: dict[str, Any] = {}
    if source.columns is not None:
        options["columns"] = source.columns.model_dump(mode="json")
    if source.filter is not None:
        options["filter"] = source.filter.model_dump(mode="json")
    if source.max_rows is not None:
        options["task_max_rows"] = source.max_rows
    if source.split is not None:
        options["split"] = source.split
    return options
