"""How many tokens the texts of a task have, by a sample of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tdro.errors import InputError
from tdro.estimate.rows import TaskGlance
from tdro.estimate.sizes import config_of
from tdro.pretrained import pretrained_tokenizer
from tdro.prompts import query_prompt
from tdro.settings import EncoderSettings

Ints = NDArray[np.int64]

# Where there is no tokenizer: what an English word is for one of 30,000 to 150,000 tokens.
_TOKENS_OF_A_WORD = 1.3


@dataclass(frozen=True)
class Lengths:
    """Tokens of the texts of a task, prompts and EOS included, cut to the maximal lengths.

    Attributes:
        queries: Of a sample of queries, shape ``(sample,)``.
        positives: Of a sample of positives.
        others: Of a sample of negatives.
    """

    queries: Ints
    positives: Ints
    others: Ints

    @property
    def passages(self) -> Ints:
        """Of positives and negatives alike."""
        return np.concatenate([self.positives, self.others])


class Measure:
    """Measures texts in tokens of a model.

    Args:
        settings: The model.
        local: Ask no hub for its configuration.

    Attributes:
        exact: Whether the model's own tokenizer is there; else words are counted.
    """

    def __init__(self, settings: EncoderSettings, *, local: bool = False) -> None:
        self._settings = settings
        self._tokenizer: Any = None
        try:
            config = config_of(settings, local)
            self._tokenizer = pretrained_tokenizer(settings, config)
        except InputError:
            # Not on this machine: what is wrong with a model that is there is told elsewhere.
            pass
        self.exact = self._tokenizer is not None

    def task(self, glance: TaskGlance) -> Lengths:
        """Returns the lengths of a task's texts."""
        prompt = query_prompt(glance.instruction) if self._settings.instructed else ""
        return Lengths(
            self.texts([prompt + text for text in glance.queries], query=True),
            self.texts(glance.positives),
            self.texts(glance.others),
        )

    def texts(self, texts: Sequence[str], *, query: bool = False) -> Ints:
        """Returns the lengths of some texts."""
        settings = self._settings
        static = settings.kind == "static"
        most = settings.max_query_length if query else settings.max_passage_length
        if static:
            # A bag of embeddings cuts all texts at one length and has no EOS.
            most = settings.max_passage_length
        if not texts:
            return np.zeros(0, dtype=np.int64)
        if self._tokenizer is None:
            words = np.array([len(text.split()) for text in texts], dtype=np.float64)
            tokens = np.ceil(words * _TOKENS_OF_A_WORD) + (0 if static else 1)
            return np.array(np.minimum(tokens, most), dtype=np.int64)
        options = {"truncation": True, "max_length": most, "add_special_tokens": not static}
        ids = self._tokenizer(list(texts), **options)["input_ids"]
        return np.array([max(1, len(one)) for one in ids], dtype=np.int64)


def longest_of(lengths: Ints, draws: int) -> float:
    """Returns how long the longest of some draws from a sample is on average."""
    ordered = np.sort(lengths)
    reached = np.arange(len(ordered) + 1) / len(ordered)
    return float((ordered * np.diff(reached**draws)).sum())
