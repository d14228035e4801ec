"""The tokens of texts that a bag of embeddings has seen before, kept for as long as the process.

A comparison trains dozens of retrievers on the same texts and judges all of them on the same
documents. For a bag of embeddings half of that time would go into cutting them into tokens again.
"""

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

# Four bytes each: 200 MB beside the texts.
_MOST_TOKENS = 50_000_000


class _Tokens(NamedTuple):
    ids: Sequence[int]


@dataclass
class _Memory:
    of_text: dict[str, _Tokens] = field(default_factory=dict)
    tokens: int = 0


_memories: dict[str, _Memory] = {}


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
        most_tokens: Tokens remembered at most; beyond them everything is forgotten.
    """

    def __init__(self, tokenizer: Any, most_tokens: int = _MOST_TOKENS) -> None:
        self._tokenizer = tokenizer
        self._most_tokens = most_tokens
        cuts = hashlib.sha256(tokenizer.to_str().encode()).hexdigest()
        self.memory = _memories.setdefault(cuts, _Memory())

    def encode_batch(self, texts: Sequence[str], add_special_tokens: bool) -> list[_Tokens]:
        """Returns the tokens of each text."""
        assert not add_special_tokens, "A bag of embeddings asks for none."
        memory = self.memory
        known = memory.of_text
        new = list({text: None for text in texts if text not in known})
        cut = self._tokenizer.encode_batch(new, add_special_tokens=False)
        found = {t: _Tokens(array("I", one.ids)) for t, one in zip(new, cut, strict=True)}
        answer = [known.get(text) or found[text] for text in texts]
        memory.tokens += sum(len(tokens.ids) for tokens in found.values())
        if memory.tokens > self._most_tokens:
            known.clear()
            memory.tokens = 0
        else:
            known.update(found)
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)
