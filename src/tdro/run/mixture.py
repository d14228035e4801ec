"""Learning the mixture of a run: plan, reference losses, the learned weights."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from tdro.compare_settings import is_temperature
from tdro.errors import InputError
from tdro.files import BY_TASK_FILE, CHECKPOINTS, WINDOWS
from tdro.learning.diagnosis import diagnose
from tdro.learning.trajectory import TRAJECTORY_FILE
from tdro.mixture import Mixture
from tdro.plan import Plan, make_plan
from tdro.progress import Tick
from tdro.run.context import Context, mixture_label, warn_of_mixture
from tdro.run.curve import complete_learning_curve
from tdro.run.merging import complete_merge_search
from tdro.run.models import complete_encoder, complete_folds, complete_reference
from tdro.run.regression import complete_regression
from tdro.selection import is_selection, selected, split_selection
from tdro.settings import LEARNING_CURVE, MERGE_SEARCH, REGRESSION
from tdro.stages import Stage, fingerprint_of
from tdro.tasks.task import Task
from tdro.tasks.training import TrainingTask

_KINDS = ("last", "mean", "ema")
_HELD_OUT_FOLDER = "held_out"


@dataclass(frozen=True)
class _Reference:
    """A reference and the rows whose losses come from it."""

    folder: Path
    scores: list[TrainingTask]


def complete_mixture(context: Context, place: str = "mixture") -> Path:
    """Returns the folder of the learned mixture and prints what should make one doubt it."""
    method = context.recipe.learning.method
    if method == MERGE_SEARCH:
        return complete_merge_search(context, place)
    if method == LEARNING_CURVE:
        return complete_learning_curve(context, place)
    if method == REGRESSION:
        return complete_regression(context, place)
    return _learned_in_the_loop(context, place)


def _learned_in_the_loop(context: Context, place: str) -> Path:
    recipe, learning = context.recipe, context.recipe.learning
    tasks = [item.task for item in context.tasks_for(recipe.proxy)]
    references = _references(context)
    plan_at = _plan(context)
    losses_at = _reference_losses(context, references, plan_at, tasks)
    encoder = complete_encoder(context, recipe.proxy)
    details = learning.inputs()

    def learn(directory: Path, tick: Tick) -> dict[str, Any]:
        from tdro.run import work as at_work

        proxy = at_work.load_model(encoder)
        plan = Plan.load(plan_at)
        trainer = at_work.mixture_trainer(
            proxy,
            plan,
            plan.in_order(tasks),
            at_work.load_losses(losses_at),
            learning,
            directory,
            precision=recipe.proxy.precision,
            tick=tick,
            report_to=recipe.report_to,
        )
        learned = at_work.learn_weights(trainer, directory)
        steps = len(learned.trajectory.steps)
        rows = steps * learning.batch_size
        saved = {"steps_saved": learning.steps - steps} if steps < learning.steps else {}
        facts = {"steps": steps, "rows": rows, "tokens": learned.tokens, **saved}
        if not context.directory.processes.first:
            return facts
        learned.save(directory)
        for kind in _KINDS:
            told = {**details, "kept": kind == learning.keeps}
            mixture = learned.trajectory.mixture(kind, context.sizes, told)
            mixture.save(directory / f"{kind}.json")
        kept = Mixture.load(directory / f"{learning.keeps}.json")
        kept.top("0.7").save(directory / "top-0.7.json")
        return facts

    inputs = {
        "plan": fingerprint_of(plan_at),
        "reference_losses": fingerprint_of(losses_at),
        "encoder": fingerprint_of(encoder),
        "settings": details,
    }
    label = mixture_label(context, place)
    stage = Stage(label, place, inputs, learn, together=True, aids=[CHECKPOINTS])
    learned_at = context.directory.complete(stage)
    trajectory = pq.read_table(learned_at / TRAJECTORY_FILE)
    found = diagnose(trajectory, pq.read_table(losses_at / BY_TASK_FILE))
    warn_of_mixture(context, place, found.warnings)
    return learned_at


def mixture_named(context: Context, name: str, learned: Path | None) -> Mixture:
    """Returns the mixture that a retriever of the recipe asks for.

    Raises:
        InputError: It asks for a learned mixture and there is none.
    """
    if (simple := simple_mixture(context, name)) is not None:
        return simple
    if learned is None:
        raise InputError(f"The retriever {name!r} needs a learned mixture.")
    kept = learned / f"{context.recipe.learning.keeps}.json"
    if name == "learned":
        return Mixture.load(kept)
    if is_selection(name):
        return selected(Mixture.load(kept), name)
    return Mixture.load(learned / f"{name}.json")


def check_mixture_files(names: Iterable[str], tasks: Collection[str]) -> None:
    """Checks the mixture files among some names before anything is trained.

    Args:
        names: Names of mixtures, files among them, with selections behind them or without.
        tasks: Names of the training tasks.

    Raises:
        InputError: A file cannot be read, gives weight to a task that is not trained on, or does
            not tell what it is asked to select by.
    """
    for name, selection in map(split_selection, names):
        if name.endswith(".json"):
            try:
                mixture = Mixture.load(name)
                (selected(mixture, selection) if selection else mixture).aligned(tasks)
            except InputError as error:
                told = str(error)
                raise InputError(told if name in told else f"{name}: {told}") from None


def simple_mixture(context: Context, name: str) -> Mixture | None:
    """Returns the mixture of a name that asks for no learning, None where it does."""
    if name == "uniform":
        return Mixture.uniform(context.sizes)
    if name == "proportional":
        return Mixture.proportional(context.sizes)
    if is_temperature(name):
        return Mixture.proportional(context.sizes, float(name.removeprefix("temperature-")))
    if name.endswith(".json"):
        return Mixture.load(name)
    return None


def _plan(context: Context) -> Path:
    learning = context.recipe.learning
    sizes = {name: getattr(learning, name) for name in ("steps", "batch_size", "negatives")}

    def work(directory: Path, tick: Tick) -> dict[str, Any]:
        make_plan(context.tasks, **sizes, seed=context.recipe.seed).save(directory)
        return {"rows": sizes["steps"] * sizes["batch_size"]}

    inputs = {**sizes, **context.identity}
    return context.directory.complete(Stage("plan", "plan", inputs, work))


def _references(context: Context) -> list[_Reference]:
    """Returns what scores which part of every task: one reference, or one a half."""
    if context.recipe.reference.folds == 1:
        everything = context.tasks_for(context.recipe.proxy)
        return [_Reference(complete_reference(context), everything)]
    (one, half), (other, other_half) = complete_folds(context)
    return [_Reference(one, other_half), _Reference(other, half)]


def _reference_losses(
    context: Context,
    references: Sequence[_Reference],
    plan_at: Path,
    tasks: Sequence[Task],
) -> Path:
    recipe = context.recipe
    options: dict[str, Any] = {
        "temperature": recipe.learning.temperature,
        "precision": recipe.proxy.precision,
    }

    def work(directory: Path, tick: Tick) -> dict[str, Any]:
        from tdro.run import work as at_work

        processes = context.directory.processes
        plan = Plan.load(plan_at)
        planned = plan.in_order(tasks)
        split = plan.in_order(context.tasks)
        held = at_work.held_out_plan(split, recipe.learning.negatives, recipe.seed)
        shares = [
            at_work.Share(
                at_work.load_model(item.folder), plan.places_of(plan.in_order(item.scores))
            )
            for item in references
        ]
        chunk_tokens = recipe.learning.chunk_tokens
        how = {**options, "chunk_tokens": chunk_tokens, "tick": tick, "processes": processes}
        tokens = at_work.score_plan(shares, plan, planned, directory, **how)
        trained, further = [], None
        if len(shares) == 1:
            rows_of = at_work.read_trained_rows(references[0].folder)
            trained = [rows_of[name] for name in plan.tasks]
            further = directory / _HELD_OUT_FOLDER
            further.mkdir(exist_ok=True)
            everything = [at_work.Share(shares[0].model, np.arange(len(held.task_of)))]
            tokens += at_work.score_plan(everything, held, planned, further, **how)
        if processes.first:
            at_work.write_by_task(directory, plan, trained, held, further)
        rows = len(plan.task_of) + (len(held.task_of) if further else 0)
        return {"rows": rows, "tokens": tokens}

    inputs = {
        "reference": [fingerprint_of(item.folder) for item in references],
        "plan": fingerprint_of(plan_at),
        **options,
    }
    label, aids = "reference losses", [WINDOWS, _HELD_OUT_FOLDER]
    stage = Stage(label, "reference_losses", inputs, work, together=True, aids=aids)
    return context.directory.complete(stage)
