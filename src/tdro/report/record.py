"""What a run directory holds for its report, whatever is there so far."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from tdro.errors import InputError
from tdro.evaluation.scores import KEY_COLUMNS, SCORES_FILE
from tdro.files import (
    BY_TASK_FILE,
    MANIFEST_FILE,
    RECIPE_FILE,
    SAMPLING_FILE,
    WARNINGS_FILE,
    read_json,
)
from tdro.learning.trajectory import STEP_COLUMNS, TRAJECTORY_FILE
from tdro.recipe import asks_for_learned, retriever_name

MIXTURES = ("last", "mean", "ema")
TRAJECTORY_COLUMNS = ("step", "task", *STEP_COLUMNS)
BY_TASK_COLUMNS = ("task", "trained_on_rows", "trained_on_loss", "unseen_rows", "unseen_loss")


@dataclass(frozen=True)
class MixtureRecord:
    """One mixture of the run.

    Attributes:
        weights: Weight of each task; they sum to 1.
        sizes: Rows of each task; empty when the file does not say.
        kept: Whether it is the result of the method, by what its file says.
    """

    weights: dict[str, float]
    sizes: dict[str, int] = field(default_factory=dict)
    kept: bool = False


@dataclass(frozen=True)
class Sampling:
    """What a retriever was trained on.

    Attributes:
        retriever: Name of the retriever.
        weights: Requested weight of each task.
        batches: Number of batches each task got.
    """

    retriever: str
    weights: dict[str, float]
    batches: dict[str, int]


@dataclass(frozen=True)
class Stage:
    """A finished stage.

    Attributes:
        name: Name of the stage.
        seconds: Time it took.
        finished: When it was done, ISO 8601.
        facts: What else its manifest says, for example ``rows``, ``steps`` or ``device_name``.
    """

    name: str
    seconds: float
    finished: str
    facts: dict[str, Any]


@dataclass(frozen=True)
class RunRecord:
    """Everything a report says about a run.

    Attributes:
        name: Name of the run directory.
        recipe: The resolved recipe as written; None when it is not there.
        mixtures: The mixtures that are there, by ``last``, ``mean`` and ``ema``.
        trajectory: Table with the columns ``TRAJECTORY_COLUMNS``, one line for each step and task.
        reference_by_task: Table with the columns ``BY_TASK_COLUMNS``, one line a task.
        samplings: One for each trained retriever.
        scores: Table of scores (see :mod:`tdro.evaluation.scores`).
        stages: Finished stages in order of time.
        warnings: What should make one doubt the results.
    """

    name: str
    recipe: str | None = None
    mixtures: dict[str, MixtureRecord] = field(default_factory=dict)
    trajectory: pa.Table | None = None
    reference_by_task: pa.Table | None = None
    samplings: tuple[Sampling, ...] = ()
    scores: pa.Table | None = None
    stages: tuple[Stage, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def mixture_names(self) -> list[str]:
        """The mixtures that are there: first the one the method keeps, else the last one."""
        there = [name for name in MIXTURES if name in self.mixtures]
        return sorted(there, key=lambda name: not self.mixtures[name].kept)

    @property
    def mixture(self) -> MixtureRecord | None:
        """The mixture that ``learned`` and ``top-F`` retrievers come from."""
        return next((self.mixtures[name] for name in self.mixture_names), None)


def load_run(directory: Path) -> RunRecord:
    """Reads what the report shows from a run directory; a file that is not there yet is no fault.

    Raises:
        InputError: The directory holds none of the files of a run, or one of them is broken.
    """
    recipe = directory / RECIPE_FILE
    text = recipe.read_text(encoding="utf-8", errors="replace") if recipe.is_file() else None
    asked = _retrievers_of(text)
    # Of a recipe that learns none, what lies in these folders is of an earlier one.
    learned = _learned(directory) if asked is None or asks_for_learned(asked) else {}
    record = RunRecord(
        name=directory.resolve().name,
        recipe=text,
        samplings=tuple(
            sampling
            for path in sorted(directory.glob(f"retrievers/*/{SAMPLING_FILE}"))
            if (sampling := _read_sampling(path)) and _is_asked(sampling.retriever, asked)
        ),
        scores=_scores(directory, asked),
        stages=tuple(
            sorted(map(_read_stage, _manifests(directory)), key=lambda stage: stage.finished)
        ),
        warnings=read_warnings(directory),
        **learned,
    )
    if record == RunRecord(name=record.name):
        raise InputError(
            f"{directory} is not a run directory: it holds no recipe.yaml, mixture, sampling, "
            "scores.parquet or manifest.json."
        )
    return record


def _learned(directory: Path) -> dict[str, Any]:
    """Returns what a record says of the learned mixture and its reference."""
    mixture, reference = directory / "mixture", directory / "reference_losses"
    return {
        "mixtures": {
            name: _read_mixture(path)
            for name in MIXTURES
            if (path := mixture / f"{name}.json").is_file()
        },
        "trajectory": _read_table(mixture / TRAJECTORY_FILE, TRAJECTORY_COLUMNS),
        "reference_by_task": _read_table(reference / BY_TASK_FILE, BY_TASK_COLUMNS),
    }


def _retrievers_of(recipe: str | None) -> list[str] | None:
    """Returns the retrievers that a resolved recipe asks for; nothing where it does not say."""
    try:
        content = yaml.safe_load(recipe or "")
    except yaml.YAMLError:
        return None
    found = content.get("retrievers") if isinstance(content, dict) else None
    return [str(entry) for entry in found] if isinstance(found, list) else None


def _is_asked(retriever: str, asked: Sequence[str] | None) -> bool:
    return asked is None or retriever in map(retriever_name, asked)


def _scores(directory: Path, asked: Sequence[str] | None) -> pa.Table | None:
    table = _read_table(directory / SCORES_FILE, KEY_COLUMNS)
    if table is None:
        return None
    mask = [_is_asked(name, asked) for name in table.column("retriever").to_pylist()]
    return table.filter(pa.array(mask, pa.bool_())) if any(mask) else None


def read_warnings(directory: Path) -> tuple[str, ...]:
    """Returns what a run or a comparison warned of; nothing where it has not come to an end.

    Raises:
        InputError: The file is no list of sentences.
    """
    path = directory / WARNINGS_FILE
    found = read_json(path) if path.is_file() else []
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise InputError(f"{path} must be a JSON list of texts.")
    return tuple(found)


def _manifests(directory: Path) -> Iterator[Path]:
    """Finds manifests at most two folders down, not those of partial or stale folders."""
    for pattern in (MANIFEST_FILE, f"*/{MANIFEST_FILE}", f"*/*/{MANIFEST_FILE}"):
        for path in sorted(directory.glob(pattern)):
            if not any(part.startswith(".") for part in path.relative_to(directory).parts):
                yield path


def _read_mixture(path: Path) -> MixtureRecord:
    value = _read_object(path, {"domain_weights": dict})
    return MixtureRecord(
        weights=_numbers(path, "domain_weights", value["domain_weights"]),
        sizes=_numbers(path, "size", value.get("size", {}), int),
        kept=value.get("kept") is True,
    )


def _read_sampling(path: Path) -> Sampling:
    value = _read_object(path, {"retriever": str, "tasks": list, "weights": list, "batches": list})
    tasks = [str(task) for task in value["tasks"]]
    if not len(tasks) == len(value["weights"]) == len(value["batches"]):
        raise InputError(f"{path}: 'tasks', 'weights' and 'batches' must be equally long.")
    weights = _numbers(path, "weights", dict(zip(tasks, value["weights"], strict=True)))
    batches = _numbers(path, "batches", dict(zip(tasks, value["batches"], strict=True)), int)
    return Sampling(value["retriever"], weights, batches)


def _read_stage(path: Path) -> Stage:
    value = _read_object(path, {"stage": str})
    facts = value.get("facts")
    return Stage(
        name=value["stage"],
        seconds=_numbers(path, "seconds", {"": value.get("seconds", 0)})[""],
        finished=str(value.get("finished", "")),
        facts=facts if isinstance(facts, dict) else {},
    )


def _read_object(path: Path, fields: Mapping[str, type]) -> dict[str, Any]:
    value = read_json(path)
    for name, kind in fields.items():
        if not isinstance(value, dict) or not isinstance(value.get(name), kind):
            raise InputError(f"{path} must be a JSON object with the field {name!r}.")
    return dict(value)


def _numbers(path: Path, name: str, values: object, kind: type = float) -> dict[str, Any]:
    kinds = (int, float) if kind is float else int
    if not isinstance(values, dict) or not all(
        isinstance(value, kinds) for value in values.values()
    ):
        raise InputError(f"{path}: every value of {name!r} must be a number ({kind.__name__}).")
    return values


def _read_table(path: Path, columns: tuple[str, ...]) -> pa.Table | None:
    if not path.is_file():
        return None
    try:
        table = pq.read_table(path, partitioning=None)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is not a whole Parquet file ({error}).") from None
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise InputError(f"{path} lacks the column {missing[0]!r}.")
    return table
