"""What one seed of ``tdro compare`` takes, stage by stage."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tdro.estimate.command import Estimated, drawn_from, misfits_of, notes_on
from tdro.estimate.render import Device
from tdro.estimate.stages import Estimator, StageEstimate
from tdro.evaluation.scores import BASELINE
from tdro.files import file_name
from tdro.recipe import Recipe
from tdro.run.entries import LONGER, SOUP, Entry, entries_of, run_of
from tdro.run.merging import CONFIRMED
from tdro.run.outline import Planned, copied, outline, trained_once
from tdro.settings import LEARNERS, TrainingSettings

# Of a run, what the soup of the experts goes without.
_AFTER_EXPERTS = ("search", "judging")
_UNIFORM, _LONGER = f"retrievers/{BASELINE}", f"retrievers/{LONGER}"


def estimate_comparison(recipe: Recipe, device: Device, root: Path | None = None) -> Estimated:
    """Estimates what a comparison takes; no weights are read and nothing is written.

    Args:
        recipe: The resolved recipe.
        device: What it is to run on.
        root: Its directory: tasks that are prepared there are counted, not guessed.

    Raises:
        InputError: Two entries have one name, or a task, a benchmark, a mixture or the
            configuration of a model cannot be read.
    """
    entries = entries_of(recipe)
    drawn = drawn_from(recipe, root)
    found: dict[str, StageEstimate] = {}
    for entry in entries:
        run = run_of(recipe, entry)
        estimator = Estimator(drawn.of(run), device.count)
        for stage in _stages(run, entry, list(drawn.glances)):
            if stage.place not in found:
                found[stage.place] = estimator.estimate(stage)
    estimator = Estimator(drawn, device.count)
    if _LONGER in found:
        found[_LONGER] = estimator.estimate(_bought(recipe, found))
    stages = list(found.values())
    misfits = misfits_of(estimator, stages, device)
    seeds = len(recipe.compared_seeds)
    return Estimated(stages, misfits, notes_on(drawn, stages), seeds)


def _stages(run: Recipe, entry: Entry, names: Sequence[str]) -> Iterator[Planned]:
    """Returns the stages of an entry, under the names that they have in a comparison."""
    label, method = entry.label, run.learning.method
    # A selection, and a mixture that is not learned yet, count as the run's own.
    simple = not (entry.selection or entry.base in (LONGER, *LEARNERS))
    for stage in outline(run, names):
        room = stage.place.split("/")[0]
        if room == "reference" and trained_once(run):
            yield copied(stage)
        elif room == "runs":
            model = run.proxy if entry.base == SOUP else stage.model
            place = f"runs/{file_name(label)}"
            yield replace(stage, label=f"scores of {label}", place=place, model=model)
        elif entry.base == SOUP:
            if room == "retrievers":
                yield Planned("copy", "soup of the experts", "merging/soup")
            elif stage.kind not in _AFTER_EXPERTS and room != CONFIRMED:
                yield stage
        elif room == "mixture":
            yield replace(stage, label=f"mixture of {method}", place=f"mixtures/{method}")
        elif room == "retrievers":
            mixture = entry.base if simple else stage.mixture
            place = f"retrievers/{file_name(label)}"
            yield replace(stage, label=f"retriever {label}", place=place, mixture=mixture)
        else:
            yield stage


def _bought(recipe: Recipe, found: dict[str, StageEstimate]) -> Planned:
    """Returns the training of ``uniform-longer``, whose steps are known by what others take."""
    longer, uniform = found[_LONGER].stage, found[_UNIFORM].work.weights
    assert isinstance(longer.settings, TrainingSettings)
    entry = Entry(recipe.learning.method)
    places = [stage.place for stage in _stages(run_of(recipe, entry), entry, [])]
    learning = [place for place in places if place.split("/")[0] not in ("retrievers", "runs")]
    cost = sum(found[place].work.weights for place in learning)
    if "reference" in learning and found["reference"].stage.kind == "copy":
        cost += uniform
    steps = longer.settings.steps
    longer_steps = steps + round(steps * cost / uniform)
    return replace(longer, settings=longer.settings.model_copy(update={"steps": longer_steps}))
