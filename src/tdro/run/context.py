"""What every stage of a run needs: the recipe, its directory and its prepared tasks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tdro.files import digest, file_name
from tdro.progress import Tick
from tdro.recipe import Recipe
from tdro.settings import EncoderSettings
from tdro.stages import RunDirectory, Stage, file_identity
from tdro.tasks.parts import files_of
from tdro.tasks.prepare import prepare_task
from tdro.tasks.task import DEFAULT_SPLIT, Task, TaskSource
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

    def encoder_place(self, settings: EncoderSettings) -> str:
        """Returns where the pretrained model lies; proxy and model share it where they are one."""
        return "encoders/model" if settings == self.recipe.model else "encoders/proxy"


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


def _source_identity(source: TaskSource) -> dict[str, Any]:
    """Returns what tells where a task is read from, and every file of it from a changed one."""
    if source.hub is not None:
        return {"dataset": source.hub.name, "revision": source.hub.revision} | (
            {"config": source.hub.config, "split": source.split or DEFAULT_SPLIT}
        )
    path = source.path
    if path is None or path.is_file():
        return file_identity(path) if path else {}
    states = [(str(file.relative_to(path)), file.stat()) for file in files_of(path)]
    return {
        "path": str(path),
        "files": digest([[name, one.st_size, one.st_mtime_ns] for name, one in states]),
    }


def _reading_options(source: TaskSource) -> dict[str, Any]:
    """Returns how a task is read, as far as it says; without that a finished stage stays so."""
    options: dict[str, Any] = {}
    if source.columns is not None:
        options["columns"] = source.columns.model_dump(mode="json")
    if source.filter is not None:
        options["filter"] = source.filter.model_dump(mode="json")
    if source.max_rows is not None:
        options["task_max_rows"] = source.max_rows
    if source.split is not None:
        options["split"] = source.split
    return options


def prepared_task(recipe: Recipe, directory: RunDirectory, source: TaskSource) -> Task:
    """Prepares a task, where that is not done yet."""

    def work(target: Path, tick: Tick) -> dict[str, Any]:
        report = prepare_task(source, target, max_rows=recipe.max_rows, seed=recipe.seed)
        dropped = sum(report.dropped.values())
        return {"rows": report.rows} | ({"dropped": dropped} if dropped else {})

    inputs = {
        "source": _source_identity(source),
        "name": source.name,
        "instruction": source.instruction,
        "max_rows": recipe.max_rows,
        "seed": recipe.seed,
        **_reading_options(source),
    }
    place = f"tasks/{file_name(source.name)}"
    return Task.open(directory.complete(Stage(f"task {source.name}", place, inputs, work)))
