"""Judging the retrievers of a run: hold-outs of its tasks and outside benchmarks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tdro.errors import InputError
from tdro.evaluation.benchmark import Benchmark, load_benchmark
from tdro.evaluation.holdout import write_holdout
from tdro.evaluation.loaders.find import find_sources, read_once
from tdro.evaluation.loaders.source import Choice, Source
from tdro.evaluation.scores import SCORES_FILE, check_metrics, metrics_basis
from tdro.files import JUDGED_FOLDER, content_digest, digest, file_name
from tdro.progress import Tick
from tdro.prompts import query_prompt
from tdro.recipe import BenchmarkEntry
from tdro.run.context import Context, contents
from tdro.settings import EncoderSettings
from tdro.stages import Stage, fingerprint_of
from tdro.tasks.training import TrainingTask

_CORPORA_FOLDER = "corpora"
_HOLDOUTS = {
    "holdout": ("hold-outs", "holdouts"),
    "unseen": ("hold-outs of excluded tasks", "holdouts_unseen"),
}


@dataclass(frozen=True)
class Judge:
    """A benchmark to judge on, and the identity its scores are kept under."""

    benchmark: Benchmark
    identity: dict[str, Any]


def outside_judges(context: Context) -> list[Judge]:
    """Reads the recipe's benchmarks and checks that there is something to judge on.

    Called first: a broken benchmark is better told before hours of training than after them.

    Raises:
        InputError: A benchmark cannot be read, there is none at all, a name is used twice, or a
            metric is unknown.
    """
    check_metrics(context.recipe.metrics)
    judges = [judge for entry in context.recipe.benchmarks for judge in _outside(context, entry)]
    names = [item.name for item in (*context.tasks, *context.excluded) if len(item.held_out)]
    names += [item.benchmark.name for item in judges]
    if not names:
        raise InputError("There is nothing to judge on: set holdout above 0 or name a benchmark.")
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"Two benchmarks, or a benchmark and a task, are named {name!r}: "
                "give the benchmark another name in the recipe."
            )
    return judges


def holdout_judges(context: Context) -> list[Judge]:
    """Returns the hold-outs of the tasks as benchmarks, those of excluded tasks last."""
    judges = []
    for at, held in complete_holdouts(context):
        for item in held:
            benchmark = _loaded(context, at / file_name(item.name), cache=at)
            judges.append(Judge(benchmark, holdout_identity(at, item)))
    return judges


def complete_holdouts(context: Context) -> list[tuple[Path, list[TrainingTask]]]:
    """Returns the folder of each group of hold-outs and the tasks that they are of."""
    found = []
    for group, tasks in (("holdout", context.tasks), ("unseen", context.excluded)):
        held = [item for item in tasks if len(item.held_out)]
        if held:
            found.append((_holdouts(context, held, group), held))
    return found


def holdout_identity(at: Path, item: TrainingTask) -> dict[str, Any]:
    """Returns what the scores on a task's hold-out are kept under."""
    return {"holdouts": fingerprint_of(at), "name": item.name}


def outside_sources(entry: BenchmarkEntry) -> list[Source]:
    """Returns the benchmarks of an entry of the recipe, not read yet.

    Raises:
        InputError: Its folder has no known layout, or one name is given to several.
    """
    sources = find_sources([entry.path], Choice(entry.languages, entry.split), entry.only)
    if entry.name is not None and len(sources) > 1:
        raise InputError(
            f"The benchmarks of {entry.path} are {len(sources)} and cannot all be named "
            f"{entry.name!r}: leave the name out."
        )
    return sources


def outside_identity(
    entry: BenchmarkEntry, source: Source, instruction: str, digests: dict[Path, str]
) -> dict[str, Any]:
    """Returns what the scores on an outside benchmark are kept under.

    Args:
        entry: The entry of the recipe.
        source: The benchmark.
        instruction: What its queries ask for.
        digests: What files hold that were read before; those of this benchmark are added.
    """
    for path in source.files:
        digests[path] = digests.get(path) or content_digest(path)
    files = {path.relative_to(entry.path).as_posix(): digests[path] for path in source.files}
    return {"files": digest(files), "instruction": instruction} | _told(source)


