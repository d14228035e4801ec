"""A run directory in which nothing is done: how stages stand, and judges by name alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from datasets import Dataset
from rich.console import Console

from tdro.evaluation.benchmark import Benchmark
from tdro.recipe import BenchmarkEntry
from tdro.run.context import Context
from tdro.run.evaluation import (
    Judge,
    complete_holdouts,
    holdout_identity,
    outside_identity,
    outside_sources,
)
from tdro.stages import NotDoneError, Pending, RunDirectory, Stage, goes_on

DONE, STALE, MISSING, OPEN = "done", "stale", "to be done", "not known yet"
_STYLES = {DONE: "dim", STALE: "yellow", OPEN: "yellow"}
# What some layouts of benchmarks tell their instruction by.
_READING = "reading the benchmarks"


@dataclass(frozen=True)
class Told:
    """A stage and how it stands.

    Attributes:
        label: Its name for people.
        state: ``done``, ``stale``, ``to be done``, or ``not known yet``: it was done, but whether
            with the same inputs depends on a stage that has to be done first.
        why: What has changed, or what it waits for; may be empty.
    """

    label: str
    state: str
    why: str = ""


def style_of(state: str) -> str:
    """Returns the style in which a table shows a state."""
    return _STYLES.get(state, "")


class DryDirectory(RunDirectory):
    """A run directory that does no stage but tells how each stands.

    Attributes:
        told: The stages that were asked for, by their places.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root, Console(quiet=True))
        self.told: dict[str, Told] = {}

    def complete(self, stage: Stage) -> Path:
        """Returns the stage's folder; one that is not done has no content to be read."""
        target = self.root / stage.directory
        reason = self.why(stage)
        if reason is None:
            self.told.setdefault(stage.directory, Told(stage.label, DONE))
            return target
        first, _, why = reason.partition(", ")
        if goes_on(stage, target.with_name(f".{target.name}.partial")):
            why = "; ".join(filter(None, [why, "goes on where it was stopped"]))
        state = MISSING if first == "to be done" else STALE
        self.told.setdefault(stage.directory, Told(stage.label, state, why))
        return cast(Path, Pending(stage.directory, stage.fingerprint))

    def finished(self, place: str) -> Path:
        """Returns the folder of a stage; one that is not done has no content to be read."""
        told = self.told.get(place)
        done = told is not None and told.state == DONE
        return self.root / place if done else cast(Path, Pending(place))

    def stands(self, folder: Path | Pending) -> Told:
        """Returns how the stage stands that left a folder here, or will leave it."""
        if isinstance(folder, Pending):
            return self.told[folder.place]
        return self.told[folder.relative_to(self.root).as_posix()]


def hollow_holdouts(context: Context) -> list[Judge]:
    """Returns the hold-outs of the tasks, by name and identity alone."""
    return [
        Judge(_hollow(item.name, item.task.instruction), holdout_identity(at, item))
        for at, held in complete_holdouts(context)
        for item in held
    ]


def hollow_outside(benchmarks: Sequence[BenchmarkEntry]) -> list[Judge]:
    """Returns the benchmarks of a recipe, by name and identity alone.

    Raises:
        InputError: One cannot be read.
        NotDoneError: What the queries of one ask for is only known when it is read.
    """
    judges = []
    digests: dict[Path, str] = {}
    for entry in benchmarks:
        for source in outside_sources(entry):
            instruction = entry.instruction
            if instruction is None:
                if source.glimpse is None:
                    raise NotDoneError(_READING)
                instruction = source.glimpse().instruction
            identity = outside_identity(entry, source, instruction, digests)
            judges.append(Judge(_hollow(entry.name or source.name, instruction), identity))
    return judges


def _hollow(name: str, instruction: str) -> Benchmark:
    """Returns a benchmark of which nothing but its name is known."""
    return Benchmark(name, instruction, "", {}, Dataset.from_dict({}), {})
