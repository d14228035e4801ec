"""Reading a recipe: the YAML file, overrides, errors in one sentence, and paths made absolute."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from tdro.compare_settings import CompareSettings, split_selection
from tdro.errors import InputError
from tdro.recipe import BenchmarkEntry, Recipe, TaskFolder
from tdro.settings import (
    CurveSettings,
    EncoderSettings,
    LearningSettings,
    LoraSettings,
    MergingSettings,
    ReferenceSettings,
    TrainingSettings,
)
from tdro.tasks.entry import TaskEntry
from tdro.tasks.options import Columns, RowFilter

# What of the learning settings matters once the losses are there.
_REPLAYED = ("eta", "cut", "smoothing", "ema_decay")


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe, applies ``key=value`` overrides and resolves its paths.

    Args:
        path: The YAML file. Paths in it start from its folder.
        overrides: Each ``dotted.key=value``, the value in YAML, read as if it stood in the file.

    Raises:
        InputError: The file, a key, a value or a named path is wrong; one sentence.
    """
    content = _read_yaml(path)
    for override in overrides:
        _apply(content, override)
    proxy = content.get("proxy") or {}
    model = content.get("model")
    if isinstance(model, Mapping) and isinstance(proxy, Mapping):
        content["proxy"] = {**model, **proxy}
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{path}: {_sentence(error)}") from None
    return _resolved(recipe, path)


def replay_settings(method: str, overrides: Sequence[str]) -> LearningSettings:
    """Returns the settings of a replay: a method and what it reads beside the losses.

    Args:
        method: Name of a preset.
        overrides: Each ``key=value``, the key one of eta, cut, smoothing and ema_decay.

    Raises:
        InputError: The method, a key or a value is wrong; one sentence.
    """
    content: dict[str, Any] = {"method": method}
    for override in overrides:
        if override.partition("=")[0] not in _REPLAYED:
            raise InputError(f"--set {override}: a replay reads {', '.join(_REPLAYED)} only.")
        _apply(content, override)
    try:
        return LearningSettings.model_validate(content)
    except ValidationError as error:
        raise InputError(_sentence(error)) from None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"The recipe {path} does not exist.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The recipe {path} cannot be read: {error}.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or "not YAML"
        raise InputError(f"{where}: the recipe is not valid YAML ({problem}).") from None
    if not isinstance(content, dict):
        raise InputError(f"The recipe {path} is no mapping of keys to values.")
    return content


def _apply(content: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise InputError(f"--set takes key=value, such as learning.steps=50, not {override!r}.")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise InputError(f"--set {key}: {text!r} is not a YAML value.") from None
    *parents, last = key.split(".")
    place = content
    for parent in parents:
        inner = place.get(parent, {})
        if not isinstance(inner, dict):
            raise InputError(f"--set {key}: {parent!r} holds {inner!r}, no further keys.")
        # A copy, since a YAML alias makes two keys share one mapping.
        place[parent] = dict(inner)
        place = place[parent]
    place[last] = value


def _sentence(error: ValidationError) -> str:
    # A union reports its problems member by member; the deepest place is the one that was meant,
    # and there a key that is too much explains one that is missing.
    first = max(
        error.errors(include_url=False),
        key=lambda problem: (len(problem["loc"]), problem["type"] == "extra_forbidden"),
    )
    steps = [str(step) for step in first["loc"] if not _is_union_label(str(step))]
    key = ".".join(steps)
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(steps[-1], _keys_beside(first["loc"]), 1, 0.0)
        return (
            f"the key {key!r} (value {first['input']!r}) is unknown; "
            f"the nearest valid key is {near[0]!r}."
        )
    if first["type"] == "missing":
        return f"the key {key!r} is missing."
    message = first["msg"].removeprefix("Value error, ")
    if isinstance(first["input"], dict):
        return f"in {key!r}, {message}." if key else f"{message}."
    return f"{key!r} is {first['input']!r}: {message[0].lower()}{message[1:]}."


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


def _resolved(recipe: Recipe, path: Path) -> Recipe:
    """Makes every path absolute, after checking that it is there, and fills what is inherited."""
    base = path.resolve().parent

    def existing(value: Path | str, key: str) -> Path:
        found = (base / value).resolve()
        if not found.exists():
            raise InputError(f"{path}: {key!r} is {str(value)!r}, which does not exist ({found}).")
        return found

    def model(settings: EncoderSettings, key: str) -> EncoderSettings:
        name = settings.name_or_path
        local = name.endswith(".gguf") or name.startswith((".", "/")) or (base / name).exists()
        place = str(existing(name, f"{key}.name_or_path")) if local else name
        return settings.model_copy(update={"name_or_path": place})

    tasks: tuple[TaskEntry, ...] | TaskFolder
    if isinstance(recipe.tasks, TaskFolder):
        tasks = TaskFolder(folder=existing(recipe.tasks.folder, "tasks.folder"))
    else:
        tasks = tuple(
            entry
            if entry.path is None
            else entry.model_copy(update={"path": existing(entry.path, f"tasks.{place}.path")})
            for place, entry in enumerate(recipe.tasks)
        )
    return recipe.model_copy(
        update={
            "tasks": tasks,
            "model": model(recipe.model, "model"),
            "proxy": model(recipe.proxy, "proxy"),
            "learning": recipe.learning.inheriting(recipe.reference),
            "retrievers": tuple(
                str(existing(name, "retrievers")) if name.endswith(".json") else name
                for name in recipe.retrievers
            ),
            "compare": recipe.compare.model_copy(
                update={
                    "mixtures": tuple(
                        _file_resolved(name, existing) for name in recipe.compare.mixtures
                    )
                }
            ),
            "benchmarks": tuple(
                entry.model_copy(update={"path": existing(entry.path, f"benchmarks.{place}.path")})
                for place, entry in enumerate(recipe.benchmarks)
            ),
        }
    )


def _file_resolved(name: str, existing: Callable[[Path | str, str], Path]) -> str:
    base, selection = split_selection(name)
    if not base.endswith(".json"):
        return name
    return f"{existing(base, 'compare.mixtures')}{selection and '/'}{selection}"
