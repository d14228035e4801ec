"""How the cells of a comparison stand, told by going through it without doing it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tdro.dryrun.command import tell_last
from tdro.dryrun.directory import (
    DONE,
    MISSING,
    OPEN,
    STALE,
    DryDirectory,
    Told,
    hollow_holdouts,
    hollow_outside,
    style_of,
)
from tdro.dryrun.preflight import preflight_comparison
from tdro.errors import InputError
from tdro.estimate.command import prepared_at
from tdro.files import MANIFEST_FILE, MODEL_FOLDER, file_name
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
        state: That of its scores, or of its retriever until that is done (see ``Told``).
        why: What has changed, or what it waits for; may be empty.
    """

    label: str
    seed: int
    state: str
    why: str = ""


@dataclass(frozen=True)
class Standing:
    """How a comparison stands.

    Attributes:
        cells: Its cells, entry by entry.
        stale: What has changed of the stages that several cells wait for, a sentence each.
    """

    cells: list[Cell]
    stale: list[str]


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
    found = preflight_comparison(recipe, root, partial(prepared_at, recipe, root))
    problems += [one for one in found.problems if one not in problems]
    notes = found.notes
    try:
        standing = comparison_standing(recipe, root)
        console.print(_table(standing.cells), crop=False)
        done = sum(cell.state == DONE for cell in standing.cells)
        console.print(f"{done} of {len(standing.cells)} cells are done.", highlight=False)
        notes = [*standing.stale, *notes]
    except (InputError, FileNotFoundError) as error:
        # A file that is missing or broken was told above, and the cells depend on it.
        problems = problems or [str(error)]
    tell_last(notes, problems, "comparison", console)
    return problems


def comparison_standing(recipe: Recipe, root: Path) -> Standing:
    """Tells of every entry and seed whether it is done.

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
    except NotDoneError as error:
        cells = [
            _waiting(error, shared.told, directory, entry, seed)
            for entry in entries
            for seed, directory in directories.items()
        ]
        return Standing(cells, _stale([shared]))
    contexts = [
        open_context(recipe.model_copy(update={"seed": seed}), directory, shared, prepared)
        for seed, directory in directories.items()
    ]
    outside = cache(partial(hollow_outside, recipe.benchmarks))
    cells = [_cell(context, entry, outside) for entry in entries for context in contexts]
    return Standing(cells, _stale([shared, *directories.values()]))


def _stale(directories: Sequence[DryDirectory]) -> list[str]:
    """Tells what has changed of stages that are no cells, once for all seeds."""
    sentences = [
        f"{told.label}: stale, {told.why}"
        for directory in directories
        for place, told in directory.told.items()
        if told.state == STALE and place.split("/")[0] not in ("retrievers", "runs")
    ]
    return list(dict.fromkeys(sentences))


def _cell(context: Context, entry: Entry, outside: Callable[[], list[Judge]]) -> Cell:
    directory = context.directory
    assert isinstance(directory, DryDirectory)
    try:
        model = complete_entry(context, entry)
        found = directory.stands(model)
        if found.state == DONE:
            judges = [*hollow_holdouts(context), *outside()]
            stage = scores_stage(context, entry.label, model, judges, settings_of(context, entry))
            found = directory.stands(directory.complete(stage))
            if found.state != DONE and not (model / MODEL_FOLDER).is_dir():
                again = "its retriever was not kept and is trained again"
                found = replace(found, why="; ".join(filter(None, [found.why, again])))
            elif found.state == MISSING and not found.why:
                found = replace(found, why="its retriever is trained")
    except NotDoneError as error:
        assert isinstance(context.shared, DryDirectory)
        told = {**context.shared.told, **directory.told}
        return _waiting(error, told, directory, entry, context.recipe.seed)
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
    state = OPEN if there else MISSING
    return Cell(entry.label, seed, state, f"waits for {awaited.label}")


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
