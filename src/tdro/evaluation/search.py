"""Exact search of a benchmark's corpus with an embedding model."""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tdro.errors import InputError
from tdro.evaluation.benchmark import Benchmark
from tdro.processes import Processes

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Run = dict[str, dict[str, float]]

_DOCUMENTS_PER_CHUNK = 4096
_QUERIES_PER_BLOCK = 1024
_GROUP = 8
_LARGEST_INDEX = 2**32 - 1
_LOW_31_BITS = 0x7FFFFFFF
_LOWEST_KEY = -(2**63)


def search(
    model: "SentenceTransformer",
    benchmark: Benchmark,
    *,
    prompt: str | None = None,
    top_k: int = 100,
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
    processes: Processes | None = None,
) -> Run:
    """Finds the documents with the highest cosine similarity to each query of a benchmark.

    See :func:`search_together`, which does it for several benchmarks at once.

    Returns:
        The score of each found document by its id, best first, by query id; nothing in processes
        other than the first.
    """
    found = search_together(
        model,
        [benchmark],
        prompts=[prompt],
        top_k=top_k,
        batch_size=batch_size,
        progress=progress,
        processes=processes,
    )
    return found[0] if found else {}


def search_together(
    model: "SentenceTransformer",
    benchmarks: Sequence[Benchmark],
    *,
    prompts: Sequence[str | None],
    top_k: int,
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
    processes: Processes | None = None,
) -> list[Run]:
    """Finds the nearest documents for all queries of benchmarks that share one corpus.

    Documents are encoded once and scored chunk by chunk, so that memory holds the queries, the best
    ``top_k`` of each and one chunk, whatever the size of the corpus. Scores are float32; equal
    scores keep the order of the corpus. Of several processes each takes every n-th chunk, and the
    first merges what they found: the result is that of one process.

    Args:
        model: The retriever.
        benchmarks: Queries, and documents that are the same in all.
        prompts: Put before the queries of each benchmark; without one, the model's own query
            prompt.
        top_k: Number of documents to keep for each query, those excluded for it not counted.
        batch_size: Number of texts encoded at a time.
        progress: Called with the number of documents done and the number of all documents.
        processes: The processes that search together.

    Returns:
        For each benchmark the score of each found document by its id, best first, by query id;
        nothing in processes other than the first.

    Raises:
        InputError: The model gives an embedding that is not finite.
    """
    queries = [
        _unit(
            model.encode_query(
                list(benchmark.queries.values()),
                prompt=prompt,
                batch_size=batch_size,
                convert_to_tensor=True,
                show_progress_bar=False,
            ),
            f"a query of {benchmark.name!r}",
        )
        for benchmark, prompt in zip(benchmarks, prompts, strict=True)
    ]
    documents = benchmarks[0].documents
    excluded = [len(ids) for benchmark in benchmarks for ids in benchmark.excluded.values()]
    kept = top_k + max(excluded, default=0)
    nearest = Nearest(torch.cat(queries), kept)
    processes = processes or Processes()
    stride = processes.count * _DOCUMENTS_PER_CHUNK
    for start in range(processes.rank * _DOCUMENTS_PER_CHUNK, len(documents), stride):
        # encode_document sorts each chunk by length itself.
        texts = documents[start : start + _DOCUMENTS_PER_CHUNK]["text"]
        embeddings = _unit(
            model.encode_document(
                texts, batch_size=batch_size, convert_to_tensor=True, show_progress_bar=False
            ),
            f"a document of {benchmarks[0].name!r}",
        )
        nearest.add(embeddings, start)
        if progress is not None:
            progress(min(start + _DOCUMENTS_PER_CHUNK, len(documents)), len(documents))
    parts = processes.gathered(nearest.keys())
    if not parts:
        return []
    keys = torch.split(_best(parts, kept), [len(rows) for rows in queries])
    return [
        _named(*_unpack(rows), benchmark, top_k)
        for rows, benchmark in zip(keys, benchmarks, strict=True)
    ]


class Nearest:
    """The documents with the highest scores for each query, of those added so far.

    Documents come in chunks, in the order of the corpus. A query's lowest score so far prunes
    every later chunk: in one that is a small part of the corpus, few scores pass. Only those that
    pass are packed into keys and sorted, several chunks at a time.

    Args:
        queries: Unit rows in float32, (queries, width).
        top_k: Number of documents to keep for each query.
    """

    def __init__(self, queries: Tensor, top_k: int) -> None:
        self._blocks = [
            _Block(queries[row : row + _QUERIES_PER_BLOCK], top_k)
            for row in range(0, len(queries), _QUERIES_PER_BLOCK)
        ]
        # One block of scores, written over again: fresh memory costs a page fault every 4 KiB.
        self._room = queries.new_empty(0)

    def add(self, embeddings: Tensor, start: int) -> None:
        """Scores further documents of the corpus, which come after those added before.

        Args:
            embeddings: Unit rows in float32, (documents, width).
            start: Number of the first of them in the corpus.
        """
        documents = embeddings.to(self._room.device).T
        # The caller may encode under bfloat16 autocast; scores are float32 all the same.
        with torch.autocast(self._room.device.type, enabled=False):
            for block in self._blocks:
                size = len(block.queries) * len(embeddings)
                if len(self._room) < size:
                    self._room = self._room.new_empty(size)
                scores = self._room[:size].view(len(block.queries), len(embeddings))
                block.add(torch.mm(block.queries, documents, out=scores), start)

    def keys(self) -> Tensor:
        """Returns the packed best on the CPU, in falling order, (queries, at most top_k)."""
        return torch.cat([block.merged() for block in self._blocks]).cpu()

    def found(self) -> tuple[Tensor, Tensor]:
        """Returns scores and document numbers on the CPU, best first, (queries, at most top_k)."""
        return _unpack(self.keys())


