"""Diagnosis: what a practitioner has to know before trusting a learned mixture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tdro.learning.losses import Floats
from tdro.learning.trajectory import ZERO_LOSS, distance, pivot
from tdro.selection import unhelped_tasks

# The mixture is settled when its last tenth of steps moved it less than this share of its way:
# at constant speed it would be a tenth.
_SETTLED = 0.05
# A way shorter than this, in total variation, says that learning had too little effect to judge.
_SHORT_WAY = 0.01
# Under this movement a mixture is settled however short its way was.
_AT_REST = 0.001
# A proxy that from the first third of the steps to the last has come less of its way to the
# reference than this is as good as untrained. Healthy ones come half of it.
_LEAST_LEARNED = 0.1
_DOMINANT = 0.2
_FEWEST_STEPS = 10
_MEMORISED = 0.5
_FEWEST_ROWS = 8
_MOST_NAMED = 4


@dataclass(frozen=True)
class TaskDiagnosis:
    """One task; losses in nats, NaN where the task had no row.

    Attributes:
        task: Its name.
        weight: Weight after the last update.
        weight_mean: Mean of the weights.
        weight_ema: Moving average of the weights.
        proxy_loss: Mean proxy loss in the last third of the steps.
        reference_loss: Mean reference loss in the last third of the steps.
        signal: Mean signal over all steps, before clipping.
        under_cut: Share of its rows under the cut of the measure.
        zero_loss: Share of its rows with a proxy loss of zero.
        largest_push: Share of all that raised its weight that came from a single row; NaN where
            the measure does not count row by row.
    """

    task: str
    weight: float
    weight_mean: float
    weight_ema: float
    proxy_loss: float
    reference_loss: float
    signal: float
    under_cut: float
    zero_loss: float
    largest_push: float


@dataclass(frozen=True)
class Diagnosis:
    """What the trajectory says of itself.

    Attributes:
        tasks: One line a task.
        norm: Least, median and greatest norm of the signal before clipping.
        moved: How far the last tenth of the steps moved the EMA weights, in total variation.
        travelled: How far they are from uniform.
        warnings: Sentences; none when there is nothing to warn of.
    """

    tasks: tuple[TaskDiagnosis, ...]
    norm: tuple[float, float, float]
    moved: float
    travelled: float
    warnings: tuple[str, ...]


def diagnose(table: pa.Table, by_task: pa.Table | None = None) -> Diagnosis:
    """Reads a trajectory for what should make one doubt it.

    Args:
        table: The trajectory in long form (see ``Trajectory.table``), not empty.
        by_task: The reference's losses on rows it was trained on and on others (see
            ``tdro.reference.write_by_task``), where known.
    """
    tasks, columns = pivot(table)
    steps = len(columns["weight"])
    late = slice(-max(1, steps // 3), None)
    norm = columns["norm"][:, 0]
    told = {
        "proxy_loss": means(columns["proxy_loss"][late]),
        "reference_loss": means(columns["reference_loss"][late]),
        "signal": means(np.where(np.isnan(columns["proxy_loss"]), np.nan, columns["signal"])),
        "under_cut": means(columns["under_cut"]),
        "zero_loss": means(columns["zero_loss"]),
        "largest_push": _largest_push(columns["signal"], columns["largest"], norm),
        **{name: columns[name][-1] for name in ("weight", "weight_mean", "weight_ema")},
    }
    lines = tuple(
        TaskDiagnosis(task, **{name: float(values[place]) for name, values in told.items()})
        for place, task in enumerate(tasks)
    )
    ema = columns["weight_ema"]
    uniform = np.full(len(tasks), 1 / len(tasks))
    back = max(1, steps // 10)
    moved = distance(ema[-1], ema[-1 - back] if steps > back else uniform)
    travelled = distance(ema[-1], uniform)
    warnings = [
        *_unsettled(steps, moved, travelled),
        *(_of_losses(columns, lines) if steps >= _FEWEST_STEPS else ()),
        *(_memorised(by_task) if by_task is not None else ()),
    ]
    norms = (float(norm.min()), float(np.median(norm)), float(norm.max()))
    return Diagnosis(lines, norms, moved, travelled, tuple(warnings))


def means(values: Floats) -> Floats:
    """Averages each column over its values that are not NaN; NaN without any."""
    there = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        found: Floats = np.where(there, values, 0.0).sum(axis=0) / there.sum(axis=0)
    return found


def doubts_of_gains(gains: Mapping[str, float], errors: Mapping[str, float]) -> list[str]:
    """Warns of the tasks that further rows do not help (see ``unhelped_tasks``).

    Args:
        gains: What further rows gain on each task.
        errors: Standard errors of the gains.
    """
    idle = unhelped_tasks(gains, errors)
    if not idle:
        return []
    # All of them: each is to be looked at.
    told = ", ".join(map(repr, idle))
    return [
        "Further rows gain less than a third of the mean gain, by two standard errors, on "
        f"{told}: solved, too hard for this model, or passages that do not answer their queries. "
        "Look at the pairs (tdro tasks inspect); the selection 'helped' leaves these tasks out."
    ]


def _largest_push(signal: Floats, largest: Floats, norm: Floats) -> Floats:
    """Returns the share of each task's clipped signals that its most counting row made up."""
    length = np.maximum(norm, 1.0)[:, None]
    with np.errstate(invalid="ignore"):
        share: Floats = (largest / length).max(axis=0) / (signal / length).sum(axis=0)
    return share


