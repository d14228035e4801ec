"""The stages of a run, in order, as the recipe alone tells them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from tdro.evaluation.scores import BASELINE
from tdro.files import file_name
from tdro.recipe import Recipe, retriever_name
from tdro.run.merging import CONFIRMED
from tdro.settings import (
    LEARNING_CURVE,
    MERGE_SEARCH,
    REGRESSION,
    EncoderSettings,
    LearningSettings,
    TrainingSettings,
)

Kind = Literal[
    "task",
    "overlaps",
    "encoder",
    "training",
    "copy",
    "plan",
    "losses",
    "learning",
    "development",
    "search",
    "judging",
    "holdouts",
    "scores",
]

# Where proxy and model are alike these are one training, done for the first of them.
_TWINS = ("reference", f"retrievers/{BASELINE}")


@dataclass(frozen=True)
class Planned:
    """A stage of a run.

    Attributes:
        kind: What it does; ``copy`` takes what another stage has done already.
        label: Its name for people, that of the stage.
        place: Its folder in the run directory.
        model: How the model at work is built; None where there is none.
        settings: How it is trained; None where nothing is.
        mixture: Training: name of the mixture, as a retriever has it.
        task: Name of the task it is about; empty for all of them.
        share: Training: the share of every task's rows that it may draw.
        apart: Training: whether the rows of the development sets are left out.
        models: Models that it reads.
        passes: ``search`` and ``judging``: models that go through the development sets.
    """

    kind: Kind
    label: str
    place: str
    model: EncoderSettings | None = None
    settings: TrainingSettings | LearningSettings | None = None
    mixture: str = "uniform"
    task: str = ""
    share: float = 1.0
    apart: bool = False
    models: int = 1
    passes: int = 0


def outline(recipe: Recipe, names: Sequence[str]) -> list[Planned]:
    """Returns the stages of ``tdro run``, in the order in which they are done.

    Args:
        recipe: The resolved recipe.
        names: Names of all tasks, excluded ones among them.
    """
    found = [
        Planned("task", f"task {name}", f"tasks/{file_name(name)}", task=name) for name in names
    ]
    trained = [name for name in names if name not in recipe.exclude_tasks]
    found.append(Planned("overlaps", "overlaps of tasks", "overlaps/tasks"))
    if recipe.holdout and len(names) > len(trained):
        found.append(Planned("overlaps", "overlaps with excluded tasks", "overlaps/excluded"))
    if recipe.retrievers and recipe.benchmarks:
        found.append(Planned("overlaps", "overlaps with benchmarks", "overlaps/benchmarks"))
    if recipe.needs_learning:
        found += _learning(recipe, trained)
    for entry in recipe.retrievers:
        if entry == "reference":
            found += [_encoder(recipe, recipe.proxy), _reference(recipe)]
        else:
            found += [_encoder(recipe, recipe.model), _retriever(recipe, entry)]
    if recipe.retrievers:
        found += _judging(recipe, excluded=len(names) > len(trained))
    # A stage that several others need is done for the first of them.
    first: dict[str, Planned] = {}
    for stage in found:
        first.setdefault(stage.place, stage)
    once = list(first.values())
    twins = [place for place, stage in enumerate(once) if stage.place in _TWINS]
    if len(twins) == len(_TWINS) and trained_once(recipe):
        once[twins[1]] = copied(once[twins[1]])
    return once


def copied(stage: Planned) -> Planned:
    """Returns a stage that takes what another one has done already."""
    return Planned("copy", stage.label, stage.place)


def trained_once(recipe: Recipe) -> bool:
    """Tells whether reference and uniform retriever are one training."""
    reference, training = recipe.reference.inputs("folds"), recipe.training.inputs("folds")
    return recipe.proxy == recipe.model and reference == training


def _learning(recipe: Recipe, names: Sequence[str]) -> Iterator[Planned]:
    if recipe.learning.method == MERGE_SEARCH:
        yield from _merge_search(recipe, names)
    elif recipe.learning.method == LEARNING_CURVE:
        yield from _learning_curve(recipe)
    elif recipe.learning.method == REGRESSION:
        yield from _regression(recipe)
    else:
        proxy, learning = recipe.proxy, recipe.learning
        yield _encoder(recipe, proxy)
        if recipe.reference.folds == 1:
            yield _reference(recipe)
        else:
            yield from (_fold(recipe, number) for number in (1, 2))
        yield Planned("plan", "plan", "plan", settings=learning)
        yield Planned(
            "losses",
            "reference losses",
            "reference_losses",
            proxy,
            learning,
            models=recipe.reference.folds,
        )
        yield Planned("learning", "mixture", "mixture", proxy, learning)


def _reference(recipe: Recipe) -> Planned:
    return Planned("training", "reference", "reference", recipe.proxy, recipe.reference)


def _fold(recipe: Recipe, number: int) -> Planned:
    label, place = f"reference of fold {number}", f"reference_folds/{number}"
    return Planned("training", label, place, recipe.proxy, recipe.reference, share=0.5)


def _merge_search(recipe: Recipe, names: Sequence[str]) -> Iterator[Planned]:
    merging, proxy, reference = recipe.merging, recipe.proxy, recipe.reference
    yield Planned("development", "development sets", "merging/development")
    yield _encoder(recipe, proxy)
    if merging.start_steps:
        started = reference.model_copy(update={"steps": merging.start_steps})
        yield Planned(
            "training", "start of the experts", "merging/start", proxy, started, apart=True
        )
    expert = reference.model_copy(update={"steps": merging.steps})
    for name in names:
        place = f"experts/{file_name(name)}"
        yield Planned("training", f"expert {name}", place, proxy, expert, task=name, apart=True)
    yield Planned(
        "search",
        "search over mixtures",
        "merging/search",
        proxy,
        models=len(names),
        passes=merging.samples,
    )
    # Of one task there is one mixture, which is both the uniform one and the best.
    confirmed = 1 + (merging.confirm if len(names) > 1 else 1)
    for number in range(confirmed):
        label = f"confirming run {number}" if number else "confirming run of uniform"
        yield Planned("training", label, f"{CONFIRMED}/{number}", proxy, reference, apart=True)
    yield Planned("judging", "mixture", "mixture", proxy, passes=confirmed)


def _learning_curve(recipe: Recipe) -> Iterator[Planned]:
    proxy, reference = recipe.proxy, recipe.reference
    yield Planned("development", "development sets", "curve/development")
    yield _encoder(recipe, proxy)
    shorter = max(1, round(recipe.curve.shorter * reference.steps))
    for name, steps in (("shorter", shorter), ("longer", reference.steps)):
        settings = reference.model_copy(update={"steps": steps})
        yield Planned(
            "training",
            f"{name} training of the curve",
            f"curve/{name}",
            proxy,
            settings,
            apart=True,
        )
    yield Planned("judging", "mixture", "mixture", proxy, passes=2)


def _regression(recipe: Recipe) -> Iterator[Planned]:
    count = recipe.regression.mixtures
    yield Planned("development", "development sets", "regression/development")
    yield _encoder(recipe, recipe.proxy)
    for number in range(1, count + 1):
        label, place = f"training of random mixture {number}", f"regression/{number}"
        yield Planned("training", label, place, recipe.proxy, recipe.reference, apart=True)
    yield Planned("judging", "mixture", "mixture", recipe.proxy, passes=count)


def _encoder(recipe: Recipe, settings: EncoderSettings) -> Planned:
    name = recipe.encoder_name(settings)
    return Planned("encoder", f"{name} encoder", f"encoders/{name}", settings)


def _retriever(recipe: Recipe, entry: str) -> Planned:
    name = retriever_name(entry)
    return Planned(
        "training",
        f"retriever {name}",
        f"retrievers/{file_name(name)}",
        recipe.model,
        recipe.training,
        mixture=entry,
    )


def _judging(recipe: Recipe, *, excluded: bool) -> Iterator[Planned]:
    if recipe.holdout:
        yield Planned("holdouts", "hold-outs", "holdouts")
    if recipe.holdout and excluded:
        yield Planned("holdouts", "hold-outs of excluded tasks", "holdouts_unseen")
    for entry in recipe.retrievers:
        name = retriever_name(entry)
        model = recipe.proxy if entry == "reference" else recipe.model
        yield Planned("scores", f"scores of {name}", f"runs/{file_name(name)}", model)
