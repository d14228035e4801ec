"""How much of one task is in another, told by the keys of equal texts."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tdro.errors import require
from tdro.tasks.duplicates import text_key
from tdro.tasks.layouts import Row

Keys = NDArray[np.uint64]


def keys_of(texts: Iterable[str]) -> Keys:
    """Returns the distinct keys of texts, ascending: 8 bytes for each text."""
    return _distinct(array("Q", map(text_key, texts)))


class KeyCounter:
    """Takes the keys of rows, one row after the other."""

    def __init__(self) -> None:
        self._queries = array("Q")
        self._positives = array("Q")

    def add(self, row: Row) -> None:
        """Takes the keys of a row."""
        self._queries.append(text_key(row.query))
        self._positives.extend(map(text_key, row.positives))

    @property
    def queries(self) -> Keys:
        """Keys of the queries so far."""
        return _distinct(self._queries)

    @property
    def positives(self) -> Keys:
        """Keys of the positives so far."""
        return _distinct(self._positives)


@dataclass(frozen=True)
class Overlap:
    """What part of a task's texts another task has, too.

    Attributes:
        task: The task.
        other: The other one.
        shared: Texts of the task that the other has.
        texts: Distinct texts of the task.
    """

    task: str
    other: str
    shared: int
    texts: int

    @property
    def share(self) -> float:
        """The part, 0 to 1."""
        return self.shared / self.texts


def shared_counts(sets: Sequence[Keys]) -> NDArray[np.int64]:
    """Counts the keys that each two sets share.

    As a product of sparse matrices: what it costs is the keys, and the pairs that share some.

    Args:
        sets: Distinct keys of each task.

    Returns:
        Shape (sets, sets), symmetric; the sizes of the sets on the diagonal.

    Raises:
        InputError: The package scipy is not installed.
    """
    sparse = require("scipy.sparse", "run")
    keys = np.concatenate([*sets, np.empty(0, np.uint64)])
    numbers = np.unique(keys, return_inverse=True)[1]
    begins = np.cumsum([0, *map(len, sets)])
    ones = np.ones(len(keys), dtype=np.int64)
    holds = sparse.csr_array((ones, numbers, begins), shape=(len(sets), max(len(keys), 1)))
    counts: NDArray[np.int64] = (holds @ holds.T).toarray()
    return counts


def shares_of(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns which part of each set, a line, is in each other, a column; 0 on the diagonal.

    Args:
        counts: What :func:`shared_counts` returned.
    """
    shares = counts / np.maximum(np.diag(counts), 1)[:, None]
    np.fill_diagonal(shares, 0)
    return shares


def overlaps(names: Sequence[str], counts: NDArray[np.int64], least: float) -> Iterator[Overlap]:
    """Yields each ordered pair of tasks of which the first lies in the second by that share.

    Args:
        names: Names of the tasks.
        counts: What :func:`shared_counts` returned of them.
        least: The share, above 0.

    Yields:
        The greatest share first; at a tie in the order of the tasks.
    """
    sizes = np.diag(counts)
    shares = shares_of(counts)
    rows, columns = np.nonzero(shares >= least)
    for place in np.argsort(-shares[rows, columns], kind="stable").tolist():
        task, other = int(rows[place]), int(columns[place])
        yield Overlap(names[task], names[other], int(counts[task, other]), int(sizes[task]))


def _distinct(keys: "array[int]") -> Keys:
    return np.unique(np.frombuffer(keys, dtype=np.uint64))
