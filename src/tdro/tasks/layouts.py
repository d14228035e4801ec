"""The layouts a row can be written in, told apart by their keys."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast

_KEYS_SHOWN = 8
_PLAIN_KEY = re.compile("[A-Za-z]\\w{0,39}", re.ASCII)
# What others call the query and its passage, where a layout is not known.
_QUERY_KEYS = ("query", "question", "anchor", "q", "prompt", "input", "sentence1", "text1")
_POSITIVE_KEYS = (
    *("positive", "pos", "positives", "answer", "answers", "passage", "document", "context"),
    *("response", "output", "sentence2", "text2"),
)


class Reason(StrEnum):
    """Why a row cannot be used."""

    NOT_UTF8 = "not UTF-8"
    NOT_JSON = "not JSON"
    NOT_OBJECT = "not an object"
    UNKNOWN_LAYOUT = "unknown layout"
    WRONG_TYPE = "wrong type"
    EMPTY_QUERY = "empty query"
    NO_POSITIVE = "no positive"
    EMPTY_POSITIVE = "empty positive"
    MISSING_COLUMN = "missing column"
    UNREAD_SCORE = "score without a limit"
    NO_SCORE = "no score"
    WRONG_SCORES = "scores do not fit"
    LOW_SCORE = "positive scored too low"
    HIGH_SCORE = "negative scored too high"
    NOT_WANTED = "not in where"
    SHORT_QUERY = "query too short"
    LONG_QUERY = "query too long"
    SHORT_PASSAGE = "passage too short"
    LONG_PASSAGE = "passage too long"

    @property
    def by_choice(self) -> bool:
        """Whether a filter leaves the row out, not a fault of it."""
        return self in _CHOSEN


_CHOSEN = frozenset(
    {
        Reason.LOW_SCORE,
        Reason.NOT_WANTED,
        Reason.SHORT_QUERY,
        Reason.LONG_QUERY,
        Reason.SHORT_PASSAGE,
        Reason.LONG_PASSAGE,
    }
)


@dataclass(frozen=True)
class Problem:
    """A row that cannot be used.

    Attributes:
        reason: One of a fixed set, so that rows can be counted by it.
        detail: What was found instead; may be empty.
    """

    reason: Reason
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})" if self.detail else str(self.reason)


@dataclass(frozen=True)
class Row:
    """One training example. Texts have no white space at their ends and are never empty.

    Attributes:
        query: The text searched with.
        positives: Texts that answer it, at least one.
        negatives: Texts that do not; may be empty.
    """

    query: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...]


class BadRowError(Exception):
    """A record that cannot be used, while it is taken apart; carries the problem."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        self.problem = Problem(reason, detail)


