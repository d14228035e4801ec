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
