"""Nearly equal passages, as :mod:`tdro.tasks.duplicates` means it, told of many at once."""

import numpy as np
from numpy.typing import NDArray

from tdro.tasks.duplicates import LEAST_WORDS, normalise, pairs, words_of

Shingles = NDArray[np.uint64]

_PARCELS = 64


def shingles(text: str) -> Shingles:
    """Returns numbers of the distinct pairs of neighbouring words of a text, ascending.

    A short text is one number, that of all its words. The numbers mean nothing in another process.
    """
    words = words_of(text)
    # In a tuple, so that the whole of a short text is never a pair of a longer one.
    parts = pairs(words) if len(words) >= LEAST_WORDS else [(normalise(text),)]
    return np.unique(np.fromiter(map(hash, parts), np.int64, len(parts)).view(np.uint64))


def alike(first: Shingles, second: Shingles) -> float:
    """Returns the Jaccard similarity of two sets of pairs: those in both over those in either."""
    both = np.intersect1d(first, second, assume_unique=True).size
    return float(both / (first.size + second.size - both))


def parcels(one: Shingles) -> NDArray[np.uint16]:
    """Counts a text's pairs by the parcel of 64 that each belongs to, shape (64,)."""
    counts = np.bincount((one % np.uint64(_PARCELS)).astype(np.int64), minlength=_PARCELS)
    return counts.clip(max=np.iinfo(np.uint16).max).astype(np.uint16)


def may_be_alike(
    several: NDArray[np.uint16], one: NDArray[np.uint16], least: float
) -> NDArray[np.bool_]:
    """Tells which texts may have a similarity of ``least`` with another, and misses none.

    Two texts share at most as many pairs of a parcel as the one with fewer has of it. For texts of
    ordinary length this rules out nearly all that are not alike, at once.

    Args:
        several: Parcels of texts, shape (texts, 64).
        one: Those of the other text, shape (64,).
        least: The similarity.
    """
    both = np.minimum(several, one).sum(axis=1, dtype=np.int64)
    either = several.sum(axis=1, dtype=np.int64) + one.sum(dtype=np.int64) - both
    found: NDArray[np.bool_] = both >= least * either
    return found
