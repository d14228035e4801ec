"""What would stop a run, or should be known of it, told before it starts: all of it, not the first.

No model is loaded, no model is fetched and nothing is written.
"""

import importlib.util
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

from tdro.errors import InputError
from tdro.estimate.rows import NotHereError, TaskGlance, glance_at
from tdro.estimate.sizes import skeleton
from tdro.evaluation.benchmark import read_documents
from tdro.evaluation.loaders.source import Glimpse
from tdro.evaluation.scores import check_metrics
from tdro.pretrained import pretrained_config, pretrained_tokenizer
from tdro.recipe import BenchmarkEntry, Recipe
from tdro.run.apart import NOTHING_APART
from tdro.run.entries import entries_of, run_of
from tdro.run.evaluation import outside_sources
from tdro.run.execute import wrong_trackers
from tdro.run.mixture import check_mixture_files
from tdro.run.outline import outline
from tdro.selection import split_selection
from tdro.settings import EncoderSettings, LearningSettings, TrainingSettings
from tdro.tasks.task import TaskSource
from tdro.tasks.training import held_out_rows

# What the stages of a run import, and the extra that brings it.
_NEEDED = ("bm25s", "ir_measures", "jinja2", "plotly", "scipy")


@dataclass
class Findings:
    """What was found.

    Attributes:
        problems: What would stop the run, a sentence each.
        notes: What should be known of it, likewise.
        glances: What was seen of each task that can be read.
    """

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    glances: list[TaskGlance] = field(default_factory=list)

    def trying(self, look: Callable[[], object]) -> None:
        """Keeps what a look at something raises as a problem."""
        try:
            look()
        except InputError as error:
            self.problems.append(str(error))


def preflight(
    recipe: Recipe,
    root: Path,
    *,
    devices: int = 1,
    prepared: Callable[[TaskSource], Path | None] = lambda source: None,
) -> Findings:
    """Looks at everything that a run reads.

    Args:
        recipe: The resolved recipe.
        root: Its run directory, which need not be there.
        devices: Processes that share the work.
        prepared: Tells where a task is prepared, if it is.
    """
    found = Findings()
    _look(recipe, root, [recipe], recipe.retrievers, devices, prepared, found)
    return found


def preflight_comparison(
    recipe: Recipe, root: Path, prepared: Callable[[TaskSource], Path | None]
) -> Findings:
    """Looks at everything that a comparison reads.

    Args:
        recipe: The resolved recipe.
        root: Its directory, which need not be there.
        prepared: Tells where a task is prepared, if it is.
    """
    found = Findings()
    runs: list[Recipe] = []
    found.trying(lambda: runs.extend(run_of(recipe, entry) for entry in entries_of(recipe)))
    _look(recipe, root, runs, recipe.compare.mixtures, 1, prepared, found)
    return found


def _look(
    recipe: Recipe,
    root: Path,
    runs: Sequence[Recipe],
    mixtures: Sequence[str],
    devices: int,
    prepared: Callable[[TaskSource], Path | None],
    found: Findings,
) -> None:
    _output(root, found)
    _packages(recipe, found)
    found.problems += wrong_trackers(recipe)
    for settings in dict.fromkeys((recipe.model, recipe.proxy)):
        _model(settings, found)
    names = _tasks(recipe, prepared, found)
    for one in runs:
        _sizes(one, names, devices, found)
    _mixtures(mixtures, set(names) - set(recipe.exclude_tasks), found)
    if mixtures:
        _benchmarks(recipe, names, found)
    found.problems = list(dict.fromkeys(found.problems))
    found.notes = list(dict.fromkeys(found.notes))


def _output(root: Path, found: Findings) -> None:
    there = next(one for one in (root, *root.resolve().parents) if one.exists())
    if not there.is_dir():
        found.problems.append(f"The run directory {root} is a file: use another --output.")
    elif not os.access(there, os.W_OK):
        found.problems.append(f"{there} cannot be written to: use another --output.")


def _packages(recipe: Recipe, found: Findings) -> None:
    wanted = dict.fromkeys(_NEEDED, "run")
    if any(s.lora for s in (recipe.reference, recipe.learning, recipe.training)):
        wanted["peft"] = "lora"
    for name, extra in wanted.items():
        if importlib.util.find_spec(name) is None:
            found.problems.append(
                f"A run needs the package {name!r}: pip install -e '.[{extra}]' in the clone."
            )


def _model(settings: EncoderSettings, found: Findings) -> None:
    name = settings.name_or_path
    # One that does not exist was told when the recipe was read.
    local = name.endswith(".gguf") or Path(name).is_absolute()
    if local and not Path(name).exists():
        return
    try:
        config = pretrained_config(settings, local=True)
    except InputError as error:
        if local or "layers:" in str(error):
            found.problems.append(str(error))
        else:
            found.notes.append(
                f"The model {name} is not on this machine: it is fetched when the run starts, and "
                "was not looked at."
            )
        return
    if local:
        found.trying(partial(pretrained_tokenizer, settings, config))
    if settings.kind == "static" and settings.dimensions is not None:
        found.trying(partial(skeleton, settings, local=True))


def _tasks(
    recipe: Recipe, prepared: Callable[[TaskSource], Path | None], found: Findings
) -> list[str]:
    try:
        sources = recipe.task_sources()
    except InputError as error:
        # A folder or file that does not exist was told when the recipe was read.
        if str(error) not in found.problems:
            found.problems.append(str(error))
        return []
    for source in sources:
        if source.path is None or source.path.exists():
            found.trying(partial(_task, recipe, source, prepared(source), found))
    return [source.name for source in sources]


