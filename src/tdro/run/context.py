"""What every stage of a run needs: the recipe, its directory and its prepared tasks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tdro.files import digest, file_name
from tdro.progress import Tick
from tdro.recipe import Recipe
from tdro.settings import EncoderSettings
from tdro.stages import RunDirectory, Stage
from tdro.tasks.identity import reading_options, source_identity
from tdro.tasks.prepare import prepare_task
from tdro.tasks.task import ROWS_COLUMNS, Task, TaskSource
from tdro.tasks.training import TrainingTask, hold_out


@dataclass(frozen=True)
class Context:
    """A recipe at work.

    Attributes:
        recipe: The resolved recipe.
        directory: The run directory.
        shared: Where that lies which no seed changes: prepared tasks and encoders.
        tasks: The tasks, split into rows to train on and rows held out.
        excluded: The tasks that are not trained on, split alike.
        identity: What a stage that trains on the tasks depends on.
    """

    recipe: Recipe
    directory: RunDirectory
    shared: RunDirectory
    tasks: tuple[TrainingTask, ...]
    excluded: tuple[TrainingTask, ...]
    identity: dict[str, Any]

    @property
    def sizes(self) -> dict[str, int]:
        """Rows of each task that may be trained on."""
        return {item.name: len(item.rows) for item in self.tasks}

    def tasks_for(self, settings: EncoderSettings) -> list[TrainingTask]:
        """Returns the tasks, without their instructions where the model gets none."""
        if settings.instructed:
            return list(self.tasks)
        return [replace(item, task=replace(item.task, instruction="")) for item in self.tasks]


def mixture_label(context: Context, place: str) -> str:
    """Returns the name of a learned mixture for people; a comparison has several."""
    return "mixture" if place == "mixture" else f"mixture of {context.recipe.learning.method}"


def warn_of_mixture(context: Context, place: str, warnings: Iterable[str]) -> None:
    """Warns of a learned mixture, by its method's name where there are several."""
    name = "" if place == "mixture" else f"{context.recipe.learning.method}: "
    for warning in warnings:
        context.directory.warn(f"{name}{warning}")


def open_context(
    recipe: Recipe,
    directory: RunDirectory,
    shared: RunDirectory | None = None,
    prepared: Sequence[Task] | None = None,
) -> Context:
    """Returns a recipe at work.

    Args:
        recipe: The resolved recipe.
        directory: The run directory.
        shared: Where that lies which no seed changes; the run directory when absent.
        prepared: What :func:`prepare_tasks` returned; done here when absent.
    """
    shared = shared or directory
    if prepared is None:
        prepared = prepare_tasks(recipe, shared)
    split = [hold_out(task, recipe.holdout, recipe.seed) for task in prepared]
    tasks = tuple(item for item in split if item.name not in recipe.exclude_tasks)
    excluded = tuple(item for item in split if item.name in recipe.exclude_tasks)
    options = {name: getattr(recipe, name) for name in ("max_rows", "holdout", "seed")}
    return Context(
        recipe, directory, shared, tasks, excluded, {**options, "tasks": contents(tasks)}
    )


def prepare_tasks(recipe: Recipe, directory: RunDirectory) -> list[Task]:
    """Prepares the tasks of a recipe, where that is not done yet."""
    return [prepared_task(recipe, directory, source) for source in recipe.task_sources()]


def contents(tasks: Sequence[TrainingTask]) -> dict[str, str]:
    """Returns what tells each task from a changed one."""
    return {item.name: digest([item.task.content, item.task.instruction]) for item in tasks}


def prepared_task(recipe: Recipe, directory: RunDirectory, source: TaskSource) -> Task:
    """Prepares a task, where that is not done yet."""
    return Task.open(directory.complete(preparation(recipe, source)))


def preparation(recipe: Recipe, source: TaskSource) -> Stage:
    """Returns the stage that prepares a task."""

    def work(target: Path, tick: Tick) -> dict[str, Any]:
        report = prepare_task(source, target, max_rows=recipe.max_rows, seed=recipe.seed)
        dropped = sum(report.dropped.values())
        return {"rows": report.rows} | ({"dropped": dropped} if dropped else {})

    inputs = {
        "source": source_identity(source),
        "name": source.name,
        "instruction": source.instruction,
        "max_rows": recipe.max_rows,
        "seed": recipe.seed,
        "rows": ", ".join(ROWS_COLUMNS),
        **reading_options(source),
    }
    place = f"tasks/{file_name(source.name)}"
    return Stage(f"task {source.name}", place, inputs, work)
