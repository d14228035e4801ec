"""The row loss: InfoNCE of a query over its own passages (paper, equation 2)."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from tdro.encoder import TokenBatch

# Forward passes are cut finer than backward passes: short texts are then not padded to long ones.
_FORWARDS_PER_CHUNK = 8


def row_losses(
    model: torch.nn.Module,
    tokens: TokenBatch,
    query_of: NDArray[np.int64],
    passage_of: NDArray[np.int64],
    *,
    temperature: float,
    chunk_tokens: int,
) -> torch.Tensor:
    """Computes the loss of each row over its positive and its hard negatives, and nothing else.

    Args:
        model: The embedding model, with unit embeddings.
        tokens: The tokenised texts, queries first.
        query_of: Place of each row's query in ``tokens``, shape ``(rows,)``.
        passage_of: Places of each row's passages in ``tokens``, the positive first, shape
            ``(rows, passages)``.
        temperature: Divisor of the cosine similarities.
        chunk_tokens: Padded tokens of all forward passes of one call, roughly.

    Returns:
        Losses in nats, float32 or better, shape ``(rows,)``.
    """
    shown, which = np.unique(
        np.concatenate([query_of[:, None], passage_of], axis=1), return_inverse=True
    )
    embeddings = tokens.embed(model, shown, max(1, chunk_tokens // _FORWARDS_PER_CHUNK))
    embeddings = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
    of_row = embeddings[torch.from_numpy(which).to(embeddings.device)]
    # Outside autocast: at a temperature of 0.002 bfloat16 would keep about one digit of a logit.
    with torch.autocast(embeddings.device.type, enabled=False):
        scores = torch.einsum("rd,rpd->rp", of_row[:, 0], of_row[:, 1:]) / temperature
        target = torch.zeros(len(scores), dtype=torch.long, device=scores.device)
        return torch.nn.functional.cross_entropy(scores, target, reduction="none")


def row_chunks(
    tokens: TokenBatch,
    query_of: NDArray[np.int64],
    passage_of: NDArray[np.int64],
    chunk_tokens: int,
) -> Iterator[NDArray[np.int64]]:
    """Cuts rows, longest first, into chunks of at most ``chunk_tokens`` tokens (one row at least).

    Yields:
        Places of the rows of a chunk.
    """
    cost = tokens.lengths[query_of] + tokens.lengths[passage_of].sum(axis=1)
    order = np.argsort(-cost, kind="stable")
    chunk_of = (np.cumsum(cost[order]) - cost[order]) // chunk_tokens
    for number in np.unique(chunk_of):
        yield order[chunk_of == number]
