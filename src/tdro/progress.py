"""What a long stage tells while it works: a bar in a terminal, a line now and then elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

Tick = Callable[[int, int, float | None], None]
"""Called with the units done, the units in all, and the latest loss where there is one."""

_LINE_EVERY_SECONDS = 15.0


class _SpeedColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f}/s" if speed else "", style="progress.data.speed")


@contextmanager
def stage_progress(console: Console, label: str) -> Iterator[Tick]:
    """Shows the progress of one stage: units, loss, speed and time left.

    Args:
        console: Where to show it; a bar when it is a terminal, else a line every 15 seconds.
        label: Name of the stage.

    Yields:
        The function the stage calls as it goes.
    """
    if console.is_terminal:
        columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()]
        columns += [_SpeedColumn(), TextColumn("{task.fields[loss]}"), TimeElapsedColumn()]
        with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bars:
            bar = bars.add_task(label, total=None, loss="")

            def move(done: int, total: int, loss: float | None) -> None:
                shown = "" if loss is None else f"loss {loss:.4f}"
                bars.update(bar, completed=done, total=total, loss=shown)

            yield move
    else:
        yield _Lines(console, label)


class _Lines:
    def __init__(self, console: Console, label: str) -> None:
        self.console = console
        self.label = label
        self.started = self.called = self.last = time.monotonic()
        self.first: int | None = None
        self.done = 0

    def __call__(self, done: int, total: int, loss: float | None) -> None:
        now = time.monotonic()
        if self.first is None:
            # How much of this an earlier, killed attempt did is not known.
            self.first, self.started = done, now
        elif done < self.done:
            # A second thing to count, begun after the last call.
            self.first, self.started = 0, self.called
        self.done, self.called = done, now
        if now - self.last < _LINE_EVERY_SECONDS:
            return
        self.last = now
        told = "" if loss is None else f", loss {loss:.4f}"
        if done > self.first:
            speed = (done - self.first) / max(now - self.started, 1e-9)
            told += f", {speed:.1f}/s, {(total - done) / speed:.0f} s left"
        self.console.print(f"  {self.label}: {done}/{total}{told}", highlight=False)
