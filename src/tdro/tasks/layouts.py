"""The layouts a row can be written in, told apart by their keys."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

_KEYS_SHOWN = 8


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


class _BadError(Exception):
    def __init__(self, reason: Reason, detail: str = "") -> None:
        self.problem = Problem(reason, detail)


def _text(value: object, key: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _BadError(Reason.WRONG_TYPE, f"{key!r} holds {type(value).__name__}, not text")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _BadError(Reason.NOT_UTF8, f"{key!r} holds half a surrogate pair") from None
    return value.strip()


def _items(value: object, key: str) -> list[object]:
    if value is None:
        return []
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise _BadError(Reason.WRONG_TYPE, f"{key!r} holds {type(value).__name__}, not a list")
    return value


def _texts(value: object, key: str) -> list[str]:
    return [_text(item, key) for item in _items(value, key)]


def _passages(value: object, key: str) -> list[str]:
    passages = []
    for item in _items(value, key):
        if not isinstance(item, dict):
            found = type(item).__name__
            raise _BadError(Reason.WRONG_TYPE, f"{key!r} holds {found}, not an object")
        parts = _text(item.get("title"), "title"), _text(item.get("text"), "text")
        passages.append(" ".join(part for part in parts if part))
    return passages


_Parts = tuple[str, list[str], list[str]]


def _flag_embedding(record: Mapping[str, Any]) -> _Parts:
    return (
        _text(record["query"], "query"),
        _texts(record["pos"], "pos"),
        _texts(record.get("neg"), "neg"),
    )


def _tevatron(record: Mapping[str, Any]) -> _Parts:
    return (
        _text(record["query"], "query"),
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


def _sentence_transformers(record: Mapping[str, Any]) -> _Parts:
    ranked = sorted((rank, key) for key in record if (rank := _negative_rank(key)) is not None)
    return (
        _text(record["anchor"], "anchor"),
        _texts(record["positive"], "positive"),
        [text for _, key in ranked for text in _texts(record[key], key)],
    )


@dataclass(frozen=True)
class _Layout:
    keys: frozenset[str]
    split: Callable[[Mapping[str, Any]], _Parts]


_LAYOUTS = {
    "FlagEmbedding": _Layout(frozenset({"query", "pos"}), _flag_embedding),
    "Tevatron": _Layout(frozenset({"query", "positive_passages"}), _tevatron),
    "sentence-transformers": _Layout(frozenset({"anchor", "positive"}), _sentence_transformers),
}


def read_row(record: object) -> Row | Problem:
    """Turns a raw record of any known layout into a row.

    Known are FlagEmbedding (``query``, ``pos``, ``neg``), Tevatron (``query``,
    ``positive_passages``, ``negative_passages``) and sentence-transformers (``anchor``,
    ``positive``, ``negative``, ``negative_1`` and so on). Other keys are ignored. White space is
    removed at the ends of a text only, because code needs its indentation. Empty negatives are
    left out, and so are empty positives where another positive is left.

    Args:
        record: A parsed JSON value or a line of a table.

    Returns:
        The row, or the problem that makes the record unusable.
    """
    if not isinstance(record, dict):
        return Problem(Reason.NOT_OBJECT, f"found {type(record).__name__}")
    layout = next((one for one in _LAYOUTS.values() if one.keys <= record.keys()), None)
    if layout is None:
        return Problem(Reason.UNKNOWN_LAYOUT, _keys_found(record))
    try:
        query, positives, negatives = layout.split(record)
    except _BadError as bad:
        return bad.problem
    if not query:
        return Problem(Reason.EMPTY_QUERY)
    if not positives:
        return Problem(Reason.NO_POSITIVE)
    if not any(positives):
        return Problem(Reason.EMPTY_POSITIVE)
    return Row(query, tuple(filter(None, positives)), tuple(filter(None, negatives)))


def _keys_found(record: Mapping[str, Any]) -> str:
    if not record:
        return "no keys"
    shown = ", ".join(repr(str(key)[:40]) for key in list(record)[:_KEYS_SHOWN])
    hidden = len(record) - _KEYS_SHOWN
    return f"keys {shown}" + (f" and {hidden} more" if hidden > 0 else "")
