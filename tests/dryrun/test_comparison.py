"""How the cells of a comparison stand is set against comparisons that were done."""

import json
import shutil

import pytest
from rich.console import Console

from tdro.dryrun.comparison import comparison_cells
from tdro.dryrun.directory import DONE, MISSING, OPEN, STALE
from tdro.files import file_name
from tdro.mixture import Mixture
from tdro.recipe_file import load_recipe
from tdro.run.compare import compare
from tests.dryrun.test_graph import files_of

MIXTURES = ["uniform", "uniform-longer", "tdro", "tdro/top-0.7", "learning-curve/helped", "soup"]
COMPARED = {
    "compare": {"mixtures": MIXTURES, "seeds": 2, "budgets": [0.7]},
    "merging": {"start_steps": 1, "steps": 1, "samples": 4, "development": 4},
    "training": {"steps": 4, "batch_size": 8, "learning_rate": 1e-3},
}


def cells_of(path, root, overrides=()):
    cells = comparison_cells(load_recipe(path, overrides), root)
    return {(cell.label, cell.seed): cell for cell in cells}


@pytest.mark.slow
def test_the_cells_of_a_comparison_are_those_that_were_told(recipe, tmp_path):
    path, root = recipe(**COMPARED), tmp_path / "compared"
    kept = ["compare.keep_models=false"]
    before = cells_of(path, root, kept)
    assert {cell.state for cell in before.values()} == {MISSING}
    assert not root.exists()
    compare(load_recipe(path, kept), root, Console(quiet=True))
    left = files_of(root)
    after = cells_of(path, root, kept)
    assert {cell.state for cell in after.values()} == {DONE}
    # All but uniform-longer and soup are trained with both budgets.
    labels = {*MIXTURES, *(f"{name}@0.7" for name in MIXTURES[:1] + MIXTURES[2:5])}
    assert set(after) == set(before) == {(label, seed) for label in labels for seed in (0, 1)}
    assert files_of(root) == left


@pytest.mark.slow
def test_what_has_changed_is_told_and_what_waits_for_it(recipe, tmp_path):
    path, root = recipe(**COMPARED), tmp_path / "compared"
    compare(load_recipe(path), root, Console(quiet=True))

    eta = cells_of(path, root, ["learning.eta=0.5"])
    for label in ("tdro", "tdro/top-0.7@0.7", "uniform-longer"):
        assert eta[label, 1].state == OPEN
        assert eta[label, 1].why == "waits for mixture of tdro"
        assert "eta was 0.02, is 0.5" in eta[label, 1].because
    for label in ("uniform", "learning-curve/helped@0.7", "soup"):
        assert eta[label, 1].state == DONE

    longer = cells_of(path, root, ["training.steps=5"])
    assert longer["uniform", 0].state == STALE
    assert "steps was 4, is 5" in longer["uniform", 0].why
    assert longer["soup", 0].state == DONE

    wider = cells_of(path, root, ["compare.seeds=[1, 2]"])
    assert {cell.state for (_, seed), cell in wider.items() if seed == 1} == {DONE}
    assert {cell.state for (_, seed), cell in wider.items() if seed == 2} == {MISSING}

    shutil.rmtree(root / "seed-1" / "runs" / file_name("tdro/top-0.7"))
    gone = cells_of(path, root)
    assert gone["tdro/top-0.7", 1].state == MISSING
    assert gone["tdro/top-0.7", 1].why == "its retriever is trained"
    assert gone["tdro/top-0.7", 0].state == DONE

    (root / "tasks" / "beta" / "manifest.json").unlink()
    unprepared = cells_of(path, root)
    assert unprepared["uniform", 0].state == OPEN
    assert unprepared["tdro/top-0.7", 1].state == MISSING
    assert {cell.why for cell in unprepared.values()} == {"waits for task beta"}


def test_the_command_tells_cells_and_writes_nothing(tdro, recipe, tmp_path):
    root = tmp_path / "out"
    code, shown, _ = tdro("compare", recipe(**COMPARED), "--dry-run", "-o", root)
    assert code == 0
    assert "0 of 20 cells are done." in shown
    assert "learning-curve/helped@0.7" in shown.replace("\n", "")
    assert "Nothing would stop this comparison." in shown
    assert not root.exists()


def test_all_that_would_stop_a_comparison_is_told(tdro, recipe, tmp_path):
    Mixture({"nowhere": 1.0}).save(tmp_path / "mixture.json")
    lines = [{"query": f"q{n}", "pos": [f"p{n}"], "neg": ["no"]} for n in range(4)]
    (tmp_path / "small.jsonl").write_text("\n".join(map(json.dumps, lines)))
    path = recipe(
        tasks=[{"name": "small", "path": "small.jsonl"}],
        holdout=0,
        benchmarks=[],
        metrics=["nDCG@ten"],
        compare={"mixtures": ["tdro", "learning-curve", "mixture.json"]},
    )
    code, _, errors = tdro("compare", path, "--dry-run", "-o", tmp_path / "out")
    assert code == 2
    told = [line for line in errors.splitlines() if line.startswith("tdro: ")]
    nothing = ("There is nothing to judge on", "No task has rows that can be set")
    for words in ("'nowhere'", "nDCG@ten", *nothing):
        assert sum(words in line for line in told) == 1, (words, told)
    # What only learning-curve needs does not stop others.
    fewer = ("--set", "compare.mixtures=[uniform, tdro]")
    _, _, errors = tdro("compare", path, "--dry-run", "-o", tmp_path / "out", *fewer)
    assert "nDCG@ten" in errors
    assert "No task has rows" not in errors


def test_a_seed_cannot_be_asked_of_a_dry_run(tdro, recipe, tmp_path):
    code, _, errors = tdro("compare", recipe(**COMPARED), "--dry-run", "--seed", "1")
    assert code == 2
    assert "--dry-run tells of all seeds" in errors
