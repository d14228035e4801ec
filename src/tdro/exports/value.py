"""What is exported, and what comes out: two frozen values, and the collecting of the first."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType

from tdro.errors import InputError
from tdro.files import file_name
from tdro.mixture import Mixture
from tdro.tasks.reading import SUFFIXES
from tdro.tasks.sources import find_sources
from tdro.tasks.task import TaskSource

_GUESSED_FOLDER = Path("data")
# How many of the tasks that have no file an error names.
_NAMED = 3


@dataclass(frozen=True)
class Share:
    """One task of an export.

    Attributes:
        name: Name of the task.
        weight: Its weight, above zero; the weights of an export sum to 1.
        file: Its file, relative to the folder of task files; None where it is not one file that
            is read whole and as it is.
    """

    name: str
    weight: float
    file: str | None


@dataclass(frozen=True)
class Export:
    """A mixture and what is known of its tasks, as the targets need it.

    Attributes:
        mixture: The mixture file, an absolute path.
        data: The folder of task files: absolute, or a guess where ``known`` is false.
        known: Whether the task files have been seen.
        folder: Where the text will be, an absolute path.
        shares: The tasks with a weight, in the order of the mixture.
        left_out: The tasks of weight 0.
        total: Rows to share out; None where nothing says how many.
    """

    mixture: Path
    data: Path
    known: bool
    folder: Path
    shares: tuple[Share, ...]
    left_out: tuple[str, ...]
    total: int | None

    def rows(self) -> dict[str, int]:
        """Shares ``total`` out by the weights; the counts sum to it exactly.

        Raises:
            InputError: Nothing says how many rows there are.
        """
        if self.total is None:
            raise InputError(
                f"{self.mixture} does not say how many rows its tasks have: "
                "tell with --rows how many to share out."
            )
        return share_out({share.name: share.weight for share in self.shares}, self.total)


@dataclass(frozen=True)
class Rendered:
    """The text of an export.

    Attributes:
        files: Text of each file by its name, in the order to read them.
    """

    files: Mapping[str, str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", MappingProxyType(dict(self.files)))


def share_out(weights: Mapping[str, float], total: int) -> dict[str, int]:
    """Shares ``total`` rows out by the largest remainder.

    Every task gets its share rounded down, and the rows that are left go to the tasks that lost
    most by rounding, the earlier of equal ones first. The arithmetic is exact.

    Args:
        weights: Weight of each task, zero or more, with a sum above zero.
        total: Rows to share out, zero or more.

    Returns:
        Rows of each task, in the order of ``weights``; they sum to ``total``.
    """
    exact = {task: Fraction(weight) for task, weight in weights.items()}
    whole = sum(exact.values())
    shares = {task: weight * total / whole for task, weight in exact.items()}
    rows = {task: math.floor(share) for task, share in shares.items()}
    losers = sorted(rows, key=lambda task: rows[task] - shares[task])
    for task in losers[: total - sum(rows.values())]:
        rows[task] += 1
    return rows


def collect(
    mixture: Path, data: Path | None = None, folder: Path = Path(), rows: int | None = None
) -> Export:
    """Reads a mixture file and finds the files of its tasks.

    Args:
        mixture: The mixture file, ours or the authors'.
        data: The folder of task files; without it they are taken to be ``data/TASK.jsonl``.
        folder: Where the text will be.
        rows: Rows to share out; by default those the mixture file says its tasks have.

    Raises:
        InputError: The mixture file is missing or broken, ``data`` has no file for a task with a
            weight, a name is no Unicode text, or ``rows`` is below 1.
    """
    if rows is not None and rows < 1:
        raise InputError(f"--rows is {rows}: give the number of rows to share out, 1 or more.")
    read = Mixture.load(mixture)
    for name in read.weights:
        _check_name(mixture, name)
    weights = {name: weight for name, weight in read.weights.items() if weight > 0}
    whole = math.fsum(weights.values())
    files = _found(data, list(weights)) if data else _guessed(weights)
    known_rows = sum(read.sizes[name] for name in weights) if read.sizes else None
    return Export(
        mixture=mixture.absolute(),
        data=data.absolute() if data else _GUESSED_FOLDER,
        known=data is not None,
        folder=folder.absolute(),
        shares=tuple(Share(name, weights[name] / whole, files[name]) for name in weights),
        left_out=tuple(name for name, weight in read.weights.items() if weight == 0),
        total=rows or known_rows or None,
    )


def _check_name(mixture: Path, name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InputError(
            f"{mixture}: the task name {name!r} holds half a surrogate pair: rename the task."
        ) from None


def _guessed(names: Mapping[str, float]) -> dict[str, str | None]:
    return {name: f"{file_name(name)}.jsonl" for name in names}


def _inside(data: Path, file: Path) -> str:
    # `tasks.json` may give an absolute path inside a folder that was given otherwise. No other
    # is resolved, since it may be a link to a file elsewhere.
    if not file.is_relative_to(data):
        data, file = data.resolve(), file.resolve()
    return file.relative_to(data).as_posix()


def _whole_file(data: Path, source: TaskSource) -> str | None:
    partly = source.columns or source.filter or source.max_rows
    if partly or source.path is None or not source.path.is_file():
        return None
    return _inside(data, source.path)


def _found(data: Path, names: list[str]) -> dict[str, str | None]:
    if not data.is_dir():
        raise InputError(f"{data} is no folder: --data takes the folder of the task files.")
    files = {source.name: _whole_file(data, source) for source in find_sources(data)}
    missing = [repr(name) for name in names if name not in files]
    if missing:
        shown = ", ".join(missing[:_NAMED])
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise InputError(
            f"{data} has no file of {shown}{more}, to which the mixture gives weight: add "
            f"TASK{SUFFIXES[1]}, {SUFFIXES[0]} or {SUFFIXES[2]}, or give another --data."
        )
    return files
