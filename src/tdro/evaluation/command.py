"""Judging one model on some benchmarks, outside a run."""

import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer
from sentence_transformers.base import BaseModel

from tdro.errors import InputError
from tdro.evaluation.benchmark import Benchmark
from tdro.evaluation.judge import judge
from tdro.evaluation.loaders.find import find_sources, read_once
from tdro.evaluation.loaders.source import Choice, Source
from tdro.evaluation.official import judge_officially, official_tasks
from tdro.evaluation.scores import check_metrics, metrics_basis, render_scores
from tdro.files import content_digest, digest
from tdro.pretrained import unreadable_weights
from tdro.processes import Processes, joined
from tdro.progress import stage_progress
from tdro.prompts import query_prompt, takes_instructions
from tdro.training import quiet_libraries

_CORPORA_FOLDER = "corpora"


@dataclass(frozen=True)
class Asked:
    """What a model is judged on, and how.

    Attributes:
        folders: Benchmarks and collections of benchmarks.
        only: Names of benchmarks or families in them; all when empty.
        choice: Languages and split.
        mteb: Names of mteb's tasks.
        instruction: What all queries ask for; without, a model that was trained with instructions
            gets the one it keeps for a task's hold-out, or that of the benchmark.
        metrics: By their names in ir_measures.
        output: Folder for run files, scores and results; nothing is kept without.
    """

    folders: Sequence[Path] = ()
    only: Sequence[str] = ()
    choice: Choice = field(default_factory=Choice)
    mteb: Sequence[str] = ()
    instruction: str = ""
    metrics: Sequence[str] = ()
    output: Path | None = None


def evaluate_model(name_or_path: str, asked: Asked, console: Console) -> None:
    """Judges a SentenceTransformer on benchmarks and prints the table.

    With an output, a benchmark that an earlier call judged is not judged again, unless the model,
    the benchmark, the prompt or the metrics have changed.

    Args:
        name_or_path: Folder or hub id of the model.
        asked: What it is judged on, and how.
        console: Where to print.

    Raises:
        InputError: The model or a benchmark cannot be read, there is nothing to judge on, or a
            metric is unknown.
    """
    check_metrics(asked.metrics)
    quiet_libraries()
    if not asked.folders and not asked.mteb:
        raise InputError("There is nothing to judge on: name a benchmark with -b, or use --mteb.")
    if asked.mteb and asked.output is None:
        raise InputError("--mteb leaves result files: name a folder for them with --output.")
    sources = find_sources(asked.folders, asked.choice, asked.only) if asked.folders else []
    tasks = official_tasks(asked.mteb, asked.choice.languages) if asked.mteb else []
    with joined() as processes, _workplace(asked.output, processes) as place:
        console = processes.speaking(console)
        cache = None if asked.output is None else Path(place) / _CORPORA_FOLDER
        benchmarks = [read_once(source, cache, processes) for source in sources]
        for warning in (text for benchmark in benchmarks for text in benchmark.warnings):
            console.print(f"[yellow]warning: {escape(warning)}[/yellow]", highlight=False)
        model = load_model(name_or_path)
        identity = processes.once(partial(model_identity, name_or_path, model))
        name = Path(name_or_path).resolve().name
        if benchmarks:
            prompts = _prompts(model, benchmarks, asked.instruction)
            bases = None
            if asked.output is not None:
                about = (identity, prompts, asked.metrics)
                bases = processes.once(partial(_bases, sources, *about))
            with stage_progress(console, name) as tick:
                judged = judge(
                    name,
                    model,
                    benchmarks,
                    Path(place),
                    prompts=prompts,
                    metrics=asked.metrics,
                    precision="auto",
                    tick=tick,
                    processes=processes,
                    bases=bases,
                )
            console.print(render_scores(judged.scores, baseline=name))
        if tasks and processes.first:
            label = name if Path(name_or_path).is_dir() else name_or_path
            found = judge_officially(
                label, identity, model, tasks, instruction=asked.instruction, output=Path(place)
            )
            console.print(_official_table(found))


def _workplace(output: Path | None, processes: Processes) -> Any:
    if output is None:
        return tempfile.TemporaryDirectory()
    processes.once(partial(output.mkdir, parents=True, exist_ok=True))
    return nullcontext(output)


def load_model(name_or_path: str) -> SentenceTransformer:
    """Loads an embedding model from a folder or from the hub.

    Raises:
        InputError: It cannot be loaded.
    """
    try:
        return SentenceTransformer(name_or_path)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"The model {name_or_path!r} cannot be loaded: {reason}") from None
    except SafetensorError as error:
        raise unreadable_weights(name_or_path, error) from None


def _prompts(
    model: SentenceTransformer, benchmarks: Sequence[Benchmark], instruction: str
) -> dict[str, str | None]:
    """Returns the query prompt of each benchmark that does not get the model's own."""
    if instruction:
        return {one.name: query_prompt(instruction) for one in benchmarks}
    kept = model.prompts
    instructed = takes_instructions(kept)
    prompts = {
        one.name: query_prompt(one.instruction)
        for one in benchmarks
        if instructed and one.instruction
    }
    return {**prompts, **{one.name: kept[one.name] for one in benchmarks if one.name in kept}}


def model_identity(name_or_path: str, model: BaseModel) -> str:
    """Returns what tells a model from a changed one: its content, or its commit on the hub."""
    folder = Path(name_or_path)
    if folder.is_dir():
        return digest(_contents([path for path in folder.rglob("*") if path.is_file()], folder))
    config = getattr(getattr(model[0], "auto_model", None), "config", None)
    return f"{name_or_path}@{getattr(config, '_commit_hash', None)}"


def _bases(
    sources: Sequence[Source],
    identity: str,
    prompts: dict[str, str | None],
    metrics: Sequence[str],
) -> dict[str, str]:
    """Returns a digest of all that the scores of each benchmark depend on, by its name."""
    read: dict[Path, str] = {}
    for path in {path for source in sources for path in source.files}:
        read[path] = content_digest(path)
    return {
        source.name: digest(
            {
                "model": identity,
                "prompt": prompts.get(source.name),
                "metrics": metrics_basis(metrics),
                "traits": list(source.traits),
                "files": [[path.name, read[path]] for path in source.files],
            }
        )
        for source in sources
    }


def _contents(files: Sequence[Path], folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): content_digest(path) for path in files}


def _official_table(scores: dict[str, float]) -> Table:
    table = Table("mteb task", "main score")
    for task, score in scores.items():
        table.add_row(task, f"{score:.3f}")
    return table
