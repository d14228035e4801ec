"""Which languages the texts of a task are in, by a library that needs no download."""

from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Any

from tdro.errors import require

UNCLEAR = "unclear"
"""Too short, or no language is likely enough: names, numbers, code."""

_LEAST_BYTES = 20
_LEAST_PROBABILITY = 0.5


def languages(texts: Iterable[str]) -> dict[str, float]:
    """Returns the share of texts in each language, the largest first.

    Args:
        texts: Some texts; no more than a few hundred are needed.

    Returns:
        Shares by ISO 639-1 code or :data:`UNCLEAR`, summing to 1; empty without texts.

    Raises:
        InputError: The package py3langid is not installed.
    """
    counts = Counter(_language(text) for text in texts)
    total = counts.total()
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return {name: count / total for name, count in ranked}


def _language(text: str) -> str:
    if len(text.encode("utf-8", "replace")) < _LEAST_BYTES:
        return UNCLEAR
    name, probability = _identifier().classify(text)
    return str(name) if probability >= _LEAST_PROBABILITY else UNCLEAR


@cache
def _identifier() -> Any:
    langid = require("py3langid.langid", "inspect")
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
