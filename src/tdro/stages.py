"""Stages of a run: each a directory that is done when its manifest is there and fits."""

import contextlib
import datetime
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from tdro.files import (
    MANIFEST_FILE,
    digest,
    discard,
    locked,
    publish,
    read_json,
    remove_hidden,
    write_json,
)
from tdro.processes import Processes
from tdro.progress import Tick, stage_progress

PROFILE_FOLDER = "profile"
_TURN_FILE = ".turn.lock"
INPUTS_FILE = "inputs.json"
_HALF_WRITTEN = ".*.partial"


@dataclass(frozen=True)
class Stage:
    """One piece of work.

    Attributes:
        label: Its name for people.
        directory: Where its result goes, relative to the run directory.
        inputs: All that the result depends on, as JSON values.
        work: Does it in the directory it is given and returns counts for the record; ``seconds``
            among them stand for those that it took, where the result is a copy. It may find there
            what a killed attempt with the same inputs left.
        together: Every process of the run takes part; otherwise the first does it alone.
        aids: Patterns, relative to that directory, of what only helps a killed attempt to go on.
            The work leaves it there; it is removed when the manifest is written.
    """

    label: str
    directory: str
    inputs: Mapping[str, Any]
    work: Callable[[Path, Tick], dict[str, Any]]
    together: bool = False
    aids: Sequence[str] = ()

    @property
    def fingerprint(self) -> str:
        """Digest of the inputs."""
        return digest(dict(self.inputs))


class RunDirectory:
    """The directory of a run, which does the stages that are missing or stale.

    Args:
        root: The directory; made with its first stage.
        console: Where to say what is done and why.
        profile: Also trace where the time of a stage goes (see ``tdro.profile``).
        shared: Other runs may complete stages here at the same time.
        processes: The processes of this run.

    Attributes:
        worked: Whether a stage was done here, not found done before.
    """

    def __init__(
        self,
        root: Path,
        console: Console,
        *,
        profile: bool = False,
        shared: bool = False,
        processes: Processes | None = None,
    ) -> None:
        self.processes = processes or Processes()
        self.root = root
        self.console = console
        self.profile = profile
        self.shared = shared
        self._seen: set[tuple[str, str]] = set()
        self.warnings: list[str] = []
        self.worked = False

    def complete(self, stage: Stage) -> Path:
        """Returns the stage's finished directory, doing the work if it has to be done.

        A killed attempt leaves ``.NAME.partial`` beside it, from which the next one goes on.
        """
        target = self.root / stage.directory
        if (stage.directory, stage.fingerprint) in self._seen:
            return target
        self._seen.add((stage.directory, stage.fingerprint))
        held = self.shared and self.processes.first
        with locked(self.root / _TURN_FILE, wait=True) if held else contextlib.nullcontext():
            return self._complete(stage, target)

    def _complete(self, stage: Stage, target: Path) -> Path:
        processes = self.processes
        partial = target.with_name(f".{target.name}.partial")
        if not processes.once(lambda: self._begin(stage, target, partial)):
            return target
        self.worked = True
        started = time.monotonic()
        with stage_progress(self.console, stage.label) as tick:
            if stage.together:
                facts = self._work(stage, partial, tick)
            else:
                facts = processes.once(lambda: self._work(stage, partial, tick))
        processes.wait()
        seconds = facts.pop("seconds", time.monotonic() - started)
        processes.once(lambda: self._end(stage, target, partial, facts, seconds))
        return target

    def _begin(self, stage: Stage, target: Path, partial: Path) -> bool:
        """Makes room for a stage that has to be done, and tells whether it has to."""
        for folder in (target, partial):
            remove_hidden(folder)
        reason = self.why(stage)
        if reason is None:
            self.say(f"[dim]{escape(stage.label)}: done before[/dim]")
            return False
        resumed = ""
        if not goes_on(stage, partial):
            discard(partial)
        elif (partial / MANIFEST_FILE).is_file():
            self._publish(stage, target, partial)
            return False
        else:
            resumed = ", going on where it stopped"
        self.say(f"{escape(stage.label)}: {escape(reason)}{resumed}")
        partial.mkdir(parents=True, exist_ok=True)
        write_json(partial / INPUTS_FILE, dict(stage.inputs))
        return True

    def _end(
        self, stage: Stage, target: Path, partial: Path, facts: dict[str, Any], seconds: float
    ) -> None:
        """Writes the manifest of a stage: from then on a kill loses nothing of it."""
        manifest = {
            "stage": stage.label,
            "fingerprint": stage.fingerprint,
            "seconds": round(seconds, 3),
            "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
            "facts": facts,
            "inputs": dict(stage.inputs),
        }
        write_json(partial / MANIFEST_FILE, manifest)
        self._publish(stage, target, partial)

    def _publish(self, stage: Stage, target: Path, partial: Path) -> None:
        """Gives a stage with a manifest its final name, without what helped it to go on."""
        for pattern in (*stage.aids, INPUTS_FILE, _HALF_WRITTEN):
            for path in list(partial.glob(pattern)):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()
            # What trackers wrote beside checkpoints stays.
            with contextlib.suppress(OSError):
                (partial / pattern).parent.rmdir()
        publish(partial, target)
        told = read_json(target / MANIFEST_FILE)
        counts = told["facts"].items()
        counted = "".join(f", {value:,} {name.replace('_', ' ')}" for name, value in counts)
        self.say(f"[green]{escape(stage.label)}: {told['seconds']:.1f} s{escape(counted)}[/green]")

    def finished(self, place: str) -> Path:
        """Returns the folder of a stage that has been done."""
        return self.root / place

    def is_done(self, stage: Stage) -> bool:
        """Tells whether a stage was finished with these very inputs."""
        return self.processes.once(lambda: self.why(stage) is None)

    def undo(self, directory: Path) -> None:
        """Makes a finished stage one that is to be done."""
        place = directory.relative_to(self.root).as_posix()
        self._seen = {seen for seen in self._seen if seen[0] != place}
        self.processes.once((directory / MANIFEST_FILE).unlink)

    def _work(self, stage: Stage, partial: Path, tick: Tick) -> dict[str, Any]:
        if not (self.profile and self.processes.first):
            return stage.work(partial, tick)
        from tdro.profile import profiled

        trace = self.root / PROFILE_FOLDER / f"{stage.directory}.json.gz"
        with profiled(stage.label, trace, tick, self.console) as profiled_tick:
            return stage.work(partial, profiled_tick)

    def why(self, stage: Stage) -> str | None:
        """Returns why a stage has to be done, or None when it is done."""
        target = self.root / stage.directory
        if not (target / MANIFEST_FILE).is_file():
            return "to be done"
        manifest = read_json(target / MANIFEST_FILE)
        if manifest["fingerprint"] == stage.fingerprint:
            return None
        before, now = _flat(manifest["inputs"]), _flat(dict(stage.inputs))
        changed = sorted(key for key in before | now if before.get(key) != now.get(key))
        if not changed:
            return "to be done again"
        key = changed[0]
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        return f"to be done again, {key} was {before.get(key)!r}, is {now.get(key)!r}{more}"

    def warn(self, text: str) -> None:
        """Says once something that should make the reader doubt a result."""
        if text not in self.warnings:
            self.warnings.append(text)
            self.say(f"[yellow]warning: {escape(text)}[/yellow]")

    def say(self, text: str) -> None:
        """Prints a line."""
        self.console.print(text, highlight=False)


