"""Rows that ask the same: their queries differ in case, white space and punctuation at most."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tdro.tasks.duplicates import text_key
from tdro.tasks.lists import Lists
from tdro.tasks.texts import select_texts


@dataclass(frozen=True)
class QueryGroups:
    """The rows of a task by what they ask.

    Attributes:
        first: For each row the first row with an equal query, itself where there is no earlier one.
    """

    first: NDArray[np.int64]
    _answers: Lists

    @classmethod
    def of(cls, queries: pa.ChunkedArray, own: Lists) -> "QueryGroups":
        """Groups rows.

        Args:
            queries: Their texts, shape (rows,).
            own: For each row its positives and the passage equal to its query.
        """
        every = np.arange(len(queries))
        keys = np.fromiter(map(text_key, select_texts(queries, every)), np.uint64, len(queries))
        _, places, which = np.unique(keys, return_index=True, return_inverse=True)
        first = places[which]
        return cls(first, Lists.from_pairs(first[own.owners], own.values, len(own)))

    def answers(self, row: int) -> NDArray[np.int32]:
        """Numbers of the passages that answer a row's query.

        They are the positives of all rows with this query, whatever its case, white space and
        punctuation, and the passages equal to one of these queries.
        """
        return self._answers[int(self.first[row])]
