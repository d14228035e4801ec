"""The table and the file of an estimate."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from tdro.estimate.mend import UNCERTAINTY
from tdro.estimate.stages import StageEstimate

# The first process does these alone.
_ALONE = ("task", "plan", "encoder", "development", "search", "judging", "holdouts")
_STYLES = {"no": "bold red", "perhaps": "yellow"}


@dataclass(frozen=True)
class Device:
    """What the stages run on.

    Attributes:
        count: Devices, each of which holds all of a model.
        memory: Bytes of one; None where it was not told.
        throughput: Floating-point operations that one does in a second; None likewise.
    """

    count: int = 1
    memory: int | None = None
    throughput: float | None = None

    def fits(self, estimate: StageEstimate) -> str:
        """Tells whether a stage fits: yes, perhaps, no, or nothing where that is not known."""
        if estimate.memory is None or self.memory is None:
            return ""
        if estimate.memory.peak > self.memory:
            return "no"
        return "perhaps" if estimate.memory.peak > self.memory / (1 + UNCERTAINTY) else "yes"

    def hours(self, estimate: StageEstimate) -> float | None:
        """Returns how long a stage computes."""
        if self.throughput is None:
            return None
        devices = 1 if estimate.stage.kind in _ALONE else self.count
        return estimate.work.total / (self.throughput * devices) / 3600


def render(estimates: Sequence[StageEstimate], device: Device) -> Table:
    """Draws one line for each stage; tasks share one, and so do stages that take the same."""
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False)
    drawn.add_column("stage", min_width=16, overflow="fold")
    for title in (
        "rows",
        "tokens",
        "PFLOPs",
        "weights\nGB",
        "grad.\nGB",
        "optim.\nGB",
        "activ.\nGB",
        "peak\nGB",
    ):
        drawn.add_column(title, justify="right", no_wrap=True)
    if device.throughput is not None:
        drawn.add_column("hours", justify="right", no_wrap=True)
    if device.memory is not None:
        drawn.add_column("fits", no_wrap=True)
    for label, count, estimate in _lines(estimates):
        cells = [Text(f"{label} (each of {count})" if count > 1 else label)]
        cells += [Text(value) for value in _cells(estimate)]
        if (hours := device.hours(estimate)) is not None:
            cells.append(Text(_short(hours) if estimate.work.total else ""))
        if device.memory is not None:
            told = device.fits(estimate)
            cells.append(Text(told, style=_STYLES.get(told, "")))
        drawn.add_row(*cells)
    return drawn


def _lines(estimates: Sequence[StageEstimate]) -> list[tuple[str, int, StageEstimate]]:
    tasks = [one for one in estimates if one.stage.kind == "task"]
    together = StageEstimate(
        tasks[0].stage,
        rows=sum(one.rows for one in tasks),
        size=sum(one.size for one in tasks),
        exact=all(one.exact for one in tasks),
    )
    lines = [(f"{len(tasks)} tasks, {_size(together.size)}", 1, together)]
    alike: dict[Any, list[StageEstimate]] = {}
    for one in estimates:
        if one.stage.kind != "task":
            # Experts, retrievers and scores often differ in nothing but their names.
            same = (one.stage.kind, one.memory, one.rows, one.tokens) if one.tokens else one.stage
            alike.setdefault(same, []).append(one)
    for group in alike.values():
        names = ", ".join(one.stage.label for one in group[:3])
        lines.append((names + (", ..." if len(group) > 3 else ""), len(group), group[0]))
    return lines


def _cells(one: StageEstimate) -> list[str]:
    memory = one.memory
    sizes = (
        [memory.parameters, memory.gradients, memory.optimizer, memory.activations, memory.peak]
        if memory is not None
        else []
    )
    shown = [f"{value / 1e9:.2f}" if value else "" for value in sizes] or [""] * 5
    return [
        f"{'' if one.exact else 'about '}{_count(one.rows)}" if one.rows else "",
        _count(one.tokens) if one.tokens else "",
        _short(one.work.total / 1e15) if one.work.total else "",
        *shown,
    ]


def _size(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"


def _count(value: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6)):
        if value >= 10 * size:
            return f"{value / size:.3g} {unit}"
    return f"{round(value):,}"


def _short(value: float) -> str:
    return f"{value:.2g}" if value < 10 else f"{value:,.0f}"


def as_json(estimates: Sequence[StageEstimate], device: Device) -> list[dict[str, Any]]:
    """Returns the estimate of each stage as JSON values; bytes, operations and hours."""
    return [
        {
            "stage": one.stage.label,
            "place": one.stage.place,
            "kind": one.stage.kind,
            "rows": round(one.rows),
            "rows_exact": one.exact,
            "file_bytes": one.size,
            "tokens": round(one.tokens),
            "parameters": one.parameters,
            "trained_parameters": one.trained,
            "memory": vars(one.memory) if one.memory is not None else None,
            "host_bytes": one.host,
            "flops": one.work.weights,
            "flops_of_padding": one.work.padding,
            "flops_of_attention": one.work.attention,
            "hours": device.hours(one),
            "fits": device.fits(one) or None,
        }
        for one in estimates
    ]
