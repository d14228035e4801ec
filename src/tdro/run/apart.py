"""Rows set apart from training, for learners that score models instead of following losses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdro.errors import InputError
from tdro.evaluation.benchmark import load_benchmark
from tdro.evaluation.holdout import write_holdout
from tdro.files import file_name
from tdro.learning.diagnosis import doubts_of_gains
from tdro.learning.losses import Floats
from tdro.mixture import Mixture
from tdro.progress import Tick
from tdro.prompts import query_prompt
from tdro.run.context import Context, warn_of_mixture
from tdro.run.models import Training, complete_training
from tdro.selection import HELPED, gains_told, selected, tells_gains
from tdro.settings import TrainingSettings
from tdro.stages import Stage
from tdro.tasks.training import TrainingTask, hold_out

if TYPE_CHECKING:
    from tdro.evaluation.development import DevelopmentSet

NOTHING_APART = (
    "No task has rows that can be set apart to score models on, a fifth of its rows at most: add "
    "rows until a task has five to train on, or use a method that learns in a loop, such as "
    "learning.method: tdro."
)
_CHUNK_TOKENS = 4096


@dataclass(frozen=True)
class Apart:
    """The tasks of a run without the rows set apart, and those rows as small benchmarks.

    Attributes:
        tasks: What models are trained on.
        rows: Rows of a task that were asked for.
        benchmarks: Folder of the benchmarks.
    """

    tasks: Sequence[TrainingTask]
    rows: int
    benchmarks: Path

    @property
    def names(self) -> list[str]:
        """Names of the tasks."""
        return [item.name for item in self.tasks]

    def weighed(self, weights: Floats) -> dict[str, float]:
        """Names weights that are in the order of the tasks."""
        return dict(zip(self.names, weights.tolist(), strict=True))


def set_apart(context: Context, place: str, rows: int, passages: int) -> Apart:
    """Sets rows of every task apart, of those that may be trained on: hold-outs judge retrievers.

    Args:
        context: The recipe at work.
        place: Folder of the benchmarks in the run directory.
        rows: Rows of a task; at most a fifth.
        passages: Passages of a benchmark, at least the judged ones.

    Raises:
        InputError: Every task is too small for a row to be set apart.
    """
    recipe = context.recipe
    split = [
        hold_out(item.task, rows, recipe.seed, "development", item.rows) for item in context.tasks
    ]
    if not any(len(item.held_out) for item in split):
        raise InputError(NOTHING_APART)

    def work(directory: Path, tick: Tick) -> dict[str, Any]:
        held = [item for item in split if len(item.held_out)]
        for done, item in enumerate(held, start=1):
            target = directory / file_name(item.name)
            write_holdout(item, target, passages=passages, seed=recipe.seed, group="development")
            tick(done, len(held), None)
        return {"queries": sum(len(item.held_out) for item in held)}

    inputs = {"rows": rows, "passages": passages, **context.identity}
    at = context.directory.complete(Stage("development sets", place, inputs, work))
    trained = zip(context.tasks_for(recipe.proxy), split, strict=True)
    return Apart([replace(item, rows=held.rows) for item, held in trained], rows, at)


def train_apart(
    context: Context,
    apart: Apart,
    label: str,
    place: str,
    encoder: Path,
    mixture: Mixture,
    settings: TrainingSettings,
) -> Path:
    """Returns the folder of a model of the proxy's kind, trained without the rows set apart."""
    more = {"development": apart.rows}
    proxy = context.recipe.proxy
    # What goes on from these models, averages them or scores them takes them whole.
    settings = settings.model_copy(update={"save_adapter": False})
    return complete_training(
        context,
        Training(label, label, place, encoder, proxy, apart.tasks, mixture, settings, more),
    )


def development_set(context: Context, apart: Apart, model_at: Path) -> "DevelopmentSet":
    """Returns the rows set apart as benchmarks, tokenised by the model of a stage."""
    from tdro.run import work as at_work

    proxy = context.recipe.proxy
    folders = sorted(path.parent for path in apart.benchmarks.glob("*/queries.jsonl.gz"))
    benchmarks = [load_benchmark(folder, cache=apart.benchmarks) for folder in folders]
    prompts = {one.name: query_prompt(one.instruction) for one in benchmarks if proxy.instructed}
    return at_work.DevelopmentSet(
        at_work.load_model(model_at),
        benchmarks,
        prompts,
        chunk_tokens=_CHUNK_TOKENS,
        precision=proxy.precision,
    )


def warn_of_gains(context: Context, place: str, mixture_at: Path) -> None:
    """Warns of tasks that further rows do not help, by the gains of a finished mixture."""
    gains = gains_told(Mixture.load(mixture_at / "last.json"))
    warn_of_mixture(context, place, doubts_of_gains(*gains))


def save_mixture(
    context: Context, directory: Path, weights: Mapping[str, float], told: Mapping[str, Any]
) -> None:
    """Writes what a learner without a loop found, and the selections from it.

    Args:
        context: The recipe at work.
        directory: Folder of the mixture.
        weights: Weight of each task.
        told: What else its file says, beside the method and its settings.
    """
    recipe, learning = context.recipe, context.recipe.learning
    settings = getattr(recipe, learning.section).model_dump()
    details = {"method": learning.method, "kept": True, **settings, **told}
    mixture = Mixture(weights, context.sizes, details)
    mixture.save(directory / "last.json")
    for selection in ("top-0.7", *([HELPED] if tells_gains(mixture) else [])):
        selected(mixture, selection).save(directory / f"{selection}.json")
