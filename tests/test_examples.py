import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tdro.encoder import build_encoder
from tdro.mixture import Mixture
from tdro.settings import EncoderSettings

from .conftest import synthetic_rows
from .test_similarity import colbert, splade

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture
def workplace(tmp_path, tiny_llm, masked_lm):
    """A folder as a user has it: models, a mixture file and task files."""
    build_encoder(EncoderSettings(name_or_path=str(tiny_llm), kind="static")).save(
        str(tmp_path / "model")
    )
    splade(masked_lm).save(str(tmp_path / "splade"))
    colbert(masked_lm).save(str(tmp_path / "colbert"))
    Mixture({"first": 0.75, "second": 0.25}, {"first": 64, "second": 32}).save(
        tmp_path / "mixture.json"
    )
    for name, count in (("first", 64), ("second", 32)):
        rows = [{"anchor": r["query"], "positive": r["pos"][0]} for r in synthetic_rows(count, 1)]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(text)
    return tmp_path


def python(folder, *words):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


PAGES = [("README.md", 2), ("docs/explanation/method.md", 1), ("docs/other-encoders.md", 1)]


def test_the_example_is_short_and_trains(workplace):
    script = ROOT / "examples" / "mixture_in_your_trainer.py"
    assert len(script.read_text().splitlines()) < 40
    python(workplace, script, "model", "mixture.json", "first.jsonl", "second.jsonl")
    assert (workplace / "trained" / "model" / "modules.json").is_file()


@pytest.mark.parametrize(("page", "least"), PAGES)
def test_the_python_of_a_page_runs_as_it_stands(workplace, tiny_llm, page, least):
    snippets = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert len(snippets) >= least
    (workplace / "data").mkdir()
    for name in ("first", "second"):
        (workplace / f"{name}.jsonl").rename(workplace / "data" / f"{name}.jsonl")
    for place, snippet in enumerate(snippets):
        script = workplace / f"snippet_{place}.py"
        script.write_text(snippet)
        python(workplace, script)


def test_the_readmes_recipe_is_valid(workplace, tiny_llm):
    from tdro.recipe_file import load_recipe

    readme = (ROOT / "README.md").read_text()
    (recipe,) = re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)
    (workplace / "data").mkdir()
    (workplace / "benchmarks" / "scifact").mkdir(parents=True)
    (workplace / "data" / "medquad.jsonl.gz").touch()
    (workplace / "data" / "nq.parquet").touch()
    (workplace / "recipe.yaml").write_text(recipe)
    assert load_recipe(workplace / "recipe.yaml").needs_learning
    # The page on comparisons adds sections to it.
    page = (ROOT / "docs" / "comparing.md").read_text()
    added, *others = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (workplace / "old_mixture.json").write_text("{}")
    (workplace / "compare.yaml").write_text(recipe + added)
    compared = load_recipe(workplace / "compare.yaml").compare
    assert {"tdro/top-0.7", "temperature-0.5", "soup"} <= set(compared.mixtures)
    for name, section in zip(("merge-search", "learning-curve", "regression"), others, strict=True):
        learning, _, rest = section.partition("\n")
        other = re.sub(r"(?m)^learning: .*$", learning.partition("#")[0], recipe)
        (workplace / f"{name}.yaml").write_text(f"{other}\n{rest}")
        assert load_recipe(workplace / f"{name}.yaml").learning.method == name


def test_the_readmes_commands_exist():
    readme = (ROOT / "README.md").read_text()
    commands = set(re.findall(r"^tdro ((?:tasks |mixture )?[a-z]+)", readme, re.MULTILINE))
    assert {
        "run",
        "estimate",
        "compare",
        "demo",
        "evaluate",
        "report",
        "tasks check",
        "tasks convert",
        "tasks mine",
        "mixture replay",
        "mixture export",
    } <= commands
    for command in commands:
        python(ROOT, "-m", "tdro", *command.split(), "--help")
