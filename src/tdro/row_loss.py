"""The row loss: InfoNCE of a query over its own passages (paper, equation 2)."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from tdro.similarity import ScoredTexts

# Forward passes are cut finer than backward passes: short texts are then not padded to long ones.
FORWARDS_PER_CHUNK = 8


def row_losses(
    model: torch.nn.Module,
    tokens: ScoredTexts,
    query_of: NDArray[np.int64],
    passage_of: NDArray[np.int64],
    *,
    temperature: float,
    chunk_tokens: int,
) -> torch.Tensor:
    """Computes the loss of each row over its positive and its hard negatives, and nothing else.

    Args:
        model: The embedding model; a dense one has unit embeddings.
        tokens: The tokenised texts, queries first.
        query_of: Place of each row's query in ``tokens``, shape ``(rows,)``.
        passage_of: Places of each row's passages in ``tokens``, the positive first, shape
            ``(rows, passages)``.
        temperature: Divisor of the similarities.
        chunk_tokens: Padded tokens of all forward passes of one call, roughly.

    Returns:
        Losses in nats, float32 or better, shape ``(rows,)``.
    """
    pass_tokens = max(1, chunk_tokens // FORWARDS_PER_CHUNK)
    scores = tokens.scores(model, query_of, passage_of, pass_tokens) / temperature
    # Outside autocast, as the scores were.
    with torch.autocast(scores.device.type, enabled=False):
        target = torch.zeros(len(scores), dtype=torch.long, device=scores.device)
        return torch.nn.functional.cross_entropy(scores, target, reduction="none")


def row_chunks(
    tokens: ScoredTexts,
    query_of: NDArray[np.int64],
    passage_of: NDArray[np.int64],
    chunk_tokens: int,
) -> Iterator[NDArray[np.int64]]:
    """Cuts rows, longest first, into chunks of ``chunk_tokens`` tokens, and less than a row more.

    Yields:
        Places of the rows of a chunk.
    """
    cost = tokens.lengths[query_of] + tokens.lengths[passage_of].sum(axis=1)
    order = np.argsort(-cost, kind="stable")
    chunk_of = (np.cumsum(cost[order]) - cost[order]) // chunk_tokens
    for number in np.unique(chunk_of):
        yield order[chunk_of == number]
