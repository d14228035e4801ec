"""Rows scored by the model's own similarity, whatever kind of encoder it is."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import MultiVectorEncoder, SentenceTransformer, SparseEncoder

from tdro.encoder import TokenBatch, looked_up_once, pass_cuts
from tdro.errors import InputError

Encoder = SentenceTransformer | SparseEncoder | MultiVectorEncoder

_BOUNDED = ("cosine", "meanmaxsim")
_PROMPTS = {"query": ("query",), "document": ("document", "passage", "corpus")}


class ScoredTexts(Protocol):
    """Texts tokenised once, queries first, of which any rows can be scored.

    Attributes:
        lengths: Tokens of each text, shape ``(queries + passages,)``.
    """

    lengths: NDArray[np.int64]

    def scores(
        self,
        model: torch.nn.Module,
        query_of: NDArray[np.int64],
        passage_of: NDArray[np.int64],
        chunk_tokens: int,
    ) -> torch.Tensor:
        """Returns the similarity of each row's query and passages.

        Args:
            model: The embedding model, wrapped or not.
            query_of: Place of each row's query, shape ``(rows,)``.
            passage_of: Places of each row's passages, shape ``(rows, passages)``.
            chunk_tokens: Padded tokens of one forward pass at most (one text at least).

        Returns:
            Similarities, float32 or better, shape ``(rows, passages)``.
        """
        ...


def tokenised(model: Encoder, queries: Sequence[str], passages: Sequence[str]) -> ScoredTexts:
    """Tokenises texts in the way that the model's kind needs.

    Args:
        model: The embedding model.
        queries: Queries, the task's instruction in front; at least one.
        passages: Passages; at least one.
    """
    if isinstance(model, SentenceTransformer):
        return TokenBatch(model, queries, passages)
    return SidedBatch(model, queries, passages)


class SidedBatch:
    """Texts of a sparse or a multi-vector encoder (see ``ScoredTexts``).

    Such a model may encode a query otherwise than a passage: with a prompt or a marker of its own,
    expanded by mask tokens, or by another module. Queries and passages never share a forward pass.

    Args:
        model: The embedding model.
        queries: Queries; the model's own prompt is put in front.
        passages: Passages, likewise.
    """

    def __init__(
        self,
        model: SparseEncoder | MultiVectorEncoder,
        queries: Sequence[str],
        passages: Sequence[str],
    ) -> None:
        self._sides = {
            side: model.preprocess(list(texts), prompt=_own_prompt(model, side), task=side)
            for side, texts in (("query", queries), ("document", passages))
        }
        self._used = {side: _used(features) for side, features in self._sides.items()}
        self._first = {"query": 0, "document": len(queries)}
        lengths = torch.cat([used.sum(1) for used in self._used.values()])
        self.lengths: NDArray[np.int64] = lengths.numpy()

    def scores(
        self,
        model: torch.nn.Module,
        query_of: NDArray[np.int64],
        passage_of: NDArray[np.int64],
        chunk_tokens: int,
    ) -> torch.Tensor:
        """Returns the similarity of each row's query and passages (see ``ScoredTexts``)."""
        inner: Any = getattr(model, "module", model)
        device = next(model.parameters()).device
        passes: list[tuple[str, NDArray[np.int64], dict[str, Any]]] = []
        for side, shown in (("query", np.unique(query_of)), ("document", np.unique(passage_of))):
            texts = shown[np.argsort(-self.lengths[shown], kind="stable")]
            for start, end in pass_cuts(self.lengths[texts], chunk_tokens):
                features = self._features(side, texts[start:end], device)
                passes.append((side, texts[start:end], features))
        vectors: dict[int, torch.Tensor] = {}
        with looked_up_once(model, [features["input_ids"] for *_, features in passes]):
            for side, texts, features in passes:
                found = _vectors(inner, model(features, task=side))
                vectors.update(zip(texts.tolist(), found, strict=True))
        # In bfloat16 a sum over a vocabulary or a query would be known to two digits.
        with torch.autocast(device.type, enabled=False):
            rows = [
                inner.similarity([vectors[query]], [vectors[passage] for passage in passages])[0]
                for query, passages in zip(query_of.tolist(), passage_of.tolist(), strict=True)
            ]
            return torch.stack(rows)

    def _features(
        self, side: str, texts: NDArray[np.int64], device: torch.device
    ) -> dict[str, Any]:
        """Cuts texts out of a side, without the columns that none of them uses."""
        places = torch.from_numpy(texts - self._first[side])
        used = self._used[side]
        # A text that is tokenised to nothing still needs a column.
        columns = used[places].any(0).nonzero().flatten().tolist() or [0]
        within = slice(columns[0], columns[-1] + 1)
        return {
            name: value[places][:, within].to(device)
            if isinstance(value, torch.Tensor) and value.shape == used.shape
            else value
            for name, value in self._sides[side].items()
        }


def _own_prompt(model: SparseEncoder | MultiVectorEncoder, side: str) -> str | None:
    """Returns the prompt that ``encode_query`` or ``encode_document`` would take."""
    named = [name for name in _PROMPTS[side] if name in model.prompts]
    name = named[0] if named else model.default_prompt_name
    return model.prompts.get(name) if name else None


def _used(features: dict[str, Any]) -> torch.Tensor:
    """Tells which columns of each text are no padding, shape ``(texts, columns)``."""
    used: torch.Tensor = features["attention_mask"].bool()
    # ColBERT scores expansion tokens, although the layers below need not attend to them.
    expansion = features.get("query_expansion_positions")
    return used if expansion is None else used | expansion.bool()


def _vectors(model: Encoder, found: dict[str, Any]) -> list[torch.Tensor]:
    """Returns what a model's similarity takes for each text of a forward pass."""
    if isinstance(model, SparseEncoder):
        whole = found["sentence_embedding"]
        return list(whole.to(torch.promote_types(whole.dtype, torch.float32)))
    tokens, kept = found["token_embeddings"], found["attention_mask"].bool()
    tokens = tokens.to(torch.promote_types(tokens.dtype, torch.float32))
    return [text[mask] for text, mask in zip(tokens, kept, strict=True)]


def require_one_kind(proxy: Encoder, reference: Encoder) -> None:
    """Makes sure that a proxy's losses can be set against a reference's.

    Raises:
        InputError: The two models are of different kinds.
    """
    if proxy.model_type != reference.model_type:
        raise InputError(
            f"The proxy is a {proxy.model_type} and the reference a {reference.model_type}: their "
            "losses cannot be compared, take two models of one kind."
        )


def usual_temperature(model: Encoder, of_cosine: float) -> float:
    """Returns the temperature for a model where none is asked for.

    Args:
        model: The embedding model.
        of_cosine: What to take for cosine similarities.

    Returns:
        ``of_cosine`` where similarities are bounded by one; else 1, which is what the losses of
        sentence-transformers take for dot products and MaxSim.
    """
    if isinstance(model, SentenceTransformer) or model.similarity_fn_name in _BOUNDED:
        return of_cosine
    return 1.0
