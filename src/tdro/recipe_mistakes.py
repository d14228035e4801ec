"""What is wrong with a recipe, each mistake in a sentence that says how to mend it."""

import difflib
import inspect
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from tdro.compare_settings import CompareSettings
from tdro.recipe import BenchmarkEntry, Recipe, TaskFolder
from tdro.settings import (
    CurveSettings,
    EncoderSettings,
    LearningSettings,
    LoraSettings,
    MergingSettings,
    ReferenceSettings,
    RegressionSettings,
    TrainingSettings,
)
from tdro.tasks.entry import TaskEntry
from tdro.tasks.options import Columns, RowFilter
from tdro.tasks.reading import either, suffix_of


def sentences_of(error: ValidationError) -> list[str]:
    """Returns what is wrong, the problem that explains others first, each problem once."""
    # A union reports its problems member by member; the deepest place is the one that was meant,
    # and there a key that is too much explains one that is missing.
    ordered = sorted(
        error.errors(include_url=False),
        key=lambda problem: (len(problem["loc"]), problem["type"] == "extra_forbidden"),
        reverse=True,
    )
    found: dict[Any, str] = {}
    model_is_wrong = any(problem["loc"] == ("model",) for problem in ordered)
    for problem in ordered:
        place = problem["loc"]
        ambiguous = any(_is_union_label(str(step)) for step in place)
        # What is wrong in the model is wrong in the proxy that takes it over.
        inherited = model_is_wrong and problem["type"] == "missing"
        if place and place[0] == "proxy" and (inherited or ("model", *place[1:]) in found):
            continue
        found.setdefault(place[0] if ambiguous else place, _told(problem))
    return list(found.values())


def _told(problem: Any) -> str:
    steps = [str(step) for step in problem["loc"] if not _is_union_label(str(step))]
    key = ".".join(steps)
    if problem["type"] == "extra_forbidden":
        unknown = f"the key {key!r} (value {problem['input']!r}) is unknown"
        if len(steps) == 1 and (below := _sections_with(key)):
            return f"{unknown} here: it is a key of a section, {either(below)}."
        near = nearest(steps[-1], _keys_beside(problem["loc"]))
        return f"{unknown}; the nearest valid key is {near!r}."
    if problem["type"] == "missing":
        return f"the key {key!r} is missing."
    if (meant := _meant(steps, problem["input"])) is not None:
        return f"{key!r} is {problem['input']!r}: write {meant}."
    message = problem["msg"].removeprefix("Value error, ")
    if isinstance(problem["input"], dict):
        return f"in {key!r}, {message}." if key else f"{message}."
    told = f"{key!r} is {problem['input']!r}: {message[0].lower()}{message[1:]}"
    if problem["type"] == "literal_error" and isinstance(problem["input"], str):
        near = nearest(problem["input"], re.findall("'([^']+)'", problem["ctx"]["expected"]))
        return f"{told}; the nearest is {near!r}."
    return f"{told}."


def nearest(name: str, known: Sequence[str]) -> str:
    """Returns the known name that is most like another."""
    return difflib.get_close_matches(name, known, 1, 0.0)[0]


def _sections_with(key: str) -> tuple[str, ...]:
    """Returns a key with the section before it for each section of a recipe that has it."""
    sections = ((name, field.annotation) for name, field in Recipe.model_fields.items())
    return tuple(
        repr(f"{name}.{key}")
        for name, section in sections
        if inspect.isclass(section) and issubclass(section, BaseModel)
        if key in section.model_fields
    )


def _meant(steps: Sequence[str], value: Any) -> str | None:
    """Returns what to write where a bare name stands for a mapping; None anywhere else."""
    if not isinstance(value, str):
        return None
    ending = suffix_of(Path(value))
    file = f"{{name: {Path(value).name.removesuffix(ending or '')}, path: {value}}}"
    match steps:
        case ["model" | "proxy"]:
            return f"{steps[0]}: {{name_or_path: {value}}}"
        case ["tasks"]:
            return f"tasks: [{file}]" if ending else f"tasks: {{folder: {value}}}"
        case ["tasks", _]:
            return file
    return None


def _is_union_label(step: str) -> bool:
    return step.startswith("tuple[") or step == TaskFolder.__name__


def _keys_beside(place: Sequence[str | int]) -> list[str]:
    members: dict[str, type[BaseModel]] = {
        "tasks": TaskEntry,
        "benchmarks": BenchmarkEntry,
        "model": EncoderSettings,
        "proxy": EncoderSettings,
        "reference": ReferenceSettings,
        "training": TrainingSettings,
        "learning": LearningSettings,
        "merging": MergingSettings,
        "curve": CurveSettings,
        "regression": RegressionSettings,
        "compare": CompareSettings,
    }
    model: type[BaseModel] = members[str(place[0])] if len(place) > 1 else Recipe
    if TaskFolder.__name__ in place:
        model = TaskFolder
    if "lora" in place[:-1]:
        model = LoraSettings
    if place[0] == "tasks" and "columns" in place[:-1]:
        model = Columns
    if place[0] == "tasks" and "filter" in place[:-1]:
        model = RowFilter
    return list(model.model_fields)
