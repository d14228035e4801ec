"""``tdro estimate``: what a run or a comparison takes, before anything starts."""

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
    """An estimate of a run, or of one seed of a comparison.

    Attributes:
        stages: What each stage takes, in order.
        misfits: For each stage that does not fit, what would make it fit, by its label.
        notes: What the figures rest on, one sentence each.
        seeds: Seeds of a comparison, each of which takes that; 1 for a run.
    """

    stages: Sequence[StageEstimate]
    misfits: dict[str, str]
    notes: Sequence[str]
    seeds: int = 1


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
    estimator = Estimator(drawn_from(recipe, root), device.count)
    stages = [estimator.estimate(stage) for stage in outline(recipe, list(estimator.drawn.glances))]
    misfits = misfits_of(estimator, stages, device)
    return Estimated(stages, misfits, notes_on(estimator.drawn, stages))


def drawn_from(recipe: Recipe, root: Path | None) -> Drawn:
    """Looks at the tasks and benchmarks of a recipe.

    Args:
        recipe: The resolved recipe.
        root: Its run directory: tasks that are prepared there are counted, not guessed.

    Raises:
        InputError: A task or a benchmark cannot be read.
    """
    sources = recipe.task_sources()
    glances = [glance_at(source, prepared_at(recipe, root, source)) for source in sources]
    benchmarks = [one for entry in recipe.benchmarks for one in glance_at_benchmarks(entry)]
    return Drawn(recipe, glances, benchmarks)


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


def tell_estimate(found: Estimated, device: Device, json: Path | None, console: Console) -> None:
    """Prints an estimate.

    Args:
        found: The estimate.
        device: What it is to run on.
        json: Where to write the figures as well.
        console: Where to print.
    """
    console.print(render(found.stages, device), crop=False)
    for sentence in _summary(found, device):
        console.print(sentence, highlight=False)
    for sentence in misfit_sentences(found.misfits):
        console.print(sentence, highlight=False, style="red")
    for note in found.notes:
        console.print(f"[dim]{note}[/dim]", highlight=False)
    if json is not None:
        written = {"stages": as_json(found.stages, device), "remedies": found.misfits}
        write_json(json, {**written, "seeds": found.seeds, "notes": list(found.notes)})


def prepared_at(recipe: Recipe, root: Path | None, source: TaskSource) -> Path | None:
    """Returns where a task lies prepared as its recipe asks, None where it does not."""
    if root is None or (source.path is not None and not source.path.exists()):
        return None
    stage = preparation(recipe, source)
    folder = root / stage.directory
    done = (folder / MANIFEST_FILE).is_file() and fingerprint_of(folder) == stage.fingerprint
    return folder if done else None


def _summary(found: Estimated, device: Device) -> list[str]:
    works = [one.work for one in found.stages]
    total = sum(work.total for work in works)
    if not total:
        return ["No model is at work."]
    attention = sum(work.attention for work in works) / total
    padding = sum(work.padding for work in works) / total
    seeds = "" if found.seeds == 1 else f"One of {found.seeds} seeds is shown. "
    sentences = [
        f"{seeds}In all {found.seeds * total / 1e15:,.4g} PFLOPs, of which {attention:.0%} are "
        f"products of tokens with tokens and {padding:.0%} padding."
    ]
    if device.throughput is not None:
        hours = found.seeds * sum(device.hours(one) or 0 for one in found.stages)
        told = f"{device.throughput / 1e12:g} TFLOPS on {device.count} device(s)"
        sentences.append(f"Computing takes {hours:,.3g} hours at {told}.")
    return sentences


def notes_on(drawn: Drawn, stages: Sequence[StageEstimate]) -> list[str]:
    """Returns what an estimate rests on, a sentence each."""
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