def _unsettled(steps: int, moved: float, travelled: float) -> list[str]:
    if moved < _AT_REST and travelled >= _SHORT_WAY:
        return []
    if travelled < _SHORT_WAY:
        return [
            f"The mixture has hardly left uniform (distance {travelled:.3f}): it says little. "
            "More steps or a larger eta would show where it goes."
        ]
    if moved <= _SETTLED * travelled:
        return []
    return [
        f"The mixture is not settled: the last tenth of the {steps} steps moved it by "
        f"{moved:.3f}, {moved / travelled:.0%} of its distance from uniform ({travelled:.3f}). "
        "More steps would give another mixture."
    ]


def _of_losses(columns: Mapping[str, Floats], lines: Sequence[TaskDiagnosis]) -> list[str]:
    return [*_unlearned(columns["proxy_loss"], columns["reference_loss"]), *_doubts(lines)]


def _unlearned(proxy_loss: Floats, reference_loss: Floats) -> list[str]:
    third = len(proxy_loss) // 3
    first, last = (float(np.nanmean(part)) for part in (proxy_loss[:third], proxy_loss[-third:]))
    reference = float(np.nanmean(reference_loss))
    if first - last >= max(0.0, _LEAST_LEARNED * (first - reference)):
        return []
    return [
        f"The proxy has hardly learned: its loss is {last:.3g} in the last third of the steps and "
        f"was {first:.3g} in the first, where the reference's is {reference:.3g}. The mixture is "
        "that of an untrained model: more steps, another learning_rate or mean pooling may help."
    ]


def _doubts(lines: Sequence[TaskDiagnosis]) -> list[str]:
    found = [
        (
            "One row makes up more than a fifth of what raised the weight of",
            [line.task for line in lines if line.largest_push > _DOMINANT],
            "Look at that row, raise the cut or measure by task (tdro-paper).",
        ),
        (
            "The reference is worse than the proxy on",
            [line.task for line in lines if line.proxy_loss < line.reference_loss],
            "Train the reference longer: a loss relative to it means little there.",
        ),
        (
            f"More than half of the proxy's row losses are zero (under {ZERO_LOSS:g} nats) on",
            [line.task for line in lines if line.zero_loss > 0.5],
            "A low temperature saturates the loss: raise it or use harder negatives.",
        ),
        (
            "More than half of the rows are under the measure's cut on",
            [line.task for line in lines if line.under_cut > 0.5],
            "The reference has solved or memorised them; two folds (reference.folds) tell which.",
        ),
    ]
    return [f"{start} {_named(tasks)}. {remedy}" for start, tasks, remedy in found if tasks]


def _memorised(by_task: pa.Table) -> list[str]:
    tasks = [
        line["task"]
        for line in by_task.to_pylist()
        if min(line["trained_on_rows"], line["unseen_rows"]) >= _FEWEST_ROWS
        and line["trained_on_loss"] < _MEMORISED * line["unseen_loss"]
    ]
    if not tasks:
        return []
    return [
        "The reference's loss on rows it was trained on is less than half of that on rows it has "
        f"not seen, on {_named(tasks)}: it has memorised them, which raises their relative loss. "
        "Set reference.folds to 2."
    ]


def _named(tasks: Sequence[str]) -> str:
    shown = ", ".join(repr(task) for task in tasks[:_MOST_NAMED])
    more = len(tasks) - _MOST_NAMED
    return f"{shown} and {more} more" if more > 0 else shown
