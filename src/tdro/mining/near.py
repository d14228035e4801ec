"""How alike two texts are, whatever their case, white space and punctuation."""

import unicodedata

import numpy as np
from numpy.typing import NDArray

Shingles = NDArray[np.uint64]

_WIDTH = 8
_PARCELS = 64
_BASE = np.uint64(0x9E3779B97F4A7C15)


class _Plain(dict[int, str]):
    """What ``str.translate`` writes for a character; nothing for those that say nothing."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        said = "" if unicodedata.category(character)[0] in "PZC" else character
        self[code] = said
        return said


_PLAIN = _Plain()


def plain(text: str) -> str:
    """Returns a text without case, white space and punctuation, in Unicode's NFKC.

    Symbols such as ``+`` or ``<`` stay. Of a text that is nothing but punctuation, that stays too.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return folded.translate(_PLAIN) or "".join(folded.split())


def shingles(text: str) -> Shingles:
    """Returns numbers of the distinct runs of 8 characters of a plain text, ascending.

    Characters, since many languages do not part their words; 8, since one changed character is
    then a large change of a short text, such as a year in a title, and a small one of a long text.
    A shorter text is one run.
    """
    codes = np.frombuffer(plain(text).encode("utf-32-le", "surrogatepass"), dtype="<u4")
    width = min(_WIDTH, len(codes))
    runs = np.zeros(len(codes) - width + 1, dtype=np.uint64)
    for place in range(width):
        runs = runs * _BASE + codes[place : place + len(runs)].astype(np.uint64) + np.uint64(1)
    return np.unique(runs)


def alike(first: Shingles, second: Shingles) -> float:
    """Returns the Jaccard similarity of two sets of runs: those in both over those in either."""
    both = np.intersect1d(first, second, assume_unique=True).size
    return float(both / (first.size + second.size - both))


def parcels(runs: Shingles) -> NDArray[np.uint16]:
    """Counts a text's runs by the parcel of 64 that each belongs to, shape (64,)."""
    counts = np.bincount((runs % np.uint64(_PARCELS)).astype(np.int64), minlength=_PARCELS)
    return counts.clip(max=np.iinfo(np.uint16).max).astype(np.uint16)


def may_be_alike(
    several: NDArray[np.uint16], one: NDArray[np.uint16], least: float
) -> NDArray[np.bool_]:
    """Tells which texts may have a similarity of ``least`` with another, and misses none.

    Two texts share at most as many runs of a parcel as the one with fewer has of it. For texts of
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


def similarity(first: str, second: str) -> float:
    """Returns how alike two texts are, from 0 to 1; texts alike but for punctuation have 1."""
    return alike(shingles(first), shingles(second))
