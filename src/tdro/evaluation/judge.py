"""Judging one retriever on several benchmarks, with run files and scores left behind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from sentence_transformers import SentenceTransformer

from tdro.counting import counted_tokens, tokens_of, with_tokens
from tdro.encoder import autocast
from tdro.evaluation import answers
from tdro.evaluation.benchmark import Benchmark
from tdro.evaluation.corpus import corpus_place
from tdro.evaluation.scores import (
    KEY_COLUMNS,
    METRICS,
    SCORES_FILE,
    score,
    score_table,
    search_depth,
    write_qrels,
    write_run,
)
from tdro.evaluation.search import Run, search_together
from tdro.files import JUDGED_FOLDER, file_name, write_table
from tdro.processes import Processes
from tdro.progress import Tick

_BASIS = b"basis"


@dataclass(frozen=True)
class Judged:
    """What judging a retriever gives.

    Attributes:
        scores: One line a benchmark and query, a column a metric; null where a benchmark is not
            judged by it.
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
    bases: Mapping[str, str] | None = None,
) -> Judged:
    """Judges a retriever; a benchmark that a killed call finished is not judged again.

    Benchmarks over the same corpus are searched together, so that it is encoded once.

    Args:
        name: Name of the retriever.
        model: The retriever.
        benchmarks: What to judge on.
        directory: An existing directory; gets ``scores.parquet`` and, for other tools,
            ``<benchmark>.trec`` and the judgements in ``<benchmark>.qrels``.
        prompts: Query prompt by name of the benchmark; without one the model's own is used.
        metrics: By their names in ir_measures. A benchmark that is judged by answers has the
            accuracies among them, or those of :mod:`tdro.evaluation.answers`.
        precision: See ``EncoderSettings``.
        tick: Called with documents done and documents in all.
        processes: The processes that judge together; the first writes.
        bases: By name of the benchmark, a digest of all that its scores depend on. The scores of
            each benchmark are kept in ``judged/<benchmark>.parquet`` for a later call, which judges
            again where the digest is another one. Without, the directory is of one set of inputs.

    Returns:
        The scores and what they took.
    """
    processes = processes or Processes()
    parts = directory / JUDGED_FOLDER
    corpora = _by_corpus(benchmarks)
    total = sum(len(shared[0].documents) for shared in corpora)
    done = 0
    for shared in corpora:
        names = processes.once(partial(_due, shared, parts, bases))
        due = [benchmark for benchmark in shared if benchmark.name in names]
        if due:
            with autocast(model, precision), counted_tokens(model) as count:
                runs = search_together(
                    model,
                    due,
                    prompts=[prompts.get(benchmark.name) for benchmark in due],
                    top_k=search_depth([m for one in due for m in _measured(one, metrics)]),
                    progress=_Counted(tick, done, total),
                    processes=processes,
                )
            tokens = sum(processes.gathered(count.take()))
            for benchmark, run in zip(due, runs, strict=False):
                write_run(_file(directory, benchmark, "trec"), run, file_name(name))
                if benchmark.qrels:
                    write_qrels(_file(directory, benchmark, "qrels"), benchmark)
                scores = _scored(name, benchmark, run, metrics)
                basis = (bases or {}).get(benchmark.name, "")
                _write_part(_file(parts, benchmark, "parquet"), scores, tokens, basis)
                # The corpus was encoded once for all of them: counted with the first.
                tokens = 0
        done += len(shared[0].documents)
    return processes.once(lambda: _put_together(benchmarks, directory, metrics))


def _by_corpus(benchmarks: Sequence[Benchmark]) -> list[list[Benchmark]]:
    """Returns benchmarks over the same corpus together, in the order of their first."""
    found: dict[str, list[Benchmark]] = {}
    for benchmark in benchmarks:
        found.setdefault(corpus_place(benchmark.documents), []).append(benchmark)
    return list(found.values())


def _due(
    benchmarks: Sequence[Benchmark], directory: Path, bases: Mapping[str, str] | None
) -> list[str]:
    """Returns the names of the benchmarks whose scores are not there, or of another basis."""
    names = []
    for benchmark in benchmarks:
        part = _file(directory, benchmark, "parquet")
        basis = (bases or {}).get(benchmark.name, "")
        if not part.is_file() or pq.read_schema(part).metadata.get(_BASIS, b"") != basis.encode():
            names.append(benchmark.name)
    return names


def _measured(benchmark: Benchmark, metrics: Sequence[str]) -> Sequence[str]:
    """Returns the metrics that a benchmark can be judged by."""
    if not benchmark.answers:
        return metrics
    return [metric for metric in metrics if metric.startswith("Acc@")] or answers.METRICS


def _scored(name: str, benchmark: Benchmark, run: Run, metrics: Sequence[str]) -> pa.Table:
    judged = benchmark
    if benchmark.answers:
        judged = replace(benchmark, qrels=answers.judged_by_answers(benchmark, run))
    return score_table([(name, benchmark, score(judged, run, _measured(benchmark, metrics)))])


def _write_part(path: Path, scores: pa.Table, tokens: int, basis: str) -> None:
    table = with_tokens(scores, tokens)
    table = table.replace_schema_metadata({**table.schema.metadata, _BASIS: basis.encode()})
    path.parent.mkdir(exist_ok=True)
    pq.write_table(table, path.with_suffix(".partial"))
    path.with_suffix(".partial").replace(path)


def _put_together(
    benchmarks: Sequence[Benchmark], directory: Path, metrics: Sequence[str]
) -> Judged:
    parts = [_file(directory / JUDGED_FOLDER, benchmark, "parquet") for benchmark in benchmarks]
    tables = [pq.read_table(part) for part in parts]
    scores = pa.concat_tables(
        [table.replace_schema_metadata(None) for table in tables], promote_options="default"
    )
    first = [name for name in (*KEY_COLUMNS, *metrics) if name in scores.column_names]
    scores = scores.select(list(dict.fromkeys([*first, *scores.column_names])))
    write_table(directory / SCORES_FILE, scores)
    return Judged(scores, sum(tokens_of(table) for table in tables))


def _file(directory: Path, benchmark: Benchmark, kind: str) -> Path:
    return directory / f"{file_name(benchmark.name)}.{kind}"
