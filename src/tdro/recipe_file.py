"""Reading a recipe: the YAML file, overrides, and paths made absolute."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from tdro.errors import InputError
from tdro.recipe import Recipe, TaskFolder
from tdro.recipe_mistakes import nearest, sentences_of
from tdro.recipe_yaml import NotYamlError, parse_yaml
from tdro.selection import split_selection
from tdro.settings import (
    LEARNERS,
    LOOPED,
    EncoderSettings,
    LearningSettings,
    carried_over,
)
from tdro.tasks.entry import TaskEntry
from tdro.tasks.reading import either

# What of the learning settings matters once the losses are there.
_REPLAYED = ("eta", "cut", "smoothing", "ema_decay")


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe, applies ``key=value`` overrides and resolves its paths.

    Args:
        path: The YAML file. Paths in it start from its folder. Its key ``extends`` names another
            recipe, whose values hold where this one says nothing.
        overrides: Each ``dotted.key=value``, the value in YAML, read as if it stood in the file.

    Raises:
        InputError: The file, a key, a value or a named path is wrong; one sentence.
    """

    def refuse(sentence: str) -> None:
        raise InputError(sentence)

    recipe = _loaded(path, overrides, refuse)
    assert recipe is not None
    return recipe


def checked_recipe(path: Path, overrides: Sequence[str] = ()) -> tuple[Recipe | None, list[str]]:
    """Reads a recipe as :func:`load_recipe` does and tells all that is wrong with it.

    Returns:
        The recipe, None where its values are wrong, and a sentence for each thing that is; a
        recipe whose files are missing is returned all the same.
    """
    problems: list[str] = []
    try:
        return _loaded(path, overrides, problems.append), problems
    except InputError as error:
        return None, [*problems, str(error)]


def _loaded(path: Path, overrides: Sequence[str], tell: Callable[[str], None]) -> Recipe | None:
    content = _extended(path, ())
    for override in overrides:
        key, _, value = override.partition("=")
        if key == "learning.method":
            # First of all, since others may set what the method reads.
            content = _taking_over(content, value.strip())
    for override in overrides:
        _apply(content, override)
    proxy = content.get("proxy") or {}
    model = content.get("model")
    if isinstance(model, Mapping) and isinstance(proxy, Mapping):
        content["proxy"] = {**model, **proxy}
    try:
        recipe = Recipe.model_validate(_without_nulls(content, Recipe))
    except ValidationError as error:
        for sentence in sentences_of(error):
            tell(f"{path}: {sentence}")
        return None
    return _resolved(recipe, path, tell)


def _extended(path: Path, inner: tuple[Path, ...]) -> dict[str, Any]:
    """Reads a recipe over the one that it extends."""
    content = _read_yaml(path)
    if "extends" not in content:
        return content
    name = content.pop("extends")
    if not isinstance(name, str):
        raise InputError(f"{path}: 'extends' is {name!r}: write the name of one other recipe.")
    found = (path.resolve().parent / name).resolve()
    if not found.is_file():
        raise InputError(f"{path}: 'extends' is {name!r}, which does not exist ({found}).")
    way = (*inner, path.resolve())
    if found in way:
        round_trip = " -> ".join(one.name for one in (*way[way.index(found) :], found))
        raise InputError(f"{path}: 'extends' goes in a circle: {round_trip}.")
    below = _anchored(_extended(found, way), found.parent)
    learning = content.get("learning")
    if isinstance(learning, Mapping) and "method" in learning:
        below = _taking_over(below, learning["method"])
    return _merged(below, content)


def _taking_over(content: dict[str, Any], method: Any) -> dict[str, Any]:
    """Leaves out of a recipe what another method does not take over."""
    given = content.get("learning")
    taken = carried_over(given, method) if isinstance(given, Mapping) else given
    return {**content, "learning": taken} if "learning" in content else content


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lays a mapping over another: what both hold as mappings is merged, all else is replaced."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            value = _merged(old, value)
        merged[key] = value
    return merged


