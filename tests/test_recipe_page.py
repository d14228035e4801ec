"""The page of the recipe's keys: it names them all, with the defaults that they have."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic_core import PydanticUndefined, to_jsonable_python

from tdro.compare_settings import CompareSettings
from tdro.recipe import BenchmarkEntry, Recipe
from tdro.recipe_file import load_recipe
from tdro.settings import (
    LEARNERS,
    EncoderSettings,
    LearningSettings,
    ReferenceSettings,
    Settings,
)
from tdro.tasks.entry import TaskEntry

PAGE = (Path(__file__).parents[1] / "docs" / "recipe.md").read_text()
HEAD = "| key | default | what it does |"
# Where the keys of a section's table start from.
SECTIONS: dict[str, type[Settings]] = {
    "All keys": Recipe,
    "Tasks and hold-outs": TaskEntry,
    "Model and proxy": EncoderSettings,
    "Reference and training": ReferenceSettings,
    "Learning": LearningSettings,
    "Learning without a loop": Recipe,
    "Benchmarks and metrics": BenchmarkEntry,
    "Compare": CompareSettings,
}
# Reading the file fills it, so that a recipe may leave it out.
FILLED = {(Recipe, "proxy"): {}}


def settings_in(annotation: Any) -> Iterator[type[Settings]]:
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        yield annotation
    for inner in get_args(annotation):
        yield from settings_in(inner)


def all_settings(model: type[Settings]) -> set[type[Settings]]:
    found = {model}
    for field in model.model_fields.values():
        for inner in settings_in(field.annotation):
            found |= all_settings(inner)
    return found


def default_of(model: type[Settings], name: str) -> Any:
    """What a key is when it is left out, after the validators that fill defaults."""
    if (model, name) in FILLED:
        return FILLED[model, name]
    if any(field.is_required() for field in model.model_fields.values()):
        return model.model_fields[name].get_default(call_default_factory=True)
    return getattr(model(), name)


def field_at(model: type[Settings], key: str) -> tuple[type[Settings], str] | None:
    first, _, rest = key.partition(".")
    if first not in model.model_fields:
        return None
    if not rest:
        return model, first
    inner = settings_in(model.model_fields[first].annotation)
    return next((found for each in inner if (found := field_at(each, rest))), None)


def sections(page: str) -> dict[str, str]:
    _, *parts = re.split(r"(?m)^## (.*)$", page)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def cells_below(text: str, head: str) -> list[list[str]]:
    _, _, table = text.partition(head + "\n| --")
    lines = table.split("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in line.strip().strip("|").split(" | ")] for line in lines]


def coded(cell: str) -> Any:
    """The YAML value that a cell holds in backticks."""
    (text,) = re.fullmatch(r"`(.*)`", cell).groups()
    value = yaml.safe_load(text)
    assert not isinstance(value, str) or not re.match(r"[\d.]+e", text), f"{text} is a text in YAML"
    return value


def complaint(page: str, model: type[Settings], name: str, cell: str) -> str | None:
    default = default_of(model, name)
    if isinstance(default, Settings):
        anchors = {title.lower().replace(" ", "-") for title in sections(page)}
        link = re.fullmatch(r"\[below\]\(#(.*)\)", cell)
        return None if link and link[1] in anchors else f"{name} links to {cell}"
    if default is PydanticUndefined:
        return None if cell == "required" else f"{name} is required, not {cell}"
    default = to_jsonable_python(default)
    if cell.startswith("`"):
        told = coded(cell)
        if told == default and isinstance(told, bool) == isinstance(default, bool):
            return None
    return f"{name} is {default!r}, not {cell}"


def complaints(page: str) -> list[str]:
    """What the page's tables say that the models do not, and the other way round."""
    found, seen = [], set()
    with_table = {title: text for title, text in sections(page).items() if HEAD in text}
    found += [f"a table in {title}" for title in with_table.keys() - SECTIONS.keys()]
    for title, start in SECTIONS.items():
        for keys, cell, does in cells_below(with_table.get(title, ""), HEAD):
            if not does:
                found.append(f"{keys} without what it does")
            for key in re.findall(r"`(.*?)`", keys):
                place = field_at(start, key)
                if place is None:
                    found.append(f"{key} in {title} is no key")
                    continue
                if (wrong := complaint(page, *place, cell)) is not None:
                    found.append(wrong)
                model, name = place
                seen |= {
                    (base, name)
                    for base in model.__mro__
                    if issubclass(base, Settings)
                    and name in base.model_fields
                    and default_of(base, name) == default_of(model, name)
                }
    wanted = {(model, name) for model in all_settings(Recipe) for name in model.model_fields}
    found += [f"{model.__name__}.{name} is missing" for model, name in wanted - seen]
    return sorted(found)


