"""Exact search of a benchmark's corpus with an embedding model."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tdro.errors import InputError
from tdro.evaluation.benchmark import Benchmark

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_DOCUMENTS_PER_CHUNK = 4096
_QUERIES_PER_BLOCK = 1024
_LARGEST_INDEX = 2**32 - 1
_LOW_31_BITS = 0x7FFFFFFF


def search(
    model: "SentenceTransformer",
    benchmark: Benchmark,
    *,
    prompt: str | None = None,
    top_k: int = 100,
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, dict[str, float]]:
    """Finds the documents with the highest cosine similarity to each query.

    Documents are encoded and scored chunk by chunk, so that memory holds the best ``top_k`` of each
    query and one chunk, whatever the size of the corpus. Scores are float32; equal scores keep the
    order of the corpus.

    Args:
        model: The retriever.
        benchmark: Queries and documents.
        prompt: Put before each query; without it, the model's own query prompt.
        top_k: Number of documents to keep for each query.
        batch_size: Number of texts encoded at a time.
        progress: Called with the number of documents done and the number of all documents.

    Returns:
        The score of each found document by its id, best first, by query id.

    Raises:
        InputError: The model gives an embedding that is not finite.
    """
    names = list(benchmark.queries)
    queries = _unit(
        model.encode_query(
            list(benchmark.queries.values()),
            prompt=prompt,
            batch_size=batch_size,
            convert_to_tensor=True,
            show_progress_bar=False,
        ),
        f"a query of {benchmark.name!r}",
    )
    documents = benchmark.documents
    best = queries.new_empty((len(names), 0), dtype=torch.int64)
    for start in range(0, len(documents), _DOCUMENTS_PER_CHUNK):
        # encode_document sorts each chunk by length itself.
        texts = documents[start : start + _DOCUMENTS_PER_CHUNK]["text"]
        embeddings = _unit(
            model.encode_document(
                texts, batch_size=batch_size, convert_to_tensor=True, show_progress_bar=False
            ),
            f"a document of {benchmark.name!r}",
        )
        # The caller may encode under bfloat16 autocast; scores are float32 all the same.
        with torch.autocast(queries.device.type, enabled=False):
            best = _merge(best, queries, embeddings, start, top_k)
        if progress is not None:
            progress(min(start + _DOCUMENTS_PER_CHUNK, len(documents)), len(documents))
    return _named(best.cpu(), names, benchmark)


def _unit(embeddings: Tensor, what: str) -> Tensor:
    """Returns float32 rows of length 1."""
    rows = torch.nn.functional.normalize(embeddings.detach().float(), dim=1)
    if not bool(torch.isfinite(rows).all()):
        raise InputError(
            f"The model gives an embedding that is not finite for {what}: "
            "it diverged, so train it again with a smaller learning rate."
        )
    return rows


def _merge(best: Tensor, queries: Tensor, embeddings: Tensor, start: int, top_k: int) -> Tensor:
    """Merges a chunk of documents into the best keys so far.

    Args:
        best: Keys of the best documents so far, int64, (queries, at most top_k).
        queries: Unit rows, (queries, width).
        embeddings: Unit rows, (documents of the chunk, width).
        start: Number of the chunk's first document.
        top_k: Number of keys to keep.

    Returns:
        The largest keys of both, in falling order, (queries, at most top_k).
    """
    numbers = torch.arange(start, start + len(embeddings), device=queries.device)
    transposed = embeddings.to(queries.device).T
    merged = []
    for row in range(0, len(queries), _QUERIES_PER_BLOCK):
        block = slice(row, row + _QUERIES_PER_BLOCK)
        keys = torch.cat([best[block], _keys(queries[block] @ transposed, numbers)], dim=1)
        merged.append(keys.topk(min(top_k, keys.shape[1]), dim=1).values)
    return torch.cat(merged)


def _keys(scores: Tensor, numbers: Tensor) -> Tensor:
    """Packs score and document number into one integer that sorts by score, then by number.

    topk does not say which of two equal scores it keeps; keys are never equal. The upper half holds
    the bits of the float32 score, flipped below zero so that they rise with it (adding 0.0 turns
    -0.0 into 0.0); the lower half falls with the document's number.

    Args:
        scores: float32, (queries, documents).
        numbers: int64, (documents,).
    """
    bits = (scores + 0.0).view(torch.int32).to(torch.int64)
    rising = torch.where(bits < 0, bits ^ _LOW_31_BITS, bits)
    return (rising << 32) | (_LARGEST_INDEX - numbers)


def _unpack(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the float32 scores and the document numbers of keys."""
    rising = keys >> 32
    bits = torch.where(rising < 0, rising ^ _LOW_31_BITS, rising).to(torch.int32)
    return bits.view(torch.float32), _LARGEST_INDEX - (keys & _LARGEST_INDEX)


def _named(best: Tensor, names: Sequence[str], benchmark: Benchmark) -> dict[str, dict[str, float]]:
    scores, numbers = _unpack(best)
    ids = benchmark.documents.data.column("id").take(numbers.flatten().numpy()).to_pylist()
    width = numbers.shape[1]
    return {
        name: dict(zip(ids[row * width : (row + 1) * width], scores[row].tolist(), strict=True))
        for row, name in enumerate(names)
    }
