"""``tdro compare``: a retriever for every mixture, budget and seed, at equal compute."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from tdro.errors import InputError
from tdro.evaluation.comparison import comparison_rows, render_comparison
from tdro.evaluation.scores import BASELINE, SCORES_FILE
from tdro.files import (
    COSTS_FILE,
    MODEL_FOLDER,
    RECIPE_FILE,
    SAMPLING_FILE,
    TRAINED_ROWS_FILE,
    WARNINGS_FILE,
    discard,
    read_json,
    write_json,
    write_table,
    write_text,
)
from tdro.processes import Processes, joined
from tdro.recipe import Recipe
from tdro.report.comparison import Compared, headline, write_comparison
from tdro.run.context import Context, open_context, prepare_tasks
from tdro.run.costs import Cost, learner_cost, training_cost
from tdro.run.entries import LONGER, SOUP, Entry, complete_entry, entries_of, settings_of
from tdro.run.evaluation import (
    Judge,
    complete_scores,
    holdout_judges,
    outside_judges,
    scores_stage,
)
from tdro.run.execute import alone, check_trackers
from tdro.run.mixture import check_mixture_files, simple_mixture
from tdro.run.overlap import warn_of_overlaps
from tdro.stages import RunDirectory


@dataclass(frozen=True)
class _Seed:
    """One seed of a comparison, done.

    Attributes:
        scores: Scores of all entries.
        costs: A line for each entry.
        warnings: What it warned of.
        worked: Whether anything was done, not found done before.
    """

    scores: pa.Table
    costs: list[dict[str, Any]]
    warnings: list[str]
    worked: bool


def compare(recipe: Recipe, root: Path, console: Console) -> Path:
    """Trains and judges a retriever for every entry and seed; does only what is not done.

    Args:
        recipe: The resolved recipe.
        root: Directory of the comparison; each seed is a run directory in it.
        console: Where progress and tables go.

    Returns:
        Path of the report.

    Raises:
        InputError: Something in the recipe's files is wrong, or another process is at work in
            the directory.
    """
    check_trackers(recipe)
    entries = entries_of(recipe)
    with joined() as processes, alone(root, processes):
        console = processes.speaking(console)
        processes.once(lambda: write_text(root / RECIPE_FILE, recipe.to_yaml()))
        scores: list[pa.Table] = []
        costs: list[dict[str, Any]] = []
        warnings: dict[str, list[int]] = {}
        seeds = recipe.compared_seeds
        for seed in seeds:
            done = _one_seed(recipe, entries, root, seed, console, processes)
            column = pa.array([seed] * len(done.scores), pa.int64())
            scores.append(done.scores.append_column("seed", column))
            costs += [{"seed": seed, **line} for line in done.costs]
            for warning in dict.fromkeys(done.warnings):
                warnings.setdefault(warning, []).append(seed)
            if done.worked or seed == seeds[-1]:
                # After each seed, so that a long comparison shows what it has.
                write = partial(_write, root, scores, costs, _with_seeds(warnings))
                compared, page = processes.once(write)
        rows = comparison_rows(compared.everything)
        console.print(render_comparison(rows, compared.metrics))
        for sentence in headline(compared):
            console.print(sentence, highlight=False, markup=False)
        place = f"Tables and page: {page.parent}"
        console.print(place, highlight=False, soft_wrap=True, markup=False)
    return page


def _with_seeds(warnings: Mapping[str, Sequence[int]]) -> list[str]:
    return [
        f"Seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}: {warning}"
        for warning, seeds in warnings.items()
    ]


def _write(
    root: Path,
    scores: Sequence[pa.Table],
    costs: Sequence[dict[str, Any]],
    warnings: Sequence[str],
) -> tuple[Compared, Path]:
    write_table(root / SCORES_FILE, pa.concat_tables(scores))
    write_table(root / COSTS_FILE, pa.Table.from_pylist(costs))
    write_json(root / WARNINGS_FILE, warnings)
    return write_comparison(root)


def compare_seed(recipe: Recipe, root: Path, seed: int, console: Console) -> None:
    """Does one seed of a comparison, beside other processes that do others.

    Args:
        recipe: The resolved recipe.
        root: Directory of the comparison.
        seed: The seed.
        console: Where progress goes.

    Raises:
        InputError: The comparison has no such seed, something in the recipe's files is wrong, or
            another process is at work on the seed.
    """
    check_trackers(recipe)
    seeds = recipe.compared_seeds
    if seed not in seeds:
        raise InputError(
            f"Seed {seed} is not among those of the comparison ({', '.join(map(str, seeds))}): "
            "set compare.seeds in the recipe."
        )
    with joined() as processes:
        console = processes.speaking(console)
        _one_seed(recipe, entries_of(recipe), root, seed, console, processes)
        told = f"Seed {seed} is done; the tables are written without --seed."
        console.print(told, highlight=False)


def _one_seed(
    recipe: Recipe,
    entries: Sequence[Entry],
    root: Path,
    seed: int,
    console: Console,
    processes: Processes,
) -> _Seed:
    shared = RunDirectory(root, console, shared=True, processes=processes)
    console.rule(f"seed {seed}")
    with alone(root / f"seed-{seed}", processes):
        context = open_context(
            recipe.model_copy(update={"seed": seed}),
            RunDirectory(root / f"seed-{seed}", console, processes=processes),
            shared,
            prepare_tasks(recipe, shared),
        )
        check_mixture_files(recipe.compare.mixtures, context.sizes)
        outside = outside_judges(context)
        warn_of_overlaps(context, outside)
        judges = holdout_judges(context) + outside
        scores, spent = [], []
        for entry in entries:
            model, found = _trained_and_scored(context, entry, judges)
            scores.append(found)
            spent.append(_spent(context, entry, model))
        if not recipe.compare.keep_models:
            # Kept until now: where it is the reference too, it need not be trained again.
            _drop(context, context.directory.root / "retrievers" / BASELINE)
        directory = context.directory
        return _Seed(pa.concat_tables(scores), spent, directory.warnings, directory.worked)


def _trained_and_scored(
    context: Context, entry: Entry, judges: Sequence[Judge]
) -> tuple[Path, pa.Table]:
    """Returns the folder of a retriever and its scores.

    Where models are not kept, one that has its scores is neither there nor needed; it is trained
    again when they are stale.
    """
    settings = settings_of(context, entry)
    model = complete_entry(context, entry)
    stage = scores_stage(context, entry.label, model, judges, settings)
    once = context.directory.processes.once
    there = once((model / MODEL_FOLDER).is_dir)
    if not there and not context.directory.is_done(stage):
        context.directory.undo(model)
        model = complete_entry(context, entry)
    scores = complete_scores(context, stage)
    if not context.recipe.compare.keep_models and entry.label != BASELINE:
        _drop(context, model)
    return model, scores


def _drop(context: Context, model: Path) -> None:
    context.directory.processes.once(lambda: discard(model / MODEL_FOLDER))


def _spent(context: Context, entry: Entry, model: Path) -> dict[str, Any]:
    simple = entry.base == LONGER or simple_mixture(context, entry.base) is not None
    learner = Cost() if simple else learner_cost(context, entry.base)
    line: dict[str, Any] = {
        "retriever": entry.label,
        "base_label": replace(entry, budget=1.0).label,
        "budget": entry.budget,
    }
    if entry.base == SOUP:
        # All that it took is in the experts.
        own, distinct, collections = Cost(), 0, len(context.tasks)
    else:
        own = training_cost(context, model)
        trained = pq.read_table(model / TRAINED_ROWS_FILE)["rows"]
        distinct = sum(len(rows) for rows in trained)
        collections = sum(count > 0 for count in read_json(model / SAMPLING_FILE)["batches"])
    line |= {"collections": collections, "distinct_rows": distinct}
    for name, cost in (("training", own), ("learning", learner)):
        line |= {
            f"{name}_rows": cost.rows,
            f"{name}_tokens": cost.tokens,
            f"{name}_flops": float(cost.flops),
            f"{name}_seconds": cost.seconds,
        }
    return line
