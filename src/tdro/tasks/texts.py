"""Distinct texts: numbered by first appearance, written to disk, held in memory as digests."""

import hashlib
from array import array
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_BATCH_CHARACTERS = 1 << 20
_SCHEMA = pa.schema([("text", pa.string())])


class DistinctTexts:
    """Gives equal texts equal numbers, and writes each text once to an Arrow stream.

    Memory grows by a 16-byte digest for each distinct text, not by the texts.

    Args:
        path: File to write, with the one column ``text``; None only numbers and counts.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._numbers: dict[bytes, int] = {}
        self._words = array("i")
        self._sha = hashlib.sha256()
        self._batch: list[str] = []
        self._batch_characters = 0
        self._sink = None if path is None else pa.OSFile(str(path), "wb")
        self._writer = None if path is None else pa.ipc.new_stream(self._sink, _SCHEMA)

    def __len__(self) -> int:
        return len(self._numbers)

    def __enter__(self) -> "DistinctTexts":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None and self._sink is not None:
            self._write_batch()
            self._writer.close()
            self._sink.close()

    def add(self, text: str) -> int:
        """Returns the number of a text, a new one where the text was not seen before."""
        raw = text.encode()
        key = _key(raw)
        number = self._numbers.setdefault(key, len(self._numbers))
        if number == len(self._words):
            self._words.append(len(text.split()))
            self._sha.update(len(raw).to_bytes(8, "little") + raw)
            if self._writer is not None:
                self._batch.append(text)
                self._batch_characters += len(text)
                if self._batch_characters > _BATCH_CHARACTERS:
                    self._write_batch()
        return number

    def number(self, text: str) -> int | None:
        """Returns the number of a text, None where the text was not seen before."""
        return self._numbers.get(_key(text.encode()))

    def twins(self, others: "DistinctTexts") -> list[tuple[int, int]]:
        """Returns (own number, number in ``others``) of every text that both hold."""
        return [
            (number, others._numbers[key])
            for key, number in self._numbers.items()
            if key in others._numbers
        ]

    @property
    def words(self) -> NDArray[np.int32]:
        """Words (runs of anything but white space) of each text, shape (texts,)."""
        return np.array(self._words, dtype=np.int32)

    @property
    def digest(self) -> str:
        """SHA-256 of all texts in their order."""
        return self._sha.hexdigest()

    def _write_batch(self) -> None:
        assert self._writer is not None
        if self._batch:
            self._writer.write_batch(pa.record_batch([pa.array(self._batch, pa.string())], _SCHEMA))
        self._batch = []
        self._batch_characters = 0


def _key(raw: bytes) -> bytes:
    return hashlib.blake2b(raw, digest_size=16).digest()


def read_texts(path: Path) -> pa.ChunkedArray:
    """Memory-maps the column ``text`` of a file that :class:`DistinctTexts` wrote."""
    return pa.ipc.open_stream(pa.memory_map(str(path))).read_all()["text"]


def select_texts(texts: pa.ChunkedArray, numbers: NDArray[np.integer]) -> Iterator[str]:
    """Yields the texts of sorted numbers, holding one chunk of them in memory at a time."""
    start = 0
    for chunk in texts.chunks:
        first, last = np.searchsorted(numbers, [start, start + len(chunk)])
        yield from chunk.take(pa.array(numbers[first:last] - start)).to_pylist()
        start += len(chunk)