class _Block:
    """Some queries, their best keys, and the keys that wait to be merged with them."""

    def __init__(self, queries: Tensor, top_k: int) -> None:
        self.queries = queries
        self.top_k = top_k
        self._seen = 0
        self._best = queries.new_empty((len(queries), 0), dtype=torch.int64)
        self._waiting: list[tuple[Tensor, Tensor]] = []

    def add(self, scores: Tensor, start: int) -> None:
        """Keeps the scores that may be among the best, (queries, documents).

        Args:
            scores: Scores of the next documents, overwritten after the call.
            start: Number of the first of them.
        """
        rows, columns = _places(self._passing(scores))
        passed = scores.flatten().index_select(0, rows * scores.shape[1] + columns)
        self._waiting.append((rows, _keys(passed, columns + start)))
        self._seen += scores.shape[1]
        waiting = sum(len(keys) for _, keys in self._waiting)
        if self._best.shape[1] < self.top_k or 2 * waiting > self._best.numel():
            self.merged()

    def merged(self) -> Tensor:
        """Returns the best keys so far in falling order, (queries, at most top_k)."""
        if self._waiting:
            rows, keys = (torch.cat(parts) for parts in zip(*self._waiting, strict=True))
            self._waiting = []
            both = torch.cat([self._best, _lines(rows, keys, len(self.queries))], dim=1)
            self._best = both.topk(min(self.top_k, self._seen), dim=1).values
        return self._best

    def _passing(self, scores: Tensor) -> Tensor:
        """Tells which scores may be among the best; errs on the side of telling too many."""
        if self._best.shape[1] == self.top_k:
            # Of equal scores the earlier document stays, so a later one has to be better.
            return scores > _unpack(self._best[:, -1:])[0]
        if scores.shape[1] <= self.top_k:
            return torch.ones_like(scores, dtype=torch.bool)
        groups = scores.shape[1] // _GROUP
        tops = scores
        if groups >= self.top_k:
            # As many groups as are wanted hold a score this high; few more scores are as high.
            tops = scores[:, : groups * _GROUP].view(-1, _GROUP, groups).amax(dim=1)
        return scores >= tops.topk(self.top_k, dim=1).values[:, -1:]


def _best(parts: Sequence[Tensor], top_k: int) -> Tensor:
    """Merges what several processes found of the same queries, (queries, at most top_k)."""
    keys = torch.cat(list(parts), dim=1)
    return keys.topk(min(top_k, keys.shape[1]), dim=1).values if len(parts) > 1 else keys


def _places(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Returns rows and columns where a mask is true, like ``nonzero``, faster where few are."""
    if mask.shape[1] % 8:
        mask = torch.nn.functional.pad(mask, (0, -mask.shape[1] % 8))
    words = mask.view(torch.int64).flatten()
    hits = words.nonzero().flatten()
    bits = words.index_select(0, hits).view(torch.bool).nonzero().flatten()
    places = 8 * hits.index_select(0, bits >> 3) + (bits & 7)
    rows = places // mask.shape[1]
    return rows, places - rows * mask.shape[1]


def _lines(rows: Tensor, keys: Tensor, count: int) -> Tensor:
    """Puts the keys of each of ``count`` rows on a line, filled up with the lowest key."""
    order = rows.argsort()
    counts = torch.bincount(rows, minlength=count)
    place = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows[order]]
    lines = keys.new_full((count, int(counts.max())), _LOWEST_KEY)
    lines[rows[order], place] = keys[order]
    return lines


def _unit(embeddings: Tensor, what: str) -> Tensor:
    """Returns float32 rows of length 1."""
    rows = torch.nn.functional.normalize(embeddings.detach().float(), dim=1)
    if not bool(torch.isfinite(rows).all()):
        raise InputError(
            f"The model gives an embedding that is not finite for {what}: "
            "it diverged, so train it again with a smaller learning rate."
        )
    return rows


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


def _named(scores: Tensor, numbers: Tensor, benchmark: Benchmark, top_k: int) -> Run:
    ids = benchmark.documents.data.column("id").take(numbers.flatten().numpy()).to_pylist()
    width = numbers.shape[1]
    run = {}
    for row, query in enumerate(benchmark.queries):
        found = zip(ids[row * width : (row + 1) * width], scores[row].tolist(), strict=True)
        excluded = benchmark.excluded.get(query, frozenset())
        run[query] = dict(islice((hit for hit in found if hit[0] not in excluded), top_k))
    return run
