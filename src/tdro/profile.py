"""Where a stage's time goes: a trace of a few of its units and a table of its heaviest lines."""

import os
from collections.abc import Iterator, Sequence, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

from tdro.progress import Tick

_LINES = 10
_UNITS = 3
# About 50 MB of JSON, of which gzip leaves less than a tenth.
_MOST_EVENTS = 200_000


@contextmanager
def profiled(label: str, trace: Path, tick: Tick, console: Console) -> Iterator[Tick]:
    """Profiles a part of a stage, then writes its trace and prints its heaviest lines.

    A unit is what lies between two calls of the stage's tick. The first is recorded; where the
    stage goes on, the second warms up and the next three (fewer where units are large) are
    recorded in place of the first. A stage that never ticks is recorded whole, and one that runs
    no torch op leaves no trace.

    Args:
        label: Name of the stage.
        trace: The file to write, in the Chrome trace format; ends in ``.json.gz``.
        tick: The stage's tick.
        console: Where to print.

    Yields:
        The tick to give to the stage in place of its own.
    """
    # Kineto prints two lines to stderr a recording at any level below this one.
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")
    recorder = _Recorder(tick)
    try:
        yield recorder
    finally:
        recorder.end()
    recording = recorder.recording
    # A kernel's time is also that of the op which launched it, so only the ops are counted.
    lines = [line for line in recording.key_averages() if line.device_type.name == "CPU"]
    if all(line.is_user_annotation for line in lines):
        return
    trace.parent.mkdir(parents=True, exist_ok=True)
    unfinished = trace.with_name(f".{trace.name}")
    recording.export_chrome_trace(str(unfinished))
    unfinished.replace(trace)
    console.print(_table(label, lines))
    console.print(f"Trace: {trace}", highlight=False, soft_wrap=True, markup=False)


class _Recorder:
    """A tick that starts and stops the profiler as it is called.

    Attributes:
        recording: What was recorded; complete after ``end``.
    """

    def __init__(self, tick: Tick) -> None:
        self._tick = tick
        self._ticks = 0
        self._last = 0
        self._later: profile | None = None
        self.recording = _started()

    def __call__(self, done: int, total: int, loss: float | None) -> None:
        self._tick(done, total, loss)
        self._ticks += 1
        if self._ticks == 1:
            self.recording.stop()
            events: Sized = self.recording.events()  # type: ignore[no-untyped-call]
            self._last = 2 + min(_UNITS, max(1, _MOST_EVENTS // max(1, len(events))))
        elif self._ticks == 2:
            self._later = _started()
        elif self._ticks == self._last:
            self._stop_later()

    def end(self) -> None:
        """Stops what is still recording."""
        if self._ticks == 0:
            self.recording.stop()
        self._stop_later()

    def _stop_later(self) -> None:
        if self._later is None:
            return
        self._later.stop()
        # Ended before its first tick it holds no whole unit, only what follows the last one.
        if self._ticks > 2:
            self.recording = self._later
        self._later = None


def _started() -> profile:
    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    started = profile(activities=activities)
    started.start()
    return started


def _table(label: str, lines: Sequence[Any]) -> Table:
    """Shows the ten lines with the most time of their own, and their share of that of all."""
    device = any(line.self_device_time_total for line in lines)
    field = "self_device_time_total" if device else "self_cpu_time_total"
    total = sum(getattr(line, field) for line in lines)
    table = Table(title=escape(label), title_justify="left")
    table.add_column("op", overflow="fold")
    for name in ("calls", "self CUDA, ms" if device else "self CPU, ms", "share"):
        table.add_column(name, justify="right")
    for line in sorted(lines, key=lambda line: -getattr(line, field))[:_LINES]:
        own = getattr(line, field)
        cells = f"{line.count:,}", f"{own / 1000:,.2f}", f"{own / total:.1%}"
        table.add_row(escape(line.key), *cells)
    return table