def _without_nulls(content: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Drops the keys that are null, so that defaults hold; unknown ones stay and are told."""
    kept = {}
    for key, value in content.items():
        field = model.model_fields.get(key)
        if field is not None and value is None:
            continue
        annotation = field.annotation if field is not None else None
        for inner in (annotation, *get_args(annotation)):
            if isinstance(value, Mapping) and inspect.isclass(inner):
                value = _without_nulls(value, inner) if issubclass(inner, BaseModel) else value
        kept[key] = value
    return kept


def _anchored(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Makes the paths of a recipe that is extended absolute: they start from its own folder."""

    def at(value: Any) -> Any:
        return str(folder / value) if isinstance(value, str) else value

    def entry(value: Any, key: str) -> Any:
        return (
            {**value, key: at(value[key])} if isinstance(value, Mapping) and key in value else value
        )

    def mixture(value: Any) -> Any:
        named = isinstance(value, str) and split_selection(value)[0].endswith(".json")
        return at(value) if named else entry(value, "file")

    def model(value: Any) -> Any:
        name = value.get("name_or_path") if isinstance(value, Mapping) else None
        return entry(value, "name_or_path") if _is_local(name, folder) else value

    def each(values: Any, change: Callable[[Any], Any]) -> Any:
        return [change(value) for value in values] if isinstance(values, list) else values

    changes: dict[str, Callable[[Any], Any]] = {
        "tasks": lambda value: each(entry(value, "folder"), lambda one: entry(one, "path")),
        "benchmarks": lambda value: each(
            value, lambda one: at(one) if isinstance(one, str) else entry(one, "path")
        ),
        "retrievers": lambda value: each(value, mixture),
        "compare": lambda value: (
            {**value, "mixtures": each(value["mixtures"], mixture)}
            if isinstance(value, Mapping) and "mixtures" in value
            else value
        ),
        "model": model,
        "proxy": model,
    }
    return {key: changes.get(key, lambda value: value)(value) for key, value in content.items()}


def _is_local(name: Any, folder: Path) -> bool:
    """Tells whether a model is a file or folder and no name on a hub."""
    if not isinstance(name, str):
        return False
    return name.endswith(".gguf") or name.startswith((".", "/")) or (folder / name).exists()


def replay_settings(method: str, overrides: Sequence[str]) -> LearningSettings:
    """Returns the settings of a replay: a method and what it reads beside the losses.

    Args:
        method: Name of a preset.
        overrides: Each ``key=value``, the key one of eta, cut, smoothing and ema_decay.

    Raises:
        InputError: The method, a key or a value is wrong; one sentence.
    """
    content: dict[str, Any] = {"method": method}
    if method not in LEARNERS:
        raise InputError(
            f"'method' is {method!r}: a replay takes {either(tuple(map(repr, LOOPED)))}; the "
            f"nearest is {nearest(method, LOOPED)!r}."
        )
    for override in overrides:
        if override.partition("=")[0] not in _REPLAYED:
            raise InputError(f"--set {override}: a replay reads {', '.join(_REPLAYED)} only.")
        _apply(content, override)
    try:
        return LearningSettings.model_validate(content)
    except ValidationError as error:
        raise InputError(sentences_of(error)[0]) from None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"The recipe {path} does not exist.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The recipe {path} cannot be read: {error}.") from None
    except NotYamlError as error:
        where = f"{path}:{error.line}" if error.line else str(path)
        raise InputError(f"{where}: the recipe is not valid YAML ({error}).") from None
    if not isinstance(content, dict):
        raise InputError(f"The recipe {path} is no mapping of keys to values.")
    return content


def _apply(content: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise InputError(f"--set takes key=value, such as learning.steps=50, not {override!r}.")
    try:
        value = parse_yaml(text)
    except NotYamlError as error:
        raise InputError(f"--set {key}: {text!r} is not a YAML value ({error}).") from None
    *parents, last = key.split(".")
    place = content
    for parent in parents:
        inner = {} if place.get(parent) is None else place[parent]
        if not isinstance(inner, dict):
            raise InputError(f"--set {key}: {parent!r} holds {inner!r}, no further keys.")
        # A copy, since a YAML alias makes two keys share one mapping.
        place[parent] = dict(inner)
        place = place[parent]
    place[last] = value


def _resolved(recipe: Recipe, path: Path, tell: Callable[[str], None]) -> Recipe:
    """Makes every path absolute, tells those that are not there, and fills what is inherited."""
    base = path.resolve().parent

    def existing(value: Path | str, key: str) -> Path:
        found = (base / value).resolve()
        if not found.exists():
            tell(f"{path}: {key!r} is {str(value)!r}, which does not exist ({found}).")
        return found

    def model(settings: EncoderSettings, key: str) -> EncoderSettings:
        name = settings.name_or_path
        local = _is_local(name, base)
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
