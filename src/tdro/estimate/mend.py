"""Whether a stage fits the memory of a device, and what would make it fit."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tdro.errors import InputError
from tdro.estimate.stages import Estimator, StageEstimate
from tdro.run.outline import Planned
from tdro.settings import LearningSettings, LoraSettings, TrainingSettings

UNCERTAINTY = 0.2
"""How far an estimate may be from what is measured (see docs/estimating.md)."""

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_MINI_BATCHES = (32, 8, 1)
_CHUNKS = (8192, 4096, 2048, 1024)


def bytes_of(text: str) -> int:
    """Reads a size such as ``80GB``, ``40GiB`` or ``512 MB``.

    Raises:
        InputError: It is no size, or a number without a unit.
    """
    cleaned = text.strip().upper().replace(" ", "")
    number = cleaned.rstrip("BKMGTI")
    unit = cleaned[len(number) :]
    if not unit and number.replace(".", "", 1).isdecimal():
        raise InputError(f"--memory takes a unit: {number}GB, not {text!r}.")
    try:
        size = float(number) * _UNITS[unit if unit.endswith("B") else f"{unit}B"]
    except (ValueError, KeyError):
        raise InputError(f"--memory takes a size such as 80GB or 40GiB, not {text!r}.") from None
    if not 0 < size < float("inf"):
        raise InputError(f"--memory takes a size above zero, not {text!r}.")
    return int(size)


def remedy(estimator: Estimator, estimate: StageEstimate, memory: int) -> str:
    """Returns what to set in the recipe so that a stage fits.

    The changes are tried from the one that costs least: the first that fits is told with what the
    stage then takes.

    Args:
        estimator: What gave the estimate.
        estimate: Of a stage that does not fit.
        memory: Bytes of a device.
    """
    for words, stage in _changes(estimate.stage):
        try:
            if estimator.least(stage) > memory:
                continue
            found = estimator.estimate(stage).memory
        except InputError:
            # Such as adapters without the package for them.
            continue
        if found is not None and found.peak <= memory:
            return f"set {words}"
    return _last_resort(estimate)


def _changes(stage: Planned) -> Iterator[tuple[str, Planned]]:
    """Yields changes of a stage's settings in the words of a recipe, from the cheapest."""
    settings, section = stage.settings, _section(stage)
    if settings is None or stage.kind not in ("training", "learning") or _static(stage):
        return
    taken: dict[str, Any] = {}
    words: list[str] = []

    def changed(**values: Any) -> tuple[str, Planned]:
        update = {**taken, **values}
        told = [*words, *(f"{section}.{name} to {_told(value)}" for name, value in values.items())]
        return " and ".join(told), replace(stage, settings=settings.model_copy(update=update))

    if isinstance(settings, LearningSettings):
        chunks = [size for size in _CHUNKS if size < settings.chunk_tokens]
        yield from (changed(chunk_tokens=size) for size in chunks[:2])
    if not settings.gradient_checkpointing:
        yield changed(gradient_checkpointing=True)
    if isinstance(settings, TrainingSettings):
        most = settings.mini_batch_size or settings.batch_size
        sizes = [size for size in _MINI_BATCHES if size < most]
        yield from (changed(mini_batch_size=size) for size in sizes)
        steps = [("mini_batch_size", size) for size in sizes]
    else:
        steps = [("chunk_tokens", size) for size in _CHUNKS if size < settings.chunk_tokens]
    if not settings.gradient_checkpointing:
        taken["gradient_checkpointing"] = True
        words.append(f"{section}.gradient_checkpointing to true")
        yield from (changed(**{name: size}) for name, size in steps)
    if settings.lora is None:
        taken["lora"] = LoraSettings()
        words.append(f"{section}.lora to {{rank: 16}}")
        yield changed()
        yield from (changed(**{name: size}) for name, size in steps)


def _static(stage: Planned) -> bool:
    return stage.model is not None and stage.model.kind == "static"


def _section(stage: Planned) -> str:
    if stage.kind == "learning":
        return "learning"
    return "training" if stage.place.startswith("retrievers/") else "reference"


def _told(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _last_resort(estimate: StageEstimate) -> str:
    kind = estimate.stage.kind
    if kind == "training":
        return (
            "take a smaller model or fewer layers, a smaller batch_size or shorter texts, or train "
            "in parts by FSDP2 or ZeRO (docs/distributed.md)"
        )
    if kind == "learning":
        return "take a smaller proxy or fewer layers, or shorter texts"
    if kind == "losses":
        return "lower learning.chunk_tokens, or take a smaller proxy"
    return "take a smaller model or fewer layers"
