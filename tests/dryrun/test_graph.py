"""How the stages stand is set against runs that were done."""

import json
import shutil

import pytest
from rich.console import Console

from tdro.dryrun.directory import DONE, MISSING, OPEN, STALE
from tdro.dryrun.graph import stage_graph
from tdro.estimate.command import estimate
from tdro.estimate.render import Device
from tdro.recipe_file import load_recipe
from tdro.run.execute import execute
from tdro.run.outline import outline
from tests.evaluation import published

pytestmark = pytest.mark.slow

MERGING = {"start_steps": 2, "steps": 2, "samples": 4, "confirm": 1, "development": 4}
RUNS = {
    "loop": {"exclude_tasks": ["gamma"], "retrievers": ["reference", "uniform", "learned"]},
    "folds": {"reference": {"folds": 2, "steps": 2, "batch_size": 4}, "retrievers": ["top-0.7"]},
    "curve": {"learning": {"method": "learning-curve"}, "retrievers": ["uniform", "helped"]},
    "regression": {"learning": {"method": "regression"}, "regression": {"mixtures": 4}},
    "merging": {"learning": {"method": "merge-search"}, "merging": MERGING},
    "alike": {"proxy": {}, "retrievers": ["uniform", "learned"]},
    "bare": {"retrievers": []},
}


def states(path, root, overrides=()):
    return {told.label: told for told in stage_graph(load_recipe(path, overrides), root)}


def files_of(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize("name", RUNS)
def test_the_stages_of_a_run_are_those_that_were_told(recipe, tmp_path, name):
    path, root = recipe(**RUNS[name]), tmp_path / "run"
    before = states(path, root)
    assert {told.state for told in before.values()} == {MISSING}
    assert not root.exists()
    resolved = load_recipe(path)
    execute(resolved, root, Console(quiet=True))
    planned = [stage.place for stage in outline(resolved, ["alpha", "beta", "gamma", "tiny"])]
    manifests = [(json.loads(file.read_text()), file) for file in root.rglob("manifest.json")]
    done = [
        file.parent.relative_to(root).as_posix()
        for _, file in sorted(manifests, key=lambda one: one[0]["finished"])
    ]
    assert planned == done
    left = files_of(root)
    after = states(path, root)
    assert {told.state for told in after.values()} == {DONE}
    assert list(after) == list(before)
    assert files_of(root) == left


def test_what_has_changed_is_told_and_what_waits_for_it(recipe, tmp_path):
    path, root = recipe(), tmp_path / "run"
    execute(load_recipe(path), root, Console(quiet=True))

    eta = states(path, root, ["learning.eta=0.5"])
    assert eta["mixture"].state == STALE
    assert "eta was 0.02, is 0.5" in eta["mixture"].why
    assert eta["reference losses"].state == eta["retriever uniform"].state == DONE
    assert (eta["retriever learned"].state, eta["retriever learned"].why) == (
        *(OPEN, "waits for mixture"),
    )
    assert eta["scores of learned"].why == "waits for retriever learned"

    # What depends on a stage that will come out the same is still done.
    shutil.rmtree(root / "reference")
    gone = states(path, root)
    assert gone["reference"].state == MISSING
    assert gone["reference losses"].state == gone["mixture"].state == DONE

    # A mixture that is gone cannot tell what its retriever would be trained on.
    shutil.rmtree(root / "mixture")
    assert states(path, root)["retriever learned"].state == OPEN

    (root / "tasks" / "beta" / "manifest.json").unlink()
    unprepared = states(path, root)
    assert unprepared["task alpha"].state == DONE
    assert unprepared["task beta"].state == MISSING
    assert unprepared["plan"].why == "waits for task beta"


def test_a_benchmark_that_is_only_known_when_read_leaves_its_stages_open(recipe, tmp_path):
    published.nanobeir(tmp_path / "nanobeir")
    path, root = recipe(benchmarks=[str(tmp_path / "nanobeir")]), tmp_path / "run"
    execute(load_recipe(path, ["retrievers=[]"]), root, Console(quiet=True))
    told = states(path, root)
    assert told["overlaps of tasks"].state == told["mixture"].state == DONE
    assert told["overlaps with benchmarks"].state == MISSING
    assert told["overlaps with benchmarks"].why == "waits for reading the benchmarks"


def test_a_killed_stage_is_told_to_go_on(recipe, tmp_path):
    path, root = recipe(retrievers=[]), tmp_path / "run"
    execute(load_recipe(path), root, Console(quiet=True))
    manifest = json.loads((root / "mixture" / "manifest.json").read_text())
    (root / "mixture").rename(root / ".mixture.partial")
    (root / ".mixture.partial" / "inputs.json").write_text(json.dumps(manifest["inputs"]))
    told = states(path, root)["mixture"]
    assert (told.state, told.why) == (MISSING, "goes on where it was stopped")


@pytest.mark.parametrize("name", ["loop", "folds", "curve", "regression", "merging"])
def test_rows_and_tokens_are_those_of_a_run_within_a_fifth(recipe, tmp_path, name):
    changes = {**RUNS[name], "exclude_tasks": ["tiny"]}
    resolved = load_recipe(recipe(**changes))
    root = tmp_path / "run"
    found = {one.stage.place: one for one in estimate(resolved, Device()).stages}
    execute(resolved, root, Console(quiet=True))
    checked = 0
    for place, one in found.items():
        facts = json.loads((root / place / "manifest.json").read_text())["facts"]
        if "rows" in facts:
            assert one.rows == pytest.approx(facts["rows"], rel=0.2), place
        if facts.get("tokens"):
            assert one.tokens == pytest.approx(facts["tokens"], rel=0.2), place
            checked += 1
    assert checked >= 5


def test_confirming_runs_of_mixtures_that_the_search_has_not_are_left_out(recipe, tmp_path):
    merging = {**MERGING, "confirm": 6}
    path = recipe(learning={"method": "merge-search"}, merging=merging, retrievers=[])
    root = tmp_path / "run"
    assert states(path, root)["confirming run 6"].state == MISSING
    execute(load_recipe(path), root, Console(quiet=True))
    after = states(path, root)
    # Four mixtures were scored, the uniform one among them.
    assert "confirming run 4" not in after
    assert {told.state for told in after.values()} == {DONE}
    shutil.rmtree(root / "confirmed" / "1")
    assert states(path, root)["confirming run 1"].state == MISSING


def test_of_one_task_two_mixtures_are_confirmed(recipe):
    path = recipe(learning={"method": "merge-search"}, merging=MERGING | {"confirm": 3})
    planned = [stage.label for stage in outline(load_recipe(path), ["alpha"])]
    assert [label for label in planned if label.startswith("confirming")] == [
        *("confirming run of uniform", "confirming run 1")
    ]
