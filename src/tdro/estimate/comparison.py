"""What one seed of ``tdro compare`` takes, stage by stage."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tdro.estimate.command import Estimated, drawn_from, misfits_of, notes_on
from tdro.estimate.drawn import Drawn
from tdro.estimate.render import Device
from tdro.estimate.stages import Estimator, StageEstimate
from tdro.evaluation.scores import BASELINE
from tdro.files import file_name
from tdro.recipe import Recipe
from tdro.run.costs import FORWARD, TRAINING
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
    drawn = drawn_from(recipe, root)
    found: dict[str, StageEstimate] = {}
    misfits: dict[str, str] = {}
    for entry in entries_of(recipe):
        run = run_of(recipe, entry)
        estimator = Estimator(drawn.of(run), device.count)
        planned = list(_stages(run, entry, list(drawn.glances)))
        for stage in planned:
            if stage.place in found:
                continue
            if entry.base == LONGER and stage.place == _LONGER:
                # All that its method takes stands before it, and uniform before all.
                learning = [found[one.place] for one in planned if one.place in found]
                stage = _longer(stage, learning, found[_UNIFORM], drawn)
            found[stage.place] = estimator.estimate(stage)
            misfits |= misfits_of(estimator, [found[stage.place]], device)
    stages = list(found.values())
    return Estimated(stages, misfits, notes_on(drawn, stages), len(recipe.compared_seeds))


def _stages(run: Recipe, entry: Entry, names: Sequence[str]) -> Iterator[Planned]:
    """Returns the stages of an entry, under the names that they have in a comparison."""
    label, method = entry.label, run.learning.method
    mixture = f"{entry.base}/{entry.selection}" if entry.selection else entry.base
    if entry.base == LONGER:
        mixture = BASELINE
    elif entry.base in LEARNERS:
        mixture = "learned"
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
            place = f"retrievers/{file_name(label)}"
            yield replace(stage, label=f"retriever {label}", place=place, mixture=mixture)
        else:
            yield stage


def _longer(
    stage: Planned, learning: Sequence[StageEstimate], uniform: StageEstimate, drawn: Drawn
) -> Planned:
    """Returns the training of ``uniform-longer``, whose steps are known by what others take."""
    assert isinstance(stage.settings, TrainingSettings)
    # A reference that is a copy counts as what it copies.
    counted = [uniform if one.stage.kind == "copy" else one for one in learning]
    cost = sum(_operations(one, drawn) for one in counted)
    steps = stage.settings.steps
    steps += round(steps * cost / _operations(uniform, drawn))
    return replace(stage, settings=stage.settings.model_copy(update={"steps": steps}))


def _operations(one: StageEstimate, drawn: Drawn) -> float:
    """Counts operations as ``tdro compare`` does, which counts no activation twice."""
    model, settings = one.stage.model, one.stage.settings
    if model is None:
        return 0
    passes = TRAINING if one.stage.kind in ("training", "learning") else FORWARD
    twice = isinstance(settings, TrainingSettings) and settings.mini_batch_size is not None
    return passes * one.tokens / (1 + twice) * drawn.model(model).size().parameters_per_token