def _task(recipe: Recipe, source: TaskSource, prepared: Path | None, found: Findings) -> None:
    try:
        glance = glance_at(source, prepared).limited(recipe.max_rows)
    except NotHereError as error:
        found.notes.append(str(error))
        return
    found.glances.append(glance)
    if glance.dropped:
        found.notes.append(
            f"Task {glance.name!r}: {glance.dropped} of the first rows of {source.place} cannot be "
            "used and will be dropped; `tdro tasks check` tells why."
        )
    if glance.exact and glance.passages < 2:
        found.problems.append(
            f"Task {glance.name!r} has one passage only, and nothing can be its negative: leave "
            "the task out or add passages."
        )


def _sizes(recipe: Recipe, names: Sequence[str], devices: int, found: Findings) -> None:
    tasks = {
        one.name: one.rows - held_out_rows(recipe.holdout, one.rows)
        for one in found.glances
        if one.name not in recipe.exclude_tasks
    }
    kinds = {stage.kind for stage in outline(recipe, list(tasks))}
    for section, settings in _trainings(recipe):
        if settings.batch_size % devices:
            found.problems.append(
                f"{section}.batch_size is {settings.batch_size}: with {devices} devices it must "
                f"be a multiple of {devices}."
            )
        small = [name for name, rows in tasks.items() if rows < settings.batch_size]
        if small:
            found.notes.append(
                f"{_listed(small)} {'has' if len(small) == 1 else 'have'} fewer rows to train on "
                f"than {section}.batch_size, {settings.batch_size}: batches of such a task are "
                "shorter, and hold its rows again and again."
            )
    _shares(tasks, devices, found)
    trained = set(names) - set(recipe.exclude_tasks)
    # Of one that cannot be looked at, rows may be set apart.
    if "development" in kinds and tasks and trained == set(tasks):
        asked = getattr(recipe, recipe.learning.section).development
        if not any(held_out_rows(asked, rows) for rows in tasks.values()):
            found.problems.append(NOTHING_APART)
    if "learning" in kinds:
        _learning(recipe.learning, tasks, devices, found)
    if recipe.reference.folds == 2 and "learning" in kinds:
        found.problems += [
            f"Task {name!r} has {rows} rows to train on and two folds need two: set "
            "reference.folds to 1 or leave the task out."
            for name, rows in tasks.items()
            if rows < 2
        ]


def _shares(tasks: dict[str, int], devices: int, found: Findings) -> None:
    """Tells of tasks whose batches are too short to be shared out over all devices."""
    distinct = {one.name: one.answers for one in found.glances if one.exact}
    for name, rows in tasks.items():
        # A passage is the positive of one row of a batch only.
        filled = min(rows, distinct.get(name, rows))
        if rows < devices:
            said = f"has {rows} rows to train on"
        elif filled < devices:
            said = f"fills batches of {filled} rows at most, its rows sharing their positives"
        else:
            continue
        found.problems.append(
            f"Task {name!r} {said}, fewer than the {devices} devices: use fewer devices or leave "
            "the task out."
        )


def _trainings(recipe: Recipe) -> Iterator[tuple[str, TrainingSettings]]:
    if recipe.needs_learning or "reference" in recipe.retrievers:
        yield "reference", recipe.reference
    if any(name != "reference" for name in recipe.retrievers):
        yield "training", recipe.training


def _learning(
    settings: LearningSettings, tasks: dict[str, int], devices: int, found: Findings
) -> None:
    parts = devices * settings.accumulation
    if settings.batch_size % parts:
        found.problems.append(
            f"learning.batch_size is {settings.batch_size}: with {devices} devices and an "
            f"accumulation of {settings.accumulation} it must be a multiple of {parts}."
        )
    if settings.batch_size < len(tasks):
        found.notes.append(
            f"learning.batch_size is {settings.batch_size} and there are {len(tasks)} tasks: no "
            "step sees all of them."
        )
    planned = settings.steps * settings.batch_size / max(1, len(tasks))
    small = [name for name, rows in tasks.items() if rows < planned]
    if small:
        found.notes.append(
            f"Learning gives each task {planned:,.0f} rows; {_listed(small)} "
            f"{'has' if len(small) == 1 else 'have'} fewer, and rows come again."
        )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:4])
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f"{'Task' if len(names) == 1 else 'Tasks'} {shown}{more}"


def _mixtures(entries: Sequence[str], trained: Collection[str], found: Findings) -> None:
    for entry in entries:
        path = split_selection(entry)[0]
        if path.endswith(".json") and Path(path).exists():
            found.trying(partial(check_mixture_files, [entry], trained))


def _glimpse(look: Callable[[], Glimpse]) -> None:
    corpus = look().corpus
    if not list(islice(read_documents(corpus), 1)):
        raise InputError(f"{corpus} holds no documents.")


def _benchmarks(recipe: Recipe, names: Sequence[str], found: Findings) -> None:
    found.trying(partial(check_metrics, recipe.metrics))
    named = [one.name for one in found.glances if held_out_rows(recipe.holdout, one.rows)]

    def look(entry: BenchmarkEntry) -> None:
        for source in outside_sources(entry):
            named.append(entry.name or source.name)
            if source.glimpse is not None:
                found.trying(partial(_glimpse, source.glimpse))

    for entry in recipe.benchmarks:
        if entry.path.exists():
            found.trying(partial(look, entry))
    found.problems += [
        f"Two benchmarks, or a benchmark and a task, are named {name!r}: give the benchmark "
        "another name in the recipe."
        for name in sorted({name for name in named if named.count(name) > 1})
    ]
    if not named and not recipe.benchmarks and names:
        found.problems.append(
            "There is nothing to judge on: set holdout above 0 or name a benchmark."
        )