def read_text(value: object, key: str) -> str:
    """Returns the text under a key without white space at its ends, empty for nothing."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRowError(Reason.WRONG_TYPE, f"{key!r} holds {type(value).__name__}, not text")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise BadRowError(Reason.NOT_UTF8, f"{key!r} holds half a surrogate pair") from None
    return value.strip()


def _items(value: object, key: str) -> list[object]:
    if value is None:
        return []
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise BadRowError(Reason.WRONG_TYPE, f"{key!r} holds {type(value).__name__}, not a list")
    return value


def _texts(value: object, key: str) -> list[str]:
    return [read_text(item, key) for item in _items(value, key)]


def titled(title: str, text: str) -> str:
    """Joins the title of a passage to its text."""
    return " ".join(part for part in (title, text) if part)


def _passage(item: dict[str, Any]) -> str:
    return titled(read_text(item.get("title"), "title"), read_text(item.get("text"), "text"))


def _passages(value: object, key: str) -> list[str]:
    passages = []
    for item in _items(value, key):
        if not isinstance(item, dict):
            found = type(item).__name__
            raise BadRowError(Reason.WRONG_TYPE, f"{key!r} holds {found}, not an object")
        passages.append(_passage(item))
    return passages


def read_passages(value: object, key: str) -> list[str]:
    """Returns the passages under a key: a text, an object with title and text, or a list."""
    return [
        _passage(item) if isinstance(item, dict) else read_text(item, key)
        for item in _items([value] if isinstance(value, dict) else value, key)
    ]


Parts = tuple[str, list[str], list[str]]
"""Query, positives and negatives as they were written, empty ones among them."""


def _flag_embedding(record: Mapping[str, Any]) -> Parts:
    return (
        read_text(record["query"], "query"),
        _texts(record["pos"], "pos"),
        _texts(record.get("neg"), "neg"),
    )


def _tevatron(record: Mapping[str, Any]) -> Parts:
    return (
        read_text(record["query"], "query"),
        _passages(record["positive_passages"], "positive_passages"),
        _passages(record.get("negative_passages"), "negative_passages"),
    )


def _negative_rank(key: str) -> int | None:
    """Returns 0 for ``negative``, n for ``negative_n`` and None for any other key."""
    head, _, number = key.partition("_")
    if head != "negative":
        return None
    if key == head:
        return 0
    return int(number) if number.isascii() and number.isdigit() else None


def _sentence_transformers(record: Mapping[str, Any]) -> Parts:
    ranked = sorted((rank, key) for key in record if (rank := _negative_rank(key)) is not None)
    return (
        read_text(record["anchor"], "anchor"),
        _texts(record["positive"], "positive"),
        [text for _, key in ranked for text in _texts(record[key], key)],
    )


def _sentence_pair(record: Mapping[str, Any]) -> Parts:
    pair = (read_text(record[key], key) for key in ("sentence1", "sentence2"))
    return next(pair), [next(pair)], []


def _set_of_texts(record: Mapping[str, Any]) -> Parts:
    texts = [*filter(None, _texts(record["set"], "set"))]
    return (texts[0] if texts else ""), texts[1:], []


def _listed(record: list[object]) -> Parts:
    texts = [read_text(item, f"item {place}") for place, item in enumerate(record, start=1)]
    return texts[0], texts[1:2], texts[2:]


@dataclass(frozen=True)
class Layout:
    """A way of writing rows.

    Attributes:
        name: Its name.
        keys: Keys that tell it from others.
        split: Takes a record apart.
        grades: Keys that say whether the positive is one at all, so that they must be read.
    """

    name: str
    keys: frozenset[str]
    split: Callable[[Any], Parts]
    grades: frozenset[str] = frozenset()


FLAG_EMBEDDING = Layout("FlagEmbedding", frozenset({"query", "pos"}), _flag_embedding)
TEVATRON = Layout("Tevatron", frozenset({"query", "positive_passages"}), _tevatron)
SENTENCE_TRANSFORMERS = Layout(
    "sentence-transformers",
    frozenset({"anchor", "positive"}),
    _sentence_transformers,
    frozenset({"label", "labels"}),
)
SENTENCE_PAIR = Layout(
    "sentence pair",
    frozenset({"sentence1", "sentence2"}),
    _sentence_pair,
    frozenset({"score", "label"}),
)
_SET = Layout("set", frozenset({"set"}), _set_of_texts)
_LIST = Layout("list", frozenset(), _listed)
_KEYED = (FLAG_EMBEDDING, TEVATRON, SENTENCE_TRANSFORMERS, SENTENCE_PAIR, _SET)


def find_layout(record: object) -> Layout | Problem:
    """Tells the layout of a raw record by its keys."""
    if isinstance(record, dict):
        for layout in _KEYED:
            if layout.keys <= record.keys():
                return layout
        return Problem(Reason.UNKNOWN_LAYOUT, f"{_keys_found(record)}{_naming(record)}")
    if isinstance(record, list) and len(record) > 1:
        return _LIST
    found = f"list of {len(record)}" if isinstance(record, list) else type(record).__name__
    return Problem(Reason.NOT_OBJECT, f"found {found}")


def read_row(record: object) -> Row | Problem:
    """Turns a raw record of any known layout into a row, without regard to scores.

    Known are FlagEmbedding (``query``, ``pos``, ``neg``), Tevatron (``query``,
    ``positive_passages``, ``negative_passages``), sentence-transformers (``anchor``,
    ``positive``, ``negative``, ``negative_1`` and so on; ``sentence1``, ``sentence2``), and the
    lines of its ``embedding-training-data``: a list of query, positive and negatives, or ``set``,
    whose first text is the query and whose others are its positives. Other keys are ignored. White
    space is removed at the ends of a text only, because code needs its indentation. Empty
    negatives are left out, and so are empty positives where another positive is left.

    Args:
        record: A parsed JSON value or a line of a table.

    Returns:
        The row, or the problem that makes the record unusable.
    """
    layout = find_layout(record)
    if isinstance(layout, Problem):
        return layout
    if layout.grades:
        graded = layout.grades & cast("dict[str, Any]", record).keys()
        if graded:
            detail = f"{min(graded)!r} is only read with filter: {{min_positive_score: ...}}"
            return Problem(Reason.UNREAD_SCORE, detail)
    try:
        return finish(layout.split(record))
    except BadRowError as bad:
        return bad.problem


def finish(parts: Parts) -> Row | Problem:
    """Makes a row of its parts, without those that are empty."""
    query, positives, negatives = parts
    if not query:
        return Problem(Reason.EMPTY_QUERY)
    if not positives:
        return Problem(Reason.NO_POSITIVE)
    if not any(positives):
        return Problem(Reason.EMPTY_POSITIVE)
    return Row(query, tuple(filter(None, positives)), tuple(filter(None, negatives)))


def _naming(record: Mapping[str, Any]) -> str:
    """Returns how to name the columns of a record, with its own keys where they can be guessed."""
    if not record:
        return ""
    keys = [str(key) for key in record if _PLAIN_KEY.fullmatch(str(key))]
    query = next((key for key in keys if key.lower() in _QUERY_KEYS), "...")
    positive = next((key for key in keys if key.lower() in _POSITIVE_KEYS), "...")
    return f"; name them: columns: {{query: {query}, positive: {positive}}}"


def _keys_found(record: Mapping[str, Any]) -> str:
    if not record:
        return "no keys"
    shown = ", ".join(repr(str(key)[:40]) for key in list(record)[:_KEYS_SHOWN])
    hidden = len(record) - _KEYS_SHOWN
    return f"keys {shown}" + (f" and {hidden} more" if hidden > 0 else "")
