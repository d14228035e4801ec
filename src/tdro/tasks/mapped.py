"""Lists of numbers, one a row, read from a memory-mapped Arrow column without a copy."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


class PassageLists:
    """The ``positives`` or ``negatives`` column of a task's rows.

    Args:
        column: A column of integer lists.
    """

    def __init__(self, column: pa.ChunkedArray) -> None:
        chunks = [chunk for chunk in column.chunks if len(chunk)]
        self._starts = np.cumsum([0, *map(len, chunks)])
        self._offsets = [chunk.offsets.to_numpy() for chunk in chunks]
        self._values = [chunk.values.to_numpy() for chunk in chunks]

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, row: int) -> NDArray[np.int32]:
        if not 0 <= row < len(self):
            raise IndexError(row)
        chunk = int(np.searchsorted(self._starts, row, side="right")) - 1
        offsets = self._offsets[chunk]
        at = row - int(self._starts[chunk])
        values: NDArray[np.int32] = self._values[chunk][offsets[at] : offsets[at + 1]]
        return values

    def take(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Reads the lists of many rows at once.

        Args:
            rows: Numbers of rows, shape (n,), in any order.

        Returns:
            Length of each list, shape (n,), and the numbers of all of them, one list after the
            other.
        """
        lengths = np.zeros(len(rows), dtype=np.int64)
        first = np.zeros(len(rows), dtype=np.int64)
        chunk_of = np.searchsorted(self._starts, rows, side="right") - 1
        by_chunk = np.argsort(chunk_of, kind="stable")
        chunks, begins = np.unique(chunk_of[by_chunk], return_index=True)
        places_of = dict(zip(chunks.tolist(), np.split(by_chunk, begins)[1:], strict=True))
        for chunk, places in places_of.items():
            at = rows[places] - self._starts[chunk]
            first[places] = self._offsets[chunk][at]
            lengths[places] = self._offsets[chunk][at + 1] - first[places]
        starts = np.cumsum(lengths) - lengths
        values = np.empty(lengths.sum(), dtype=np.int64)
        for chunk, places in places_of.items():
            own = lengths[places]
            within = np.arange(own.sum()) - np.repeat(np.cumsum(own) - own, own)
            into = np.repeat(starts[places], own) + within
            values[into] = self._values[chunk][np.repeat(first[places], own) + within]
        return lengths, values
