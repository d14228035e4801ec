"""Judging one model on some benchmarks, outside a run."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from sentence_transformers import SentenceTransformer

from tdro.errors import InputError
from tdro.evaluation.benchmark import load_benchmark
from tdro.evaluation.judge import judge
from tdro.evaluation.scores import check_metrics, render_scores
from tdro.processes import joined
from tdro.progress import stage_progress
from tdro.prompts import query_prompt
from tdro.training import quiet_libraries


def evaluate_model(
    name_or_path: str,
    folders: Sequence[Path],
    instruction: str,
    metrics: Sequence[str],
    output: Path | None,
    console: Console,
) -> None:
    """Judges a SentenceTransformer on benchmarks and prints the table.

    Args:
        name_or_path: Folder or hub id of the model.
        folders: Benchmarks in the BEIR layout.
        instruction: What the queries ask for; without, a task's hold-out gets the prompt that
            the model keeps for that task.
        metrics: By their names in ir_measures.
        output: Folder for TREC run files and ``scores.parquet``; nothing is kept without.
        console: Where to print.

    Raises:
        InputError: The model or a benchmark cannot be read, or a metric is unknown.
    """
    check_metrics(metrics)
    quiet_libraries()
    benchmarks = [load_benchmark(folder) for folder in folders]
    try:
        model = SentenceTransformer(name_or_path)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"The model {name_or_path!r} cannot be loaded: {reason}") from None
    given = dict.fromkeys((benchmark.name for benchmark in benchmarks), query_prompt(instruction))
    name = Path(name_or_path).name
    with joined() as processes, tempfile.TemporaryDirectory() as temporary:
        console = processes.speaking(console)
        with stage_progress(console, name) as tick:
            judged = judge(
                name,
                model,
                benchmarks,
                Path(temporary),
                prompts=given if instruction else model.prompts,
                metrics=metrics,
                precision="auto",
                tick=tick,
                processes=processes,
            )
        if output is not None and processes.first:
            shutil.copytree(temporary, output, dirs_exist_ok=True)
        console.print(render_scores(judged.scores, baseline=name))