def goes_on(stage: Stage, partial: Path) -> bool:
    """Tells whether a killed attempt with the inputs of a stage left a folder to go on from."""
    if (partial / MANIFEST_FILE).is_file():
        return fingerprint_of(partial) == stage.fingerprint
    known = partial / INPUTS_FILE
    return known.is_file() and digest(read_json(known)) == stage.fingerprint


class NotDoneError(Exception):
    """The result of a stage was asked for that is not done.

    Attributes:
        place: Folder of the stage in its run directory.
    """

    def __init__(self, place: str) -> None:
        super().__init__(place)
        self.place = place


class Pending:
    """The folder that a stage will leave: it has a fingerprint, and nothing can be read from it.

    Args:
        place: Folder of the stage in its run directory.
        fingerprint: Digest of its inputs, where they are known.

    Raises:
        NotDoneError: Anything but a path below it is asked for.
    """

    def __init__(self, place: str, fingerprint: str = "") -> None:
        self.place = place
        self.fingerprint = fingerprint

    def __truediv__(self, name: str) -> "Pending":
        return Pending(self.place)

    def __fspath__(self) -> str:
        raise NotDoneError(self.place)

    def __getattr__(self, name: str) -> Any:
        raise NotDoneError(self.place)


def fingerprint_of(finished: Path | Pending) -> str:
    """Returns the fingerprint of a stage's inputs, of one not yet done likewise."""
    if isinstance(finished, Pending):
        return finished.fingerprint
    fingerprint: str = read_json(finished / MANIFEST_FILE)["fingerprint"]
    return fingerprint


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        pairs = value.items()
    elif isinstance(value, list):
        pairs = enumerate(value)  # type: ignore[assignment]
    else:
        return {prefix: value}
    return {
        inner: leaf
        for key, item in pairs
        for inner, leaf in _flat(item, f"{prefix}.{key}" if prefix else str(key)).items()
    }
