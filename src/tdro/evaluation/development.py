"""Small benchmarks, tokenised once, on which many models are scored one after the other."""

from collections.abc import Mapping, Sequence
from itertools import islice

import torch
from sentence_transformers import SentenceTransformer

from tdro.encoder import TokenBatch, autocast
from tdro.evaluation.benchmark import Benchmark
from tdro.evaluation.scores import score

METRIC = "nDCG@10"
_DEPTH = 10


class DevelopmentSet:
    """Benchmarks that fit memory, for models that share one tokenizer.

    Args:
        model: Any of the models, for its tokenizer.
        benchmarks: What to score on.
        prompts: Query prompt by name of the benchmark; none where it is missing.
        chunk_tokens: Padded tokens of one forward pass.
        precision: See ``EncoderSettings``.

    Attributes:
        tokens: Tokens that scoring one model takes.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        benchmarks: Sequence[Benchmark],
        prompts: Mapping[str, str],
        *,
        chunk_tokens: int,
        precision: str,
    ) -> None:
        self._benchmarks = tuple(benchmarks)
        self._chunk_tokens = chunk_tokens
        self._precision = precision
        self._tokens = []
        for benchmark in benchmarks:
            prompt = prompts.get(benchmark.name, "")
            queries = [prompt + query for query in benchmark.queries.values()]
            self._tokens.append(TokenBatch(model, queries, benchmark.documents["text"][:]))
        self.tokens = sum(int(batch.lengths.sum()) for batch in self._tokens)

    def score(self, model: SentenceTransformer) -> float:
        """Returns the mean nDCG@10 of the benchmarks."""
        found = [sum(values) / len(values) for values in self.scores(model).values()]
        return sum(found) / len(found)

    def scores(self, model: SentenceTransformer) -> dict[str, list[float]]:
        """Returns the nDCG@10 of every query, in their order, by name of the benchmark."""
        model.eval()
        return {
            benchmark.name: self._scores(model, benchmark, tokens)
            for benchmark, tokens in zip(self._benchmarks, self._tokens, strict=True)
        }

    def _scores(
        self, model: SentenceTransformer, benchmark: Benchmark, tokens: TokenBatch
    ) -> list[float]:
        everything = torch.arange(len(tokens)).numpy()
        with torch.inference_mode(), autocast(model, self._precision):
            embeddings = tokens.embed(model, everything, self._chunk_tokens).float()
        split = len(benchmark.queries)
        with torch.autocast(embeddings.device.type, enabled=False):
            scores = embeddings[:split] @ embeddings[split:].T
        kept = _DEPTH + max(map(len, benchmark.excluded.values()), default=0)
        # A stable sort: of equal scores the earlier document is found first.
        order = scores.argsort(dim=1, descending=True, stable=True)[:, :kept].cpu()
        ids = benchmark.documents["id"][:]
        run = {}
        for query, line, places in zip(
            benchmark.queries, scores.cpu(), order.tolist(), strict=True
        ):
            excluded = benchmark.excluded.get(query, frozenset())
            found = ((ids[place], float(line[place])) for place in places)
            run[query] = dict(islice((hit for hit in found if hit[0] not in excluded), _DEPTH))
        values = score(benchmark, run, (METRIC,))
        return [values[query][METRIC] for query in benchmark.queries]
