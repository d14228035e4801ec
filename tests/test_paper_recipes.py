"""The recipes of the paper's setting, looked at over stand-ins for its 25 collections."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from tdro import cli
from tdro.mixture import Mixture
from tdro.recipe_file import load_recipe
from tests.conftest import synthetic_rows, write_task

FOLDER = Path(__file__).parents[1] / "recipes" / "paper"
# The common part names no model.
RECIPES = sorted(path.name for path in FOLDER.glob("*.yaml") if path.name != "common.yaml")


@pytest.fixture(scope="module")
def paper(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipes") / "paper"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("tasks"))
    for place, name in enumerate(json.loads((folder / "data" / "tasks.json").read_text())):
        write_task(folder / "data" / "tasks" / f"{name}.jsonl.gz", synthetic_rows(6, place))
    return folder


def test_the_collections_are_those_of_the_released_weights():
    named = json.loads((FOLDER / "data" / "tasks.json").read_text())
    released = Mixture.load(Path(__file__).with_name("authors_curr_weights.json"))
    assert list(named) == list(released.weights)
    assert all(said["instruction"] for said in named.values())


@pytest.mark.parametrize("name", RECIPES)
def test_a_dry_run_finds_nothing_wrong(paper, name, monkeypatch, capsys, tmp_path):
    words = ["tdro", "run", str(paper / name), "--dry-run", "-o", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", [*words, "--devices", "2"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    shown = capsys.readouterr()
    assert (ended.value.code, shown.err) == (0, "")
    assert "retriever top-0.7" in shown.out


def test_the_settings_are_those_of_the_paper(paper):
    found = [load_recipe(paper / name) for name in RECIPES]
    assert len({one.model.name_or_path for one in found}) == 6
    assert {one.learning.method for one in found} == {"tdro-released", "tdro"}
    for one in found:
        assert one.proxy.name_or_path == "Qwen/Qwen1.5-0.5B"
        assert (one.model.max_query_length, one.model.max_passage_length) == (128, 512)
        assert (one.learning.negatives, one.learning.eta) == (7, 0.02)
        for settings in (one.reference, one.learning, one.training):
            assert (settings.steps, settings.batch_size) == (1000, 2048)
            assert (settings.learning_rate, settings.temperature) == (1e-4, 0.002)
            assert (settings.lora.rank, settings.lora.alpha, settings.lora.dropout) == (8, 32, 0.1)
