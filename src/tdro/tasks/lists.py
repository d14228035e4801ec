"""Many short lists of numbers in two flat arrays."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Lists:
    """A list of distinct passage numbers for each row.

    Attributes:
        offsets: int64 of shape (rows + 1,); row i owns ``values[offsets[i] : offsets[i + 1]]``.
        values: int32 of shape (numbers in all lists,).
    """

    offsets: NDArray[np.int64]
    values: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> NDArray[np.int32]:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Length of each list, shape (rows,)."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> NDArray[np.int64]:
        """The row of each value, shape of ``values``."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @classmethod
    def from_pairs(cls, owners: ArrayLike, values: ArrayLike, count: int) -> "Lists":
        """Groups pairs by their row, in the order given; repeated pairs are kept once.

        Args:
            owners: Row of each pair, shape (pairs,), in any order.
            values: Number of each pair, shape (pairs,).
            count: Number of rows.
        """
        rows = np.asarray(owners, dtype=np.int64)
        numbers = np.asarray(values, dtype=np.int32)
        _, first = np.unique(_keys(rows, numbers), return_index=True)
        first.sort()
        grouped = first[np.argsort(rows[first], kind="stable")]
        lengths = np.bincount(rows[grouped], minlength=count)
        return cls(np.concatenate([[0], np.cumsum(lengths)]), numbers[grouped])

    def minus(self, other: "Lists") -> "Lists":
        """Leaves out of each list the numbers of the same row's list in ``other``."""
        kept = ~np.isin(_keys(self.owners, self.values), _keys(other.owners, other.values))
        return Lists.from_pairs(self.owners[kept], self.values[kept], len(self))


def _keys(owners: NDArray[np.int64], values: NDArray[np.int32]) -> NDArray[np.int64]:
    return (owners << 32) | values.astype(np.int64)