def complete_scores(context: Context, stage: Stage) -> pa.Table:
    """Returns the scores of one retriever on every benchmark and query.

    Args:
        context: The recipe at work.
        stage: What :func:`scores_stage` returned.
    """
    return pq.read_table(context.directory.complete(stage) / SCORES_FILE)


def scores_stage(
    context: Context,
    name: str,
    model_at: Path,
    judges: Sequence[Judge],
    settings: EncoderSettings,
) -> Stage:
    """Returns the stage that scores one retriever.

    Args:
        context: The recipe at work.
        name: Name of the retriever.
        model_at: Folder of the stage that left it.
        judges: What to judge on.
        settings: How its model is built.
    """
    recipe = context.recipe
    benchmarks = [item.benchmark for item in judges]
    prompts = {
        benchmark.name: query_prompt(benchmark.instruction)
        for benchmark in benchmarks
        if settings.instructed and benchmark.instruction
    }

    def work(directory: Path, tick: Tick) -> dict[str, Any]:
        from tdro.run import work as at_work

        judged = at_work.judge(
            name,
            at_work.load_model(model_at),
            benchmarks,
            directory,
            prompts=prompts,
            metrics=recipe.metrics,
            precision=settings.precision,
            tick=tick,
            processes=context.directory.processes,
        )
        return {
            "queries": sum(len(benchmark.queries) for benchmark in benchmarks),
            "documents": sum(len(benchmark.documents) for benchmark in benchmarks),
            "tokens": judged.tokens,
        }

    inputs = {
        "retriever": fingerprint_of(model_at),
        "benchmarks": {item.benchmark.name: item.identity for item in judges},
        "metrics": metrics_basis(recipe.metrics),
    }
    label, place, aids = f"scores of {name}", f"runs/{file_name(name)}", [JUDGED_FOLDER]
    return Stage(label, place, inputs, work, together=True, aids=aids)


def _holdouts(context: Context, held: Sequence[TrainingTask], group: str) -> Path:
    passages = context.recipe.holdout_passages

    def work(directory: Path, tick: Tick) -> dict[str, Any]:
        for done, item in enumerate(held, start=1):
            target = directory / file_name(item.name)
            write_holdout(item, target, group=group, passages=passages, seed=context.recipe.seed)
            tick(done, len(held), None)
        return {"queries": sum(len(item.held_out) for item in held)}

    inputs = {"holdout_passages": passages, **context.identity, "tasks": contents(held)}
    label, place = _HOLDOUTS[group]
    return context.directory.complete(Stage(label, place, inputs, work))


def _outside(context: Context, entry: BenchmarkEntry) -> list[Judge]:
    cache = context.shared.root / _CORPORA_FOLDER
    judges = []
    digests: dict[Path, str] = {}
    for source in outside_sources(entry):
        found = read_once(source, cache, context.directory.processes)
        for warning in found.warnings:
            context.directory.warn(warning)
        instruction = found.instruction if entry.instruction is None else entry.instruction
        benchmark = replace(found, name=entry.name or found.name, instruction=instruction)
        judges.append(Judge(benchmark, outside_identity(entry, source, instruction, digests)))
    return judges


def _told(source: Source) -> dict[str, Any]:
    """Returns what a usual benchmark has none of, so that its scores stay valid."""
    return {"traits": list(source.traits)} if source.traits else {}


def _loaded(context: Context, folder: Path, cache: Path) -> Benchmark:
    """Reads a hold-out; the first process alone writes its corpus to the cache."""
    source = Source(folder.name, (), lambda kept: load_benchmark(folder, cache=kept))
    return read_once(source, cache, context.directory.processes)
