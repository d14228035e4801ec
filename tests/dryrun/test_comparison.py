"""How the cells of a comparison stand is set against comparisons that were done."""

import json
import shutil

import pytest
from rich.console import Console

from tdro.dryrun.comparison import comparison_standing
from tdro.dryrun.directory import DONE, MISSING, OPEN, STALE
from tdro.files import file_name
from tdro.mixture import Mixture
from tdro.recipe_file import load_recipe
from tdro.run.compare import compare
from tests.dryrun.test_graph import files_of
from tests.evaluation import published

MIXTURES = ["uniform", "uniform-longer", "tdro", "tdro/top-0.7", "learning-curve/helped", "soup"]
COMPARED = {
    "compare": {"mixtures": MIXTURES, "seeds": 2, "budgets": [0.7]},
    "merging": {"start_steps": 1, "steps": 1, "samples": 4, "development": 4},
    "training": {"steps": 4, "batch_size": 8, "learning_rate": 1e-3},
}

SEARCHED = {
    "learning": {"method": "merge-search"},
    "compare": {"mixtures": ["uniform", "uniform-longer", "merge-search"], "seeds": 1},
    "merging": {"start_steps": 2, "steps": 2, "samples": 4, "confirm": 2, "development": 4},
}


def cells_of(path, root, overrides=()):
    standing = comparison_standing(load_recipe(path, overrides), root)
    return {(cell.label, cell.seed): cell for cell in standing.cells}


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
    for label in ("uniform", "learning-curve/helped@0.7", "soup"):
        assert eta[label, 1].state == DONE

    stale = comparison_standing(load_recipe(path, ["learning.eta=0.5"]), root).stale
    assert len(stale) == 1, "told once for all seeds"
    assert stale[0].startswith("mixture of tdro: stale, ")
    assert "eta was 0.02, is 0.5" in stale[0]

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

    metric = ["metrics=[RR@10]"]
    assert "trained again" not in cells_of(path, root, metric)["tdro", 0].why
    shutil.rmtree(root / "seed-0" / "retrievers" / "tdro" / "model")
    dropped = cells_of(path, root, metric)["tdro", 0]
    assert dropped.state == STALE
    assert dropped.why.endswith("; its retriever was not kept and is trained again")
    assert cells_of(path, root)["tdro", 0].state == DONE

    # What a longer training buys depends on all that its method took.
    shutil.rmtree(root / "encoders")
    assert cells_of(path, root)["uniform-longer", 0].why == "waits for model encoder"
    assert cells_of(path, root)["tdro", 0].state == DONE

    (root / "tasks" / "beta" / "manifest.json").unlink()
    unprepared = cells_of(path, root)
    assert unprepared["uniform", 0].state == OPEN
    assert unprepared["tdro/top-0.7", 1].state == MISSING
    assert {cell.why for cell in unprepared.values()} == {"waits for task beta"}


@pytest.mark.slow
def test_a_search_that_is_to_be_done_is_waited_for(recipe, tmp_path):
    path, root = recipe(**SEARCHED), tmp_path / "compared"
    compare(load_recipe(path), root, Console(quiet=True))
    assert {cell.state for cell in cells_of(path, root).values()} == {DONE}
    fewer = cells_of(path, root, ["merging.confirm=1"])
    for label in ("merge-search", "uniform-longer"):
        assert (fewer[label, 0].state, fewer[label, 0].why) == (
            *(OPEN, "waits for mixture of merge-search"),
        )
    # As after a kill during the confirming runs.
    for place in ("mixtures", "confirmed", "retrievers/uniform-longer", "runs/uniform-longer"):
        shutil.rmtree(root / "seed-0" / place)
    killed = cells_of(path, root)
    assert killed["uniform-longer", 0].state == MISSING
    assert killed["uniform-longer", 0].why == "waits for mixture of merge-search"


def test_a_benchmark_that_is_only_known_when_read_is_asked_for_last(recipe, tmp_path):
    published.nanobeir(tmp_path / "nanobeir")
    path = recipe(**COMPARED, benchmarks=[str(tmp_path / "nanobeir")])
    cells = cells_of(path, tmp_path / "out")
    assert not any("reading the benchmarks" in cell.why for cell in cells.values())


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
    # Two of one name are told beside the rest.
    twice = tmp_path / "inner" / "mixture.json"
    twice.parent.mkdir()
    shutil.copy(tmp_path / "mixture.json", twice)
    names = ("--set", "compare.mixtures=[mixture.json, inner/mixture.json]")
    code, _, errors = tdro("compare", path, "--dry-run", "-o", tmp_path / "out", *names)
    assert code == 2
    assert "Two mixtures are called 'mixture'" in errors
    assert "nDCG@ten" in errors
    # What only learning-curve needs does not stop others.
    fewer = ("--set", "compare.mixtures=[uniform, tdro]")
    _, _, errors = tdro("compare", path, "--dry-run", "-o", tmp_path / "out", *fewer)
    assert "nDCG@ten" in errors
    assert "No task has rows" not in errors


def test_a_seed_cannot_be_asked_of_a_dry_run(tdro, recipe, tmp_path):
    code, _, errors = tdro("compare", recipe(**COMPARED), "--dry-run", "--seed", "1")
    assert code == 2
    assert "--dry-run tells of all seeds" in errors
