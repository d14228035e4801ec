"""Equal and nearly equal texts: what makes two texts one, and finding them among many.

Two texts are equal when the same words are left of them (:func:`normalise`). They are nearly equal
when the pairs of neighbouring words they hold overlap by enough (:func:`jaccard`). Single words
would take the questions for the capitals of France and of Germany for one, and longer runs would
find a changed word in long texts only.
"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

from tdro.errors import require

LEAST_WORDS = 5
"""A shorter text is compared as a whole only: a few pairs of words say nothing."""

THRESHOLD = 0.8
"""Jaccard similarity from which two texts are nearly equal."""

_ASCII_WORDS = re.compile(r"[a-z0-9]+|[$+<=>|~]")
# Written without spaces, so each of their characters counts as a word.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_WORDS = rf"(?V1)[{_UNSPACED}]\p{{M}}*|[\p{{L}}\p{{N}}\p{{M}}--[{_UNSPACED}]]+|[\p{{Sm}}\p{{Sc}}]"
_INVISIBLE = r"\p{Cf}+"

_PERMUTATIONS = 128
_SEED = 1
_LEAST_RECALL = 0.999


def words_of(text: str) -> list[str]:
    """Returns what two spellings of a text have in common: its words, folded.

    Unicode's compatibility forms (NFKC), case, white space, punctuation and invisible characters
    make no difference; signs of arithmetic and currencies do. Of scripts without spaces each
    character is a word.
    """
    if text.isascii():
        return _ASCII_WORDS.findall(text.lower())
    found: list[str] = _pattern(_WORDS).findall(_folded(text))
    return found


def normalise(text: str) -> str:
    """Returns the words of a text with a space between them; equal texts have equal ones.

    A text without a word, such as ``?!``, stays itself but for case and white space. Normalising
    twice is normalising once.
    """
    return _joined(words_of(text), text)


def text_key(text: str) -> int:
    """Returns 64 bits that equal texts share; other texts do not, but for odds of 1 in 10^19."""
    return _key(normalise(text))


def pairs(words: Sequence[str]) -> list[str]:
    """Returns the pairs of neighbouring words, repeated ones too."""
    return [f"{first} {second}" for first, second in pairwise(words)]


def jaccard(first: Sequence[str], second: Sequence[str]) -> float:
    """Returns the share of the pairs of either text that both have, 0 where neither has any.

    Args:
        first: Words of a text.
        second: Words of the other.
    """
    one, other = set(pairs(first)), set(pairs(second))
    either = len(one | other)
    return len(one & other) / either if either else 0.0


@dataclass(frozen=True)
class Match:
    """A text of an index that a text equals or nearly equals.

    Attributes:
        number: Number of the text in the index.
        similarity: Their Jaccard similarity; 1 where they are equal.
        exact: Whether they are equal after normalisation.
    """

    number: int
    similarity: float
    exact: bool


class TextIndex:
    """Texts in which equal and nearly equal ones are looked up.

    Near ones are proposed by MinHash (128 permutations, in bands that propose a pair at the
    threshold 999 times of 1,000) and then compared in truth, so nothing below the threshold is
    ever returned. The texts are held in memory; what is looked up is not.

    Args:
        texts: The texts, numbered from 0.
        threshold: Least Jaccard similarity of a near one, above 0; 1 finds equal ones only.

    Raises:
        InputError: The package rensa or regex is not installed.
    """

    def __init__(self, texts: Sequence[str], threshold: float = THRESHOLD) -> None:
        self._threshold = threshold
        self._rensa = require("rensa", "clean")
        self._equal: dict[int, list[int]] = {}
        self._long: list[tuple[str, list[int]]] = []
        for number, text in enumerate(texts):
            words = words_of(text)
            normalised = _joined(words, text)
            numbers = self._equal.setdefault(_key(normalised), [])
            if not numbers and len(words) >= LEAST_WORDS:
                self._long.append((normalised, numbers))
            numbers.append(number)
        self._near = self._rensa.RMinHashLSH(threshold, _PERMUTATIONS, bands_for(threshold))
        if self._long and threshold < 1:
            sketches = self._sketches([words.split(" ") for words, _ in self._long])
            self._near.insert_many(sketches)

    def matches(self, texts: Sequence[str]) -> list[list[Match]]:
        """Returns what each text equals or nearly equals, the most similar first."""
        found = []
        places, lists = [], []
        near = bool(self._long) and self._threshold < 1
        for place, text in enumerate(texts):
            words = words_of(text)
            equal = self._equal.get(_key(_joined(words, text)), ())
            found.append([Match(number, 1.0, True) for number in equal])
            if near and len(words) >= LEAST_WORDS:
                places.append(place)
                lists.append(words)
        proposed = self._near.query_all(self._sketches(lists)) if lists else ()
        for place, words, candidates in zip(places, lists, proposed, strict=True):
            if candidates:
                found[place] += self._verified(words, candidates, found[place])
        return found

    def _verified(
        self, words: list[str], candidates: Sequence[int], known: Sequence[Match]
    ) -> list[Match]:
        equal = {match.number for match in known}
        near = []
        for candidate in sorted(set(candidates)):
            other, numbers = self._long[candidate]
            if equal.issuperset(numbers):
                continue
            similarity = jaccard(words, other.split(" "))
            if similarity >= self._threshold:
                near += [Match(number, similarity, False) for number in numbers]
        return sorted(near, key=lambda match: (-match.similarity, match.number))

    def _sketches(self, lists: Sequence[Sequence[str]]) -> Any:
        sets = [pairs(words) for words in lists]
        return self._rensa.RMinHash.from_token_sets(sets, _PERMUTATIONS, _SEED)


def bands_for(threshold: float) -> int:
    """Returns the fewest bands that still propose nearly all pairs at the threshold.

    With b bands of r permutations a pair of similarity s is proposed with a probability of
    1 - (1 - s^r)^b (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, 3.4.2).
    """
    bands = 1
    while bands < _PERMUTATIONS:
        missed = (1 - threshold ** (_PERMUTATIONS // bands)) ** bands
        if 1 - missed >= _LEAST_RECALL:
            break
        bands *= 2
    return bands


def _joined(words: Sequence[str], text: str) -> str:
    return " ".join(words) or " ".join(_folded(text).split())


def _key(normalised: str) -> int:
    raw = normalised.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "little")


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    visible = _pattern(_INVISIBLE).sub("", unicodedata.normalize("NFKC", text))
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", visible).casefold())


@cache
def _pattern(source: str) -> Any:
    return require("regex", "run").compile(source)
