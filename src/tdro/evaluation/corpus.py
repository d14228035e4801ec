"""The documents of benchmarks: streamed once into a memory-mapped file, never held in memory."""

import atexit
import functools
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from numpy.typing import NDArray

from tdro.errors import InputError
from tdro.evaluation.reading import Document, repeated
from tdro.files import digest, locked, make_folder

_DOCUMENTS = pa.schema([("id", pa.string()), ("text", pa.string())])
_DOCUMENTS_PER_WRITE = 1000


def map_documents(
    files: Sequence[Path],
    stream: Callable[[], Iterator[Document]],
    cache: Path | None,
    *,
    key: str = "_id",
) -> Dataset:
    """Streams a corpus into an Arrow file and maps it into memory.

    A document takes 8 bytes of memory meanwhile, by which repeated ids are found.

    Args:
        files: What the stream reads; an unchanged corpus is not read again.
        stream: Begins reading the documents.
        cache: Folder that keeps the Arrow file; without it, one that lives as long as the process.
        key: What the files call an id.

    Returns:
        Columns ``id`` and ``text``, in the order of the stream.

    Raises:
        InputError: The corpus is empty or an id is there twice.
    """
    states = [(str(path.resolve()), path.stat()) for path in files]
    identity = [[name, state.st_size, state.st_mtime_ns] for name, state in states]
    name = digest(identity[0] if len(identity) == 1 else identity)
    target = (cache or _process_folder()) / f"documents-{name}.arrow"
    if not target.exists():
        make_folder(target.parent)
        # A second process waits and finds it done; what a killed one left is written over.
        with locked(target.with_suffix(".lock"), wait=True):
            if not target.exists():
                _complete(files, stream, target, key)
    return Dataset.from_file(str(target))


def _complete(
    files: Sequence[Path], stream: Callable[[], Iterator[Document]], target: Path, key: str
) -> None:
    partial = target.with_suffix(".partial")
    try:
        hashes = _write(stream(), partial)
        if not len(hashes):
            raise InputError(f"{_told(files)} holds no documents.")
        _check_distinct(hashes, stream, key)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def corpus_place(documents: Dataset) -> str:
    """Returns where a corpus lies; benchmarks that share one have it at the same place."""
    return str(documents.cache_files[0]["filename"])


def rows_of(documents: Dataset, ids: Iterable[str]) -> dict[str, int]:
    """Returns the number of each document that is there, by its id; no index of the corpus."""
    column = documents.data.column("id")
    mask = pc.is_in(column, value_set=pa.array(sorted(set(ids)), pa.string()))
    found = column.filter(mask).to_pylist()
    return dict(zip(found, np.flatnonzero(mask.to_numpy()).tolist(), strict=True))


def _write(documents: Iterator[Document], target: Path) -> NDArray[np.int64]:
    """Writes the documents and returns a hash of each id."""
    hashes = [np.empty(0, np.int64)]
    with pa.ipc.new_stream(str(target), _DOCUMENTS) as writer:
        while chunk := list(islice(documents, _DOCUMENTS_PER_WRITE)):
            _, _, ids, texts = zip(*chunk, strict=True)
            writer.write_batch(pa.record_batch([pa.array(ids), pa.array(texts)], schema=_DOCUMENTS))
            hashes.append(np.fromiter(map(hash, ids), np.int64, len(ids)))
    return np.concatenate(hashes)


def _check_distinct(
    hashes: NDArray[np.int64], stream: Callable[[], Iterator[Document]], key: str
) -> None:
    hashes.sort()
    twice = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
    if not twice:
        return
    # Only now are ids kept, and only those that may be there twice.
    seen: set[str] = set()
    for path, number, document, _ in stream():
        if hash(document) in twice:
            if document in seen:
                raise repeated(path, number, key, document)
            seen.add(document)


def _told(files: Sequence[Path]) -> str:
    return str(files[0]) if len(files) == 1 else f"{files[0].parent} ({len(files)} files)"


@functools.cache
def _process_folder() -> Path:
    folder = tempfile.mkdtemp(prefix="tdro-benchmarks-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
