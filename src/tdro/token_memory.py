"""The tokens of texts that a bag of embeddings has seen before, kept for as long as the process.

A comparison trains dozens of retrievers on the same texts and judges all of them on the same
documents. For a bag of embeddings half of that time would go into cutting them into tokens again.
"""

import copy
import hashlib
import sys
from array import array
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

# About half a million passages of a hundred tokens.
_MOST_BYTES = 512 * 2**20
# What a text takes beside its characters and its tokens: its place in the table and two objects.
_OVERHEAD = 200


class _Tokens(NamedTuple):
    ids: Sequence[int]


@dataclass
class _Memory:
    of_text: dict[str, _Tokens] = field(default_factory=dict)
    bytes: int = 0

    def keep(self, text: str, tokens: _Tokens, most: int) -> None:
        size = sys.getsizeof(text) + 4 * len(tokens.ids) + _OVERHEAD
        if self.bytes + size <= most:
            self.of_text[text] = tokens
            self.bytes += size


_memories: defaultdict[tuple[str, str], _Memory] = defaultdict(_Memory)


def remember_tokens(model: SentenceTransformer) -> SentenceTransformer:
    """Lets a bag of embeddings cut a text into tokens once a process, whichever model is given it.

    Args:
        model: Any embedding model; one that is no bag of embeddings is left as it is.

    Returns:
        The same model.
    """
    if isinstance(model[0], StaticEmbedding):
        model.tokenizer = RememberingTokenizer(model.tokenizer)
    return model


class RememberingTokenizer:
    """A ``tokenizers.Tokenizer`` whose ``encode_batch`` gives the ids alone, each text's once.

    Tokenizers that cut alike share what they remember.

    Args:
        tokenizer: The tokenizer that does the work; all but ``encode_batch`` is its own.
        most_bytes: Bytes remembered at most; what comes later is cut each time.
    """

    def __init__(self, tokenizer: Any, most_bytes: int = _MOST_BYTES) -> None:
        self._tokenizer = tokenizer
        self._most_bytes = most_bytes
        self._cuts = hashlib.sha256(tokenizer.to_str().encode()).hexdigest()

    @property
    def memory(self) -> _Memory:
        """What is remembered of texts as the tokenizer cuts them now."""
        return _memories[self._cuts, repr(self._tokenizer.truncation)]

    def encode_batch(self, texts: Sequence[str], add_special_tokens: bool) -> list[_Tokens]:
        """Returns the tokens of each text."""
        assert not add_special_tokens, "A bag of embeddings asks for none."
        memory = self.memory
        known = memory.of_text
        new = list({text: None for text in texts if text not in known})
        cut = self._tokenizer.encode_batch(new, add_special_tokens=False)
        found = {t: _Tokens(array("I", one.ids)) for t, one in zip(new, cut, strict=True)}
        for text, tokens in found.items():
            memory.keep(text, tokens, self._most_bytes)
        return [found.get(text) or known[text] for text in texts]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy, and one read back from a file, is the tokenizer that it stands for.
        return copy.copy, (self._tokenizer,)