def test_the_page_has_every_key_with_its_default():
    assert complaints(PAGE) == []


def test_all_settings_are_looked_at():
    names = {model.__name__ for model in all_settings(Recipe)}
    assert {"TaskFolder", "Columns", "RowFilter", "LoraSettings", "TrainingSettings"} <= names


@pytest.mark.parametrize(
    ("there", "instead", "told"),
    [
        ("| `seed` | `0` |", "| `seed` | `1` |", "seed is 0, not `1`"),
        ("| `keep_models` | `true` |", "| `keep_models` | `1` |", "keep_models is True, not `1`"),
        ("| `cut` | `0.05` |", "| `cut` | `null` |", "cut is 0.05, not `null`"),
        ("| `name` | required |", "| `name` | `null` |", "name is required, not `null`"),
        ("[below](#compare)", "[below](#comparing)", "compare links to [below](#comparing)"),
        ("| `tolerance` |", "| `tolerence` |", "tolerence in Learning is no key"),
        ("| `tolerance` |", "| `patience` |", "LearningSettings.tolerance is missing"),
        ("`lora.rank`", "`lora.alpha`", "LoraSettings.rank is missing"),
        ("`curve.floor`, `reg", "`reg", "CurveSettings.floor is missing"),
        ("| `folds` |", "| `steps` |", "ReferenceSettings.folds is missing"),
        ("## Words\n", f"## Words\n\n{HEAD}\n| -- | -- | -- |\n", "a table in Words"),
    ],
)
def test_a_page_that_is_wrong_is_told(there, instead, told):
    assert there in PAGE
    assert told in complaints(PAGE.replace(there, instead, 1))


def test_the_methods_have_the_values_that_the_page_says():
    head = "| method | `eta` | `cut` | `smoothing` |"
    rows = cells_below(sections(PAGE)["Learning"], head)
    told = {name: cells for names, *cells in rows for name in re.findall(r"`(.*?)`", names)}
    for method, cells in told.items():
        settings = LearningSettings(method=method)
        for name, cell in zip(("eta", "cut", "smoothing"), cells, strict=True):
            value = getattr(settings, name)
            assert value == (None if cell == "not read" else coded(cell)), (method, name)
    assert set(told) == {name for name in LEARNERS if LearningSettings(method=name).in_a_loop}
    for name in LEARNERS:
        assert f"`{name}`" in sections(PAGE)["Learning"]


def test_the_retrievers_of_the_page_are_some():
    rows = cells_below(sections(PAGE)["Retrievers"], "| name | trained with |")
    names = [name for cells in rows for name in re.findall(r"`(.*?)`", cells[0])]
    assert len(names) == 11
    least = {"tasks": [], "model": {"name_or_path": "m"}, "proxy": {"name_or_path": "m"}}
    learning = {"method": "learning-curve"}
    loops = [name for name in names if name != "helped"]
    assert Recipe(**least, retrievers=loops).retrievers == tuple(loops)
    assert Recipe(**least, retrievers=["helped"], learning=learning).needs_learning


def test_the_recipe_of_the_page_is_valid(tmp_path):
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "data").mkdir()
    (tmp_path / "benchmarks" / "scifact").mkdir(parents=True)
    (tmp_path / "data" / "medquad.jsonl.gz").touch()
    (tmp_path / "data" / "nq.parquet").touch()
    (tmp_path / "recipe.yaml").write_text(text)
    recipe = load_recipe(tmp_path / "recipe.yaml")
    assert (recipe.proxy.layers, recipe.proxy.max_query_length) == (4, 64)
    # What the page says of leaving out, dropping and setting keys.
    assert load_recipe(tmp_path / "recipe.yaml", ["proxy=null"]).proxy == recipe.model
    (tmp_path / "other.yaml").write_text(
        "extends: recipe.yaml\nholdout: null\nproxy: {pooling: null}\nbenchmarks: []\n"
    )
    other = load_recipe(tmp_path / "other.yaml", ["retrievers=[]", "learning.eta=0.05"])
    assert (other.proxy.layers, other.proxy.pooling, other.learning.eta) == (4, None, 0.05)
    assert (other.benchmarks, other.retrievers, other.holdout) == ((), (), 200)


def test_the_links_of_the_page_lead_somewhere():
    for page, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", PAGE):
        file = Path(__file__).parents[1] / "docs" / (page or "recipe.md")
        assert file.is_file(), page
        titles = re.findall(r"(?m)^#+ (.*)$", file.read_text())
        assert not anchor or anchor in {t.lower().replace(" ", "-") for t in titles}, anchor
