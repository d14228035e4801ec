"""The scores of a row's passages, and which passages they leave in."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tdro.tasks.layouts import (
    FLAG_EMBEDDING,
    SENTENCE_PAIR,
    SENTENCE_TRANSFORMERS,
    TEVATRON,
    BadRowError,
    Layout,
    Parts,
    Reason,
)
from tdro.tasks.options import RowFilter


@dataclass(frozen=True)
class Scores:
    """Scores of a row.

    Attributes:
        positives: One for each positive.
        negatives: One for each negative; None where they have none.
        graded: What is no positive by its score is a negative; otherwise it is left out.
    """

    positives: list[float]
    negatives: list[float] | None
    graded: bool = False


def layout_scores(layout: Layout, record: Any, parts: Parts) -> Scores:
    """Reads the scores of a record of a known layout.

    Raises:
        BadRowError: There are none, they are no numbers, or their number does not fit.
    """
    if layout is FLAG_EMBEDDING:
        _, positives, negatives = parts
        scored = _numbers(record, "pos_scores", len(positives))
        others = None if record.get("neg_scores") is None else record
        return Scores(scored, others and _numbers(others, "neg_scores", len(negatives)))
    if layout is TEVATRON:
        return Scores(
            _passage_scores(record, "positive_passages"),
            _passage_scores(record, "negative_passages"),
        )
    if layout is SENTENCE_TRANSFORMERS:
        key = _first_key(record, ("labels", "scores", "label", "score"))
        listed = isinstance(record["positive"], list) and not parts[2]
        return split_scores(record[key], key, parts, graded=listed)
    if layout is SENTENCE_PAIR:
        key = _first_key(record, ("score", "label"))
        return split_scores(record[key], key, parts, graded=False)
    raise BadRowError(Reason.NO_SCORE, f"the layout {layout.name!r} has none")


def split_scores(value: object, key: str, parts: Parts, *, graded: bool) -> Scores:
    """Reads one number for the one positive, or those of the positives and then the negatives."""
    _, positives, negatives = parts
    if not isinstance(value, list):
        if len(positives) != 1:
            detail = f"{key!r} holds one score for {len(positives)} positives"
            raise BadRowError(Reason.WRONG_SCORES, detail)
        return Scores([_number(value, key)], None)
    count = len(positives)
    found = _numbers({key: value}, key, count + len(negatives))
    return Scores(found[:count], found[count:], graded)


def chosen(
    parts: Parts, scores: Scores, wanted: RowFilter
) -> tuple[Parts, list[tuple[Reason, int]]]:
    """Leaves out the passages whose scores are out of bounds.

    Args:
        parts: The parts of a row.
        scores: Their scores.
        wanted: The bounds.

    Returns:
        The parts that are left, and how many passages were left out for which reason.

    Raises:
        BadRowError: No positive is left, or a bound needs scores that are not there.
    """
    query, positives, negatives = parts
    least = wanted.min_positive_score
    kept = [least is None or score >= least for score in scores.positives]
    if not any(kept):
        highest = max(scores.positives, default=0.0)
        detail = (
            f"{highest:g} is less than {least:g}" if scores.positives and least is not None else ""
        )
        raise BadRowError(Reason.LOW_SCORE if positives else Reason.NO_POSITIVE, detail)
    below = [text for text, keep in zip(positives, kept, strict=True) if not keep]
    others, other_scores = list(negatives), scores.negatives
    if scores.graded:
        low = [score for score, keep in zip(scores.positives, kept, strict=True) if not keep]
        others, other_scores = [*below, *others], [*low, *(other_scores or [])]
    dropped = [] if scores.graded else [(Reason.LOW_SCORE, len(below))]
    if wanted.max_negative_ratio is not None and others:
        if other_scores is None:
            raise BadRowError(Reason.NO_SCORE, "the negatives have none")
        lowest = min(score for score, keep in zip(scores.positives, kept, strict=True) if keep)
        if not lowest > 0:
            detail = f"max_negative_ratio needs positives scored above 0, not {lowest:g}"
            raise BadRowError(Reason.WRONG_SCORES, detail)
        bound = wanted.max_negative_ratio * lowest
        fitting = [text for text, score in zip(others, other_scores, strict=True) if score <= bound]
        dropped.append((Reason.HIGH_SCORE, len(others) - len(fitting)))
        others = fitting
    answers = [text for text, keep in zip(positives, kept, strict=True) if keep]
    return (query, answers, others), dropped


def _first_key(record: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    key = next((one for one in keys if record.get(one) is not None), None)
    if key is None:
        raise BadRowError(Reason.NO_SCORE, f"no key {' or '.join(map(repr, keys))}")
    return key


def _number(value: object, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        if value is None:
            raise BadRowError(Reason.NO_SCORE, f"{key!r} holds none")
        raise BadRowError(Reason.WRONG_TYPE, f"{key!r} holds {type(value).__name__}, not a number")
    try:
        return float(value)
    except OverflowError:
        raise BadRowError(Reason.WRONG_SCORES, f"{key!r} holds a number beyond any use") from None


def _numbers(record: Mapping[str, Any], key: str, count: int) -> list[float]:
    value = record.get(key)
    if value is None:
        raise BadRowError(Reason.NO_SCORE, f"no key {key!r}")
    if not isinstance(value, list):
        raise BadRowError(Reason.WRONG_TYPE, f"{key!r} holds {type(value).__name__}, not a list")
    if len(value) != count:
        raise BadRowError(
            Reason.WRONG_SCORES, f"{key!r} holds {len(value)} scores for {count} passages"
        )
    return [_number(item, key) for item in value]


def _passage_scores(record: Mapping[str, Any], key: str) -> list[float]:
    # The authors' own reader takes teacher scores from "ce_score".
    return [
        _number(item.get("ce_score", item.get("score")), f"{key}.score")
        for item in record.get(key) or []
    ]
