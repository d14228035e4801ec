"""``tdro run --dry-run``: how the stages stand, and all that would stop the run."""

import contextlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tdro.dryrun.directory import Told, style_of
from tdro.dryrun.graph import stage_graph
from tdro.dryrun.preflight import Findings, preflight
from tdro.errors import InputError
from tdro.estimate.command import misfit_sentences, misfits_of, prepared_at
from tdro.estimate.drawn import Drawn
from tdro.estimate.render import Device
from tdro.estimate.rows import BenchmarkGlance, glance_at_benchmarks
from tdro.estimate.stages import Estimator, StageEstimate
from tdro.recipe import Recipe
from tdro.recipe_file import checked_recipe
from tdro.run.outline import outline


def dry_run(
    path: Path, overrides: Sequence[str], root: Path, device: Device, console: Console
) -> list[str]:
    """Prints what a run would do, and looks for all that would stop it.

    No model is loaded or fetched, and nothing is written.

    Args:
        path: The recipe.
        overrides: Each ``key=value``.
        root: The run directory, which need not be there.
        device: What the run is to have; memory is looked at where it is told.
        console: Where to print.

    Returns:
        The problems, a sentence each.
    """
    recipe, problems = checked_recipe(path, overrides)
    if recipe is None:
        return problems
    prepared = partial(prepared_at, recipe, root)
    found = preflight(recipe, root, devices=device.count, prepared=prepared)
    problems += [one for one in found.problems if one not in problems]
    try:
        console.print(_table(stage_graph(recipe, root)), crop=False)
        if device.memory is not None:
            problems += _memory(recipe, device, found)
    except (InputError, FileNotFoundError) as error:
        # A file that is missing or broken was told above, and the stages depend on it.
        problems = problems or [str(error)]
    tell_last(found.notes, problems, "run", console)
    return problems


def tell_last(notes: Sequence[str], problems: Sequence[str], what: str, console: Console) -> None:
    """Prints what should be known of a run or a comparison, and whether nothing would stop it."""
    for note in dict.fromkeys(notes):
        console.print(note, highlight=False, markup=False, soft_wrap=True)
    if not problems:
        console.print(f"Nothing would stop this {what}.", style="green")


def _memory(recipe: Recipe, device: Device, found: Findings) -> list[str]:
    """Returns a sentence for each stage that does not fit the memory of a device."""
    names = [source.name for source in recipe.task_sources()]
    if {one.name for one in found.glances} != set(names):
        return []
    benchmarks: list[BenchmarkGlance] = []
    for entry in recipe.benchmarks:
        # One that cannot be read has been told.
        with contextlib.suppress(InputError):
            benchmarks += glance_at_benchmarks(entry)
    estimator = Estimator(Drawn(recipe, found.glances, benchmarks, local=True), device.count)
    stages: list[StageEstimate] = []
    for stage in outline(recipe, names):
        try:
            stages.append(estimator.estimate(stage))
        except InputError as error:
            found.notes.append(f"The memory of {stage.label} is not known: {error}")
    return misfit_sentences(misfits_of(estimator, stages, device))


def _table(told: Sequence[Told]) -> Table:
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    drawn.add_column("stage", min_width=16, overflow="fold")
    drawn.add_column("state", no_wrap=True)
    drawn.add_column("why", overflow="fold")
    for one in told:
        drawn.add_row(Text(one.label), one.state, Text(one.why), style=style_of(one.state))
    return drawn
