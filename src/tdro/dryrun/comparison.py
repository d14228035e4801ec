"""How the cells of a comparison stand, told by going through it without doing it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tdro.dryrun.directory import (
    DONE,
    MISSING,
    OPEN,
    DryDirectory,
    Told,
    hollow_holdouts,
    hollow_outside,
    style_of,
)
from tdro.dryrun.preflight import preflight
from tdro.errors import InputError
from tdro.estimate.command import prepared_at
from tdro.files import MANIFEST_FILE, file_name
from tdro.recipe import Recipe
from tdro.recipe_file import checked_recipe
from tdro.run.context import Context, open_context, prepare_tasks
from tdro.run.entries import Entry, complete_entry, entries_of, settings_of
from tdro.run.evaluation import Judge, scores_stage
from tdro.stages import NotDoneError


@dataclass(frozen=True)
class Cell:
    """An entry of a comparison with one seed.

    Attributes:
        label: Name of the entry.
        seed: The seed.
        state: That of its scores, as a stage of a run has one (see ``Told``).
        why: What has changed, or what it waits for; may be empty.
        because: What has changed of the stage that it waits for; may be empty.
    """

    label: str
    seed: int
    state: str
    why: str = ""
    because: str = ""


def dry_compare(path: Path, overrides: Sequence[str], root: Path, console: Console) -> list[str]:
    """Prints which cells of a comparison are done, and looks for all that would stop it.

    No model is loaded or fetched, and nothing is written.

    Args:
        path: The recipe.
        overrides: Each ``key=value``.
        root: The directory of the comparison, which need not be there.
        console: Where to print.

    Returns:
        The problems, a sentence each.
    """
    recipe, problems = checked_recipe(path, overrides)
    if recipe is None:
        return problems
    prepared = partial(prepared_at, recipe, root)
    try:
        found = preflight(recipe, root, prepared=prepared, compared=True)
        problems += [one for one in found.problems if one not in problems]
        cells = comparison_cells(recipe, root)
    except (InputError, FileNotFoundError) as error:
        # A file that is missing or broken was told above, and the cells depend on it.
        return problems or [str(error)]
    console.print(_table(cells), crop=False)
    done = sum(cell.state == DONE for cell in cells)
    console.print(f"{done} of {len(cells)} cells are done.", highlight=False)
    reasons = dict.fromkeys(cell.because for cell in cells if cell.because)
    for note in (*reasons, *found.notes):
        console.print(note, highlight=False, markup=False, soft_wrap=True)
    if not problems:
        console.print("Nothing would stop this comparison.", style="green")
    return problems


def comparison_cells(recipe: Recipe, root: Path) -> list[Cell]:
    """Tells of every entry and seed whether it is done, entry by entry.

    Args:
        recipe: The resolved recipe.
        root: The directory of the comparison, which need not be there.

    Raises:
        InputError: Two entries have one name, a task cannot be found, or a mixture or a benchmark
            cannot be read.
    """
    shared = DryDirectory(root)
    entries = entries_of(recipe)
    directories = {seed: DryDirectory(root / f"seed-{seed}") for seed in recipe.compared_seeds}
    try:
        prepared = prepare_tasks(recipe, shared)
        outside = hollow_outside(recipe.benchmarks)
    except NotDoneError as error:
        return [
            _waiting(error, shared.told, directory, entry, seed)
            for entry in entries
            for seed, directory in directories.items()
        ]
    contexts = [
        open_context(recipe.model_copy(update={"seed": seed}), directory, shared, prepared)
        for seed, directory in directories.items()
    ]
    return [_cell(context, entry, outside) for entry in entries for context in contexts]


def _cell(context: Context, entry: Entry, outside: Sequence[Judge]) -> Cell:
    directory = context.directory
    assert isinstance(directory, DryDirectory)
    try:
        model = complete_entry(context, entry)
        found = directory.stands(model)
        if found.state == DONE:
            judges = [*hollow_holdouts(context), *outside]
            stage = scores_stage(context, entry.label, model, judges, settings_of(context, entry))
            found = directory.stands(directory.complete(stage))
            if found.state == MISSING and not found.why:
                found = replace(found, why="its retriever is trained")
    except NotDoneError as error:
        return _waiting(error, directory.told, directory, entry, context.recipe.seed)
    return Cell(entry.label, context.recipe.seed, found.state, found.why)


def _waiting(
    error: NotDoneError,
    told: Mapping[str, Told],
    directory: DryDirectory,
    entry: Entry,
    seed: int,
) -> Cell:
    """Returns a cell that depends on the result of a stage that is to be done."""
    awaited = told.get(error.place, Told(error.place, MISSING))
    place = f"runs/{file_name(entry.label)}"
    there = (directory.root / place / MANIFEST_FILE).is_file()
    because = f"{awaited.label}: {awaited.state}, {awaited.why}" if awaited.why else ""
    state = OPEN if there else MISSING
    return Cell(entry.label, seed, state, f"waits for {awaited.label}", because)


def _table(cells: Sequence[Cell]) -> Table:
    """Draws the cells, those of an entry that stand alike in one line."""
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    drawn.add_column("mixture", min_width=16, overflow="fold")
    drawn.add_column("seeds", min_width=5, overflow="fold")
    drawn.add_column("state", no_wrap=True)
    drawn.add_column("why", overflow="fold")
    alike: dict[tuple[str, str, str], list[int]] = {}
    for cell in cells:
        alike.setdefault((cell.label, cell.state, cell.why), []).append(cell.seed)
    for (label, state, why), seeds in alike.items():
        told = ", ".join(map(str, seeds))
        drawn.add_row(Text(label), told, state, Text(why), style=style_of(state))
    return drawn
