"""The table and the file of an estimate."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
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


def render(estimates: Sequence[StageEstimate], device: Device) -> RenderableType:
    """Draws two tables, the work of every stage and its memory, that fit 80 characters.

    Tasks share a line, and so do stages that take the same.
    """
    lines = _lines(estimates)
    return Group(_work_table(lines, device), _memory_table(lines, device))


def _work_table(lines: Sequence[tuple[str, StageEstimate]], device: Device) -> Table:
    drawn = _table("rows", "tokens", "PFLOPs", *(["hours"] if device.throughput else []))
    for label, one in lines:
        cells = [
            f"{'' if one.exact else 'about '}{_count(one.rows)}" if one.rows else "",
            _count(one.tokens) if one.tokens else "",
            _short(one.work.total / 1e15) if one.work.total else "",
        ]
        if (hours := device.hours(one)) is not None:
            cells.append(_short(hours) if one.work.total else "")
        drawn.add_row(Text(label), *cells)
    return drawn


def _memory_table(lines: Sequence[tuple[str, StageEstimate]], device: Device) -> Table:
    parts = ("weights", "gradients", "optimizer", "activ.", "peak GB")
    drawn = _table(*parts, *(["fits"] if device.memory else []))
    for label, one in lines:
        if (memory := one.memory) is None:
            continue
        sizes = (
            memory.parameters,
            memory.gradients,
            memory.optimizer,
            memory.activations,
            memory.peak,
        )
        cells = [Text(f"{value / 1e9:.2f}" if value else "") for value in sizes]
        if fits := device.fits(one):
            cells.append(Text(fits, style=_STYLES.get(fits, "")))
        drawn.add_row(Text(label), *cells)
    return drawn


def _table(*titles: str) -> Table:
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    drawn.add_column("stage", min_width=16, overflow="fold")
    for title in titles:
        drawn.add_column(title, justify="right", no_wrap=True)
    return drawn


def _lines(estimates: Sequence[StageEstimate]) -> list[tuple[str, StageEstimate]]:
    tasks = [one for one in estimates if one.stage.kind == "task"]
    together = StageEstimate(
        tasks[0].stage,
        rows=sum(one.rows for one in tasks),
        exact=all(one.exact for one in tasks),
    )
    size = _size(sum(one.size for one in tasks))
    lines = [(f"{len(tasks)} tasks, {size}" if len(tasks) > 1 else f"1 task, {size}", together)]
    alike: dict[Any, list[StageEstimate]] = {}
    for one in estimates:
        if one.stage.kind != "task":
            # Experts, retrievers and scores often differ in nothing but their names.
            same = (one.stage.kind, one.memory, one.rows, one.tokens) if one.tokens else one.stage
            alike.setdefault(same, []).append(one)
    for group in alike.values():
        names = ", ".join(one.stage.label for one in group[:3])
        each = f" (each of {len(group)})" if len(group) > 1 else ""
        lines.append((f"{names}{', ...' if len(group) > 3 else ''}{each}", group[0]))
    return lines


def _size(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"


def _count(value: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6)):
        if value >= 10 * size:
            return f"{value / size:,.0f} {unit}"
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
