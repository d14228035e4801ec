"""Judging one retriever on several benchmarks, with run files and scores left behind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from sentence_transformers import SentenceTransformer

from tdro.counting import counted_tokens, tokens_of, with_tokens
from tdro.encoder import autocast
from tdro.evaluation.benchmark import Benchmark
from tdro.evaluation.scores import (
    METRICS,
    SCORES_FILE,
    score,
    score_table,
    search_depth,
    write_run,
)
from tdro.evaluation.search import search
from tdro.files import file_name
from tdro.processes import Processes
from tdro.progress import Tick


@dataclass(frozen=True)
class Judged:
    """What judging a retriever gives.

    Attributes:
        scores: One line a benchmark and query, a column a metric.
        tokens: Tokens that went through the retriever, for the benchmarks of killed calls too.
    """

    scores: pa.Table
    tokens: int


@dataclass(frozen=True)
class _Counted:
    """Adds the documents of earlier benchmarks to what the search of this one tells."""

    tick: Tick
    before: int
    total: int

    def __call__(self, done: int, _: int) -> None:
        self.tick(self.before + done, self.total, None)


def judge(
    name: str,
    model: SentenceTransformer,
    benchmarks: Sequence[Benchmark],
    directory: Path,
    *,
    prompts: Mapping[str, str | None],
    metrics: Sequence[str] = METRICS,
    precision: str,
    tick: Tick,
    processes: Processes | None = None,
) -> Judged:
    """Judges a retriever; a benchmark that a killed call finished is not judged again.

    Args:
        name: Name of the retriever.
        model: The retriever.
        benchmarks: What to judge on.
        directory: An existing directory; gets ``<benchmark>.trec`` and ``scores.parquet``.
        prompts: Query prompt by name of the benchmark; without one the model's own is used.
        metrics: By their names in ir_measures.
        precision: See ``EncoderSettings``.
        tick: Called with documents done and documents in all.
        processes: The processes that judge together; the first writes.

    Returns:
        The scores and what they took.
    """
    total = sum(len(benchmark.documents) for benchmark in benchmarks)
    processes = processes or Processes()
    done = 0
    for benchmark in benchmarks:
        part = directory / f"{file_name(benchmark.name)}.parquet"
        if not processes.once(part.is_file):
            with autocast(model, precision), counted_tokens(model) as count:
                found = search(
                    model,
                    benchmark,
                    prompt=prompts.get(benchmark.name),
                    top_k=search_depth(metrics),
                    progress=_Counted(tick, done, total),
                    processes=processes,
                )
            tokens = sum(processes.gathered(count.take()))
            if processes.first:
                run_file = directory / f"{file_name(benchmark.name)}.trec"
                write_run(run_file, found, file_name(name))
                table = score_table([(name, benchmark, score(benchmark, found, metrics))])
                pq.write_table(with_tokens(table, tokens), part.with_suffix(".partial"))
                part.with_suffix(".partial").replace(part)
        done += len(benchmark.documents)
    return processes.once(lambda: _put_together(benchmarks, directory))


def _put_together(benchmarks: Sequence[Benchmark], directory: Path) -> Judged:
    tables = [
        pq.read_table(directory / f"{file_name(benchmark.name)}.parquet")
        for benchmark in benchmarks
    ]
    scores = pa.concat_tables([table.replace_schema_metadata(None) for table in tables])
    pq.write_table(scores, directory / SCORES_FILE)
    for benchmark in benchmarks:
        (directory / f"{file_name(benchmark.name)}.parquet").unlink()
    return Judged(scores, sum(tokens_of(table) for table in tables))
