"""The parts a task is read from: a file, shards, a saved dataset, or one of the hub."""

import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tdro.errors import InputError
from tdro.tasks.reading import (
    BATCH,
    SUFFIXES,
    Records,
    either,
    first_line,
    json_lines,
    read_possibly_empty,
    read_records,
    table_records,
    task_files,
)
from tdro.tasks.task import DEFAULT_SPLIT, HubDataset, TaskSource

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
_BROKEN_TAR = (tarfile.TarError, EOFError, zlib.error, OSError)
_SAVED_FILE = "state.json"
_SAVED_SPLITS_FILE = "dataset_dict.json"


def read_parts(source: TaskSource) -> Iterator[tuple[str, Records]]:
    """Reads a task part by part.

    Yields:
        What to call the part in a message, and its records, to be read before the next part.

    Raises:
        InputError: The task cannot be read, or holds no rows.
    """
    if source.hub is not None:
        table = _hub_table(source.hub, source.split or DEFAULT_SPLIT)
        yield from _filled(source.place, [(source.place, _dataset_records(table))])
        return
    path = source.path
    if path is None:
        raise InputError(f"The task {source.name!r} has neither a path nor a dataset of the hub.")
    if (path / _SAVED_SPLITS_FILE).is_file():
        path = _split_folder(path, source.split or DEFAULT_SPLIT)
    elif source.split is not None:
        raise InputError(
            f"{path} has no splits, so 'split: {source.split}' cannot be followed: remove it."
        )
    if is_saved(path):
        yield from _filled(str(path), [(str(path), _dataset_records(_saved_table(path)))])
    elif path.is_dir():
        yield from _filled(str(path), _shard_records(path))
    elif path.name.endswith(TAR_SUFFIXES):
        yield from _filled(str(path), _archived(path))
    else:
        yield str(path), read_records(path)


def is_saved(path: Path) -> bool:
    """Tells whether ``datasets.save_to_disk`` wrote a folder."""
    return (path / _SAVED_FILE).is_file() or (path / _SAVED_SPLITS_FILE).is_file()


def files_of(path: Path) -> list[Path]:
    """Returns all files that a task at a path may be read from, so that a change can be told."""
    if not path.is_dir():
        return [path]
    if is_saved(path):
        return sorted(file for file in path.rglob("*") if file.is_file())
    return _shards(path)


def _filled(place: str, parts: Iterable[tuple[str, Records]]) -> Iterator[tuple[str, Records]]:
    """Passes parts on, and raises when none of them held a record."""
    rows = 0

    def counted(records: Records) -> Records:
        nonlocal rows
        for item in records:
            rows += 1
            yield item

    for name, records in parts:
        yield name, counted(records)
    if rows == 0:
        raise InputError(f"{place} holds no rows: remove it or fill it.")


def _shards(folder: Path) -> list[Path]:
    files = list(task_files(folder).values())
    if not files:
        raise InputError(f"{folder} holds no file in {either(SUFFIXES)}, and is no saved dataset.")
    return files


def _shard_records(folder: Path) -> Iterator[tuple[str, Records]]:
    for file in _shards(folder):
        yield str(file), read_possibly_empty(file)


def _split_folder(path: Path, split: str) -> Path:
    splits = sorted(one.name for one in path.iterdir() if (one / _SAVED_FILE).is_file())
    if split not in splits:
        raise InputError(f"{path} has no split {split!r}; it has {', '.join(map(repr, splits))}.")
    return path / split


def _saved_table(path: Path) -> Any:
    from datasets import load_from_disk

    try:
        return load_from_disk(str(path))
    except IndexError:
        # What `datasets` raises for a folder without a single file of rows.
        raise InputError(f"{path} holds no rows: remove it or fill it.") from None
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path} cannot be read as a saved dataset ({first_line(error)}): save it again."
        ) from None


def _hub_table(hub: HubDataset, split: str) -> Any:
    import huggingface_hub.constants
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    if Path(hub.name).exists():
        raise InputError(
            f"{Path(hub.name).resolve()} would be read in place of the dataset {hub.name!r} of the "
            "hub: give it as 'path', or run this in another folder."
        )
    # Code of a dataset is never run: `datasets` 4 and later has no way to do so.
    try:
        return load_dataset(hub.name, hub.config, split=split, revision=hub.revision)
    except (OSError, ValueError, DatasetsError) as error:
        place = TaskSource("", None, hub=hub, split=split).place
        remedy = "check its name, config, revision and split"
        if huggingface_hub.constants.HF_HUB_OFFLINE:
            remedy += ", or download it once where HF_HUB_OFFLINE is not set"
        raise InputError(
            f"The dataset {place} cannot be loaded ({first_line(error)}): {remedy}."
        ) from None


def _dataset_records(table: Any) -> Records:
    # As Arrow, so that images or audio beside the texts are not decoded.
    batches = table.with_format("arrow").iter(batch_size=BATCH)
    return table_records(batch for whole in batches for batch in whole.to_batches())


def _archived(path: Path) -> Iterator[tuple[str, Records]]:
    """Reads the JSONL files of a tar archive where they are, without unpacking them."""
    found = False
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                lines = archive.extractfile(member) if member.name.endswith(".jsonl") else None
                if lines is not None:
                    found = True
                    name = f"{path}/{member.name}"
                    yield name, _archived_lines(name, lines)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist or is not a file.") from None
    except _BROKEN_TAR as error:
        raise InputError(
            f"{path} is broken: it cannot be read as a tar archive ({first_line(error)}); "
            "copy or download it again."
        ) from None
    if not found:
        raise InputError(f"{path} holds no file in .jsonl.")


def _archived_lines(name: str, lines: Iterable[bytes]) -> Records:
    number = 0
    try:
        for number, record in json_lines(lines):
            yield number, record
    except _BROKEN_TAR as error:
        raise InputError(
            f"{name} is broken after line {number}: its archive cannot be read further "
            f"({first_line(error)}); copy or download it again."
        ) from None
