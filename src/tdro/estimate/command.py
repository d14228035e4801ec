"""``tdro estimate``: what a run takes, before anything starts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from tdro.errors import InputError
from tdro.estimate.drawn import Drawn
from tdro.estimate.mend import bytes_of, remedy
from tdro.estimate.render import Device, as_json, render
from tdro.estimate.rows import glance_at, glance_at_benchmarks
from tdro.estimate.stages import Estimator, StageEstimate
from tdro.files import MANIFEST_FILE, write_json
from tdro.recipe import Recipe, asks_for_learned
from tdro.run.context import preparation
from tdro.run.outline import outline
from tdro.settings import EncoderSettings
from tdro.stages import fingerprint_of
from tdro.tasks.task import TaskSource


@dataclass(frozen=True)
class Estimated:
    """An estimate of a run.

    Attributes:
        stages: What each stage takes, in the order of the run.
        misfits: For each stage that does not fit, what would make it fit, by its label.
        notes: What the figures rest on, one sentence each.
    """

    stages: Sequence[StageEstimate]
    misfits: dict[str, str]
    notes: Sequence[str]


def device_of(devices: int, memory: str | None, throughput: float | None) -> Device:
    """Returns the device that options of the command line describe.

    Args:
        devices: Number of devices.
        memory: Of one, such as ``80GB``.
        throughput: Of one, in TFLOPS.

    Raises:
        InputError: Memory or throughput is no size.
    """
    if throughput is not None and not 0 < throughput < float("inf"):
        raise InputError(f"--throughput takes TFLOPS above zero, not {throughput}.")
    return Device(
        devices,
        None if memory is None else bytes_of(memory),
        None if throughput is None else throughput * 1e12,
    )


def estimate(recipe: Recipe, device: Device, root: Path | None = None) -> Estimated:
    """Estimates what a run takes; no weights are read and nothing is written.

    Args:
        recipe: The resolved recipe.
        device: What it is to run on.
        root: Its run directory: tasks that are prepared there are counted, not guessed.

    Raises:
        InputError: A task, a benchmark or the configuration of a model cannot be read.
    """
    sources = recipe.task_sources()
    glances = [glance_at(source, prepared_at(recipe, root, source)) for source in sources]
    benchmarks = [one for entry in recipe.benchmarks for one in glance_at_benchmarks(entry)]
    estimator = Estimator(Drawn(recipe, glances, benchmarks), device.count)
    stages = [
        estimator.estimate(stage) for stage in outline(recipe, [source.name for source in sources])
    ]
    misfits = misfits_of(estimator, stages, device)
    return Estimated(stages, misfits, _notes(estimator.drawn, stages))


def misfits_of(
    estimator: Estimator, stages: Sequence[StageEstimate], device: Device
) -> dict[str, str]:
    """Returns, for each stage that does not fit a device, what would make it fit, by its label."""
    return {
        one.stage.label: remedy(estimator, one, device.memory)
        for one in stages
        if device.memory is not None and device.fits(one) == "no"
    }


def misfit_sentences(misfits: Mapping[str, str]) -> list[str]:
    """Returns a sentence for each remedy, naming all stages that it is for."""
    alike: dict[str, list[str]] = {}
    for label, words in misfits.items():
        alike.setdefault(words, []).append(label)
    return [
        f"{', '.join(labels)} {'does' if len(labels) == 1 else 'do'} not fit the memory of a "
        f"device: {words}."
        for words, labels in alike.items()
    ]


def estimate_run(
    recipe: Recipe, device: Device, root: Path, json: Path | None, console: Console
) -> None:
    """Prints what a run takes.

    Args:
        recipe: The resolved recipe.
        device: What it is to run on.
        root: Its run directory, which may not be there yet.
        json: Where to write the figures as well.
        console: Where to print.

    Raises:
        InputError: A task, a benchmark or the configuration of a model cannot be read.
    """
    found = estimate(recipe, device, root)
    console.print(render(found.stages, device), crop=False)
    for sentence in _summary(found.stages, device):
        console.print(sentence, highlight=False)
    for sentence in misfit_sentences(found.misfits):
        console.print(sentence, highlight=False, style="red")
    for note in found.notes:
        console.print(f"[dim]{note}[/dim]", highlight=False)
    if json is not None:
        written = {"stages": as_json(found.stages, device), "remedies": found.misfits}
        write_json(json, {**written, "notes": list(found.notes)})


def prepared_at(recipe: Recipe, root: Path | None, source: TaskSource) -> Path | None:
    """Returns where a task lies prepared as its recipe asks, None where it does not."""
    if root is None or (source.path is not None and not source.path.exists()):
        return None
    stage = preparation(recipe, source)
    folder = root / stage.directory
    done = (folder / MANIFEST_FILE).is_file() and fingerprint_of(folder) == stage.fingerprint
    return folder if done else None


def _summary(stages: Sequence[StageEstimate], device: Device) -> list[str]:
    total = sum(one.work.total for one in stages)
    attention = sum(one.work.attention for one in stages)
    padding = sum(one.work.padding for one in stages)
    sentences = [
        f"In all {total / 1e15:,.4g} PFLOPs, of which {attention / total:.0%} are products of "
        f"tokens with tokens and {padding / total:.0%} padding."
        if total
        else "No model is at work."
    ]
    hours = [device.hours(one) for one in stages]
    if device.throughput is not None:
        told = f"{device.throughput / 1e12:g} TFLOPS on {device.count} device(s)"
        sentences.append(
            f"Computing takes {sum(hour or 0 for hour in hours):,.3g} hours at {told}."
        )
    return sentences


def _notes(drawn: Drawn, stages: Sequence[StageEstimate]) -> list[str]:
    notes = []
    used = {one.stage.model: None for one in stages if one.stage.model is not None}
    if not drawn.exact:
        notes.append("Rows are told from the first 5000 of each file and its size.")
    for settings in used:
        if not drawn.measure(settings).exact:
            notes.append(
                f"The tokenizer of {settings.name_or_path} is not on this machine: a word counts "
                "as 1.3 tokens."
            )
    notes += [_precision(settings, drawn) for settings in used if settings.precision == "auto"][:1]
    if drawn.unseen:
        notes.append(
            f"Scores on {', '.join(drawn.unseen)} are left out: their documents are not counted "
            "before they are read."
        )
    trained = [one.stage for one in stages if one.stage.kind == "training"]
    if any(asks_for_learned([stage.mixture]) for stage in trained):
        notes.append(
            "A mixture that is not learned yet counts as uniform over all tasks, whatever it will "
            "be; texts of other tasks may be longer or shorter."
        )
    for one in stages:
        if one.stage.kind == "search":
            notes.append(
                f"The {one.stage.label} holds {one.stage.models} models in the machine's own "
                f"memory: {one.host / 1e9:.2f} GB."
            )
    return notes


def _precision(settings: EncoderSettings, drawn: Drawn) -> str:
    found = "bf16" if drawn.model(settings).bf16 else "fp32"
    return (
        f"precision: auto is {found} on this machine; to plan for another one, add "
        "--set model.precision=bf16 (or fp32)."
    )
