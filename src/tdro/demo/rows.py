"""From raw pairs of texts to the rows of a task: cleaned, merged and sampled."""

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass

LONGEST_TEXT = 2_000
"""No model of the demo reads more characters than this."""

Pair = tuple[str, str]
"""A query and one of its positives, as a builder found them."""


@dataclass(frozen=True)
class Row:
    """One training example without negatives.

    Attributes:
        query: The query.
        positives: Its positives, in order of appearance, all distinct.
    """

    query: str
    positives: tuple[str, ...]


def one_line(text: str) -> str:
    """Turns every run of white space into one space."""
    return " ".join(text.split())


def code_lines(text: str) -> str:
    """Keeps lines and indentation; drops trailing spaces and blank lines around the text."""
    return "\n".join(line.rstrip() for line in text.expandtabs().splitlines()).strip("\n")


def cut(text: str, longest: int = LONGEST_TEXT) -> str:
    """Shortens a text to at most ``longest`` characters, at the end of a word."""
    if len(text) <= longest:
        return text
    head = text[: longest + 1]
    end = re.search(r"\s+\S*\Z", head)
    return (head[: end.start()] if end else head[:longest]).rstrip()


def to_rows(pairs: Iterable[Pair], *, code: bool = False) -> list[Row]:
    """Cleans pairs and merges those of one query into one row, in order of appearance.

    Pairs with an empty side go, and so do pairs whose two texts are equal but for case.

    Args:
        pairs: Queries with one positive each.
        code: The positives are code, whose lines and indentation are kept.
    """
    shape = code_lines if code else one_line
    # The inner dictionary is an ordered set.
    found: dict[str, dict[str, None]] = {}
    for query, positive in pairs:
        query, positive = cut(one_line(query)), cut(shape(positive))
        if query and positive and query.casefold() != one_line(positive).casefold():
            found.setdefault(query, {})[positive] = None
    return [Row(query, tuple(positives)) for query, positives in found.items()]


def sample(rows: list[Row], limit: int, seed: str) -> list[Row]:
    """Draws ``limit`` rows without replacement and keeps their order; all of them if fewer."""
    if len(rows) <= limit:
        return rows
    kept = sorted(random.Random(seed).sample(range(len(rows)), limit))
    return [rows[number] for number in kept]
