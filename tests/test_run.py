import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from rich.console import Console
from safetensors.numpy import load_file, save_file

from tdro.evaluation.benchmark import write_benchmark
from tdro.files import content_digest, digest
from tdro.mixture import Mixture
from tdro.plan import Plan
from tdro.recipe_file import load_recipe
from tdro.report.record import load_run
from tdro.run.execute import execute
from tdro.training import read_trained_rows
from tests.evaluation import published

pytestmark = pytest.mark.slow

DRIVER = Path(__file__).with_name("crash_driver.py")


@pytest.fixture(scope="module")
def recipe_file(task_folder, tiny_llm, tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipe")
    write_benchmark(
        folder / "outside",
        name="outside",
        instruction="Find the line",
        group="external",
        queries=[("q1", "badle fesin"), ("q2", "goran")],
        documents=[("d1", "badle fesin lan"), ("d2", "goran tonis"), ("d3", "mulet")],
        qrels=[("q1", "d1", 1), ("q2", "d2", 1)],
    )
    training = {"steps": 6, "batch_size": 8, "learning_rate": 1e-3, "save_every": 2}
    recipe = {
        "tasks": {"folder": str(task_folder)},
        "holdout": 10,
        "model": {"name_or_path": str(tiny_llm), "layers": 3, "max_query_length": 32},
        "proxy": {"layers": 2},
        "reference": training,
        "learning": {"steps": 6, "batch_size": 8, "negatives": 2, "eta": 0.5, "save_every": 2},
        "training": training,
        "retrievers": ["reference", "uniform", "last", "top-0.7"],
        "benchmarks": ["outside"],
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def run(recipe_file, output, overrides=()):
    """Runs a recipe and returns what it said."""
    console = Console(record=True, width=200, file=(output.parent / "said.txt").open("w"))
    execute(load_recipe(recipe_file, overrides), output, console)
    return console.export_text()


@pytest.fixture(scope="module")
def finished(recipe_file, tmp_path_factory):
    output = tmp_path_factory.mktemp("finished") / "run"
    run(recipe_file, output)
    return output


def manifests(output):
    found = sorted(output.glob("**/manifest.json"))
    return {
        path.parent.relative_to(output).as_posix(): json.loads(path.read_text()) for path in found
    }


def test_a_run_leaves_what_the_design_lists(finished):
    for name in (
        "recipe.yaml",
        "reference/model/modules.json",
        "plan/plan.json",
        "plan/rows.parquet",
        "reference_losses/losses.parquet",
        "reference_losses/by_task.parquet",
        "mixture/row_losses.parquet",
        "mixture/last.json",
        "mixture/mean.json",
        "mixture/ema.json",
        "mixture/top-0.7.json",
        "mixture/trajectory.parquet",
        "retrievers/uniform/model/modules.json",
        "retrievers/top-0.7/sampling.json",
        "runs/last/alpha.trec",
        "runs/last/outside.trec",
        "scores.parquet",
        "report.html",
    ):
        assert (finished / name).is_file(), name
    assert not list(finished.glob("**/*.partial")), "something unfinished was left"
    assert not list(finished.glob("**/*.pt")), "a checkpoint was left"
    helped = ("inputs.json", "trainer", "window-*", "held_out", "judged")
    assert not [path for name in helped for path in finished.glob(f"**/{name}")]


def test_scores_have_one_line_a_retriever_benchmark_and_query(finished):
    scores = pq.read_table(finished / "scores.parquet").to_pylist()
    assert {line["retriever"] for line in scores} == {"reference", "uniform", "last", "top-0.7"}
    groups = {(line["benchmark"], line["group"]) for line in scores}
    assert ("outside", "external") in groups
    assert ("tiny", "holdout") in groups
    keys = [(line["retriever"], line["benchmark"], line["query"]) for line in scores]
    assert len(set(keys)) == len(keys) == 4 * (10 + 10 + 10 + 1 + 2)


def test_realised_shares_are_within_a_batch_of_the_weights(finished):
    for name in ("uniform", "last", "top-0.7"):
        record = json.loads((finished / "retrievers" / name / "sampling.json").read_text())
        total = sum(record["batches"])
        for weight, batches in zip(record["weights"], record["batches"], strict=True):
            assert abs(batches - total * weight) < 1


def test_a_second_run_repeats_nothing(recipe_file, finished):
    before = manifests(finished)
    # Copied anew or moved, a benchmark is the same as long as it holds the same.
    for file in (recipe_file.parent / "outside").rglob("*.jsonl"):
        file.touch()
    # How many tokens go through at once changes no result.
    said = run(recipe_file, finished, ["learning.chunk_tokens=512"])
    assert manifests(finished) == before
    assert "to be done" not in said


def test_a_changed_value_redoes_only_what_depends_on_it_and_says_why(
    recipe_file, finished, tmp_path
):
    output = tmp_path / "run"
    shutil.copytree(finished, output)
    before = manifests(output)
    said = run(recipe_file, output, ["learning.eta=0.9"])
    after = manifests(output)
    changed = {name for name in before if before[name] != after[name]}
    assert changed <= {
        *("mixture", "retrievers/last", "retrievers/top-0.7", "runs/last", "runs/top-0.7"),
    }
    assert {"mixture", "retrievers/last", "runs/last"} <= changed
    assert "settings.eta was 0.5, is 0.9" in said


def test_tasks_named_in_another_order_change_nothing(recipe_file, finished, task_folder, tmp_path):
    output = tmp_path / "run"
    shutil.copytree(finished, output)
    index = json.loads((task_folder / "tasks.json").read_text())
    entries = [
        {"name": name, "path": str(task_folder / "tasks" / f"{name}.jsonl.gz"), **index[name]}
        for name in reversed(index)
    ]
    backwards = [f"tasks={json.dumps(entries)}"]
    run(recipe_file, output, backwards)
    assert manifests(output) == manifests(finished)
    # Learned again from the plan that is there, the rows are still those of their own tasks.
    shutil.rmtree(output / "mixture")
    shutil.rmtree(output / "reference_losses")
    run(recipe_file, output, backwards)
    for name in ("mixture/trajectory.parquet", "reference_losses/by_task.parquet"):
        assert pq.read_table(output / name).equals(pq.read_table(finished / name)), name


def test_a_changed_model_is_told_from_the_one_before(recipe_file, finished, tiny_llm, tmp_path):
    output, model = tmp_path / "run", tmp_path / "model"
    shutil.copytree(tiny_llm, model)
    changes = ["retrievers=[uniform]", f"model.name_or_path={model}"]
    run(recipe_file, output, changes)
    before = (output / "retrievers/uniform/model/model.safetensors").read_bytes()
    assert "to be done" not in run(recipe_file, output, changes)
    weights = load_file(model / "model.safetensors")
    save_file({name: one + 0.01 for name, one in weights.items()}, model / "model.safetensors")
    said = run(recipe_file, output, changes)
    assert "model encoder: to be done again, files was" in said
    assert (output / "retrievers/uniform/model/model.safetensors").read_bytes() != before


def test_the_report_shows_nothing_of_an_earlier_recipe(recipe_file, finished, tmp_path):
    output = tmp_path / "run"
    shutil.copytree(finished, output)
    run(recipe_file, output, ["retrievers=[]"])
    record = load_run(output)
    assert (record.samplings, record.scores) == ((), None)
    assert record.mixtures
    run(recipe_file, output, ["retrievers=[uniform]"])
    record = load_run(output)
    assert [sampling.retriever for sampling in record.samplings] == ["uniform"]
    assert (record.mixtures, record.trajectory, record.reference_by_task) == ({}, None, None)


POINTS = (
    "task beta:end",
    "proxy encoder:end",
    "reference:1",
    "reference:3",
    "reference:checkpoint-6",
    "plan:end",
    "reference losses:20",
    "reference losses:held_out",
    "mixture:1",
    "mixture:5",
    "mixture:checkpoint-6",
    "model encoder:end",
    "retriever uniform:3",
    "retriever last:5",
    "hold-outs:2",
    "scores of uniform:30",
    "scores of uniform:judged",
    "scores of last:end",
)


def test_killed_in_every_stage_and_started_again_it_ends_the_same(recipe_file, finished, tmp_path):
    output = tmp_path / "run"
    shown = subprocess.run(
        [sys.executable, str(DRIVER), str(recipe_file), str(output), *POINTS],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    assert shown == [*(f"{point} -9" for point in POINTS), "None 0"], shown
    for name in ("last", "mean", "ema"):
        ours = (output / "mixture" / f"{name}.json").read_bytes()
        assert ours == (finished / "mixture" / f"{name}.json").read_bytes()
    trajectories = [
        pq.read_table(root / "mixture" / "trajectory.parquet") for root in (output, finished)
    ]
    assert trajectories[0].equals(trajectories[1])
    weights = [
        (root / "retrievers" / "last" / "model" / "model.safetensors").read_bytes()
        for root in (output, finished)
    ]
    assert weights[0] == weights[1]
    scores = [pq.read_table(root / "scores.parquet") for root in (output, finished)]
    assert scores[0].equals(scores[1])
    facts = [
        {place: stage["facts"] for place, stage in manifests(root).items()}
        for root in (output, finished)
    ]
    assert facts[0] == facts[1]
    log = (tmp_path / "log.txt").read_text()
    for stage in manifests(output).values():
        done = [line for line in log.splitlines() if line.startswith(f"{stage['stage']}:")]
        finishes = [line for line in done if " s," in line or line.endswith(" s")]
        assert len(finishes) == 1, done


def test_the_scores_of_a_beir_folder_depend_on_what_they_always_did(recipe_file, finished):
    """Or every finished run would judge its retrievers again."""
    folder = recipe_file.parent / "outside"
    files = {
        path.relative_to(folder).as_posix(): content_digest(path)
        for path in folder.rglob("*")
        if path.is_file()
    }
    inputs = manifests(finished)["runs/last"]["inputs"]
    assert inputs["benchmarks"]["outside"] == {
        "files": digest(files),
        "instruction": "Find the line",
    }
    assert set(inputs) == {"retriever", "benchmarks", "metrics"}


def test_one_entry_may_be_a_collection_of_which_some_are_judged(recipe_file, tmp_path):
    published.miracl(recipe_file.parent / "collection", "sw")
    published.miracl(recipe_file.parent / "collection", "yo")
    entry = "benchmarks=[outside, {path: collection, languages: [yo]}]"
    output = tmp_path / "run"
    asked = [entry, "retrievers=[uniform]", "training.steps=2"]
    run(recipe_file, output, asked)
    table = pq.read_table(output / "scores.parquet")
    names = set(table["benchmark"].to_pylist())
    assert {"outside", "miracl/yo"} < names
    assert "miracl/sw" not in names
    for path in (recipe_file.parent / "collection").rglob("*-sw-*"):
        path.write_bytes(path.read_bytes() + b"\n")
    assert "scores of uniform: done before" in run(recipe_file, output, asked), "not read"
    for path in (recipe_file.parent / "collection").rglob("topics.*-yo-*"):
        path.write_bytes(path.read_bytes().replace(b"w4", b"w3"))
    said = run(recipe_file, output, asked)
    assert "scores of uniform: to be done again, benchmarks.miracl/yo.files" in said


def test_two_runs_in_one_directory_are_kept_apart(recipe_file, finished):
    import fcntl

    from tdro.errors import InputError

    with (finished / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="Another process"):
            run(recipe_file, finished)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["benchmarks=[{path: outside, name: alpha}]"], "named 'alpha'"),
        (["benchmarks=[]", "holdout=0"], "nothing to judge on"),
        (["benchmarks=[{path: outside, only: [x]}]"], "named 'x'"),
        (["benchmarks=[{path: outside, languages: [sw]}]"], "which have none"),
        (["benchmarks=[{path: outside, split: dev}]"], "there is the split test"),
    ],
)
def test_what_cannot_be_judged_is_said_before_any_training(
    recipe_file, tmp_path, overrides, sentence
):
    from tdro.errors import InputError

    with pytest.raises(InputError, match=sentence):
        run(recipe_file, tmp_path / "run", overrides)
    assert not (tmp_path / "run" / "reference").exists()


def test_a_mixture_file_and_ema_can_train_retrievers(recipe_file, finished, tmp_path):
    mixture = tmp_path / "mine.json"
    Mixture({"alpha": 0.9, "beta": 0.1}).save(mixture)
    output = tmp_path / "run"
    run(
        recipe_file,
        output,
        [f"retrievers=[uniform, {mixture}]", "training.steps=10", "holdout=3"],
    )
    record = json.loads((output / "retrievers" / "mine" / "sampling.json").read_text())
    assert dict(zip(record["tasks"], record["batches"], strict=True)) == {
        "alpha": 9,
        "beta": 1,
        "gamma": 0,
        "tiny": 0,
    }
    assert not (output / "mixture").exists(), "nothing asked for a learned mixture"


def test_with_two_folds_every_row_is_scored_by_a_reference_that_has_not_seen_it(
    recipe_file, finished, tmp_path
):
    output = tmp_path / "run"
    shutil.copytree(finished, output)
    before = manifests(output)
    said = run(recipe_file, output, ["reference.folds=2", "retrievers=[]"])
    after = manifests(output)
    assert {name for name in before if before[name] != after[name]} == {
        "reference_losses",
        "mixture",
    }
    assert "effective tasks of 4" in said
    plan = Plan.load(output / "plan")
    seen = [read_trained_rows(output / "reference_folds" / fold) for fold in ("1", "2")]
    for task in plan.tasks:
        assert not set(seen[0][task]) & set(seen[1][task])
    losses = [
        pq.read_table(root / "reference_losses" / "losses.parquet")["loss"].to_numpy()
        for root in (finished, output)
    ]
    assert len(losses[0]) == len(losses[1]) == len(plan.task_of)
    assert (np.abs(losses[0] - losses[1]) > 1e-4).mean() > 0.9
    told = pq.read_table(output / "reference_losses" / "by_task.parquet")
    assert set(told["trained_on_rows"].to_pylist()) == {0}


def test_the_kept_mixture_of_doremi_is_the_mean(recipe_file, finished, tmp_path):
    output = tmp_path / "run"
    shutil.copytree(finished, output)
    run(recipe_file, output, ["learning.method=doremi", "learning.eta=1", "retrievers=[learned]"])
    mean = Mixture.load(output / "mixture" / "mean.json")
    assert mean.details["kept"]
    assert not Mixture.load(output / "mixture" / "last.json").details["kept"]
    record = json.loads((output / "retrievers" / "learned" / "sampling.json").read_text())
    assert dict(zip(record["tasks"], record["weights"], strict=True)) == dict(mean.weights)
    assert Mixture.load(output / "mixture" / "top-0.7.json").weights == mean.top(0.7).weights


def test_a_run_stops_learning_when_settled_and_says_what_it_saved(recipe_file, finished, tmp_path):
    output = tmp_path / "run"
    shutil.copytree(finished, output)
    changes = ["learning.patience=3", "learning.tolerance=0.9", "retrievers=[]"]
    said = run(recipe_file, output, changes)
    facts = manifests(output)["mixture"]["facts"]
    assert facts.pop("tokens") > 0
    assert facts == {"steps": 4, "rows": 32, "steps_saved": 2}
    assert "2 steps saved" in said
    assert "warning: The mixture" in said
    assert any(text in said for text in json.loads((output / "warnings.json").read_text()))


def test_an_unknown_tracker_is_told_before_anything_is_done(recipe_file, tmp_path):
    from tdro.errors import InputError

    with pytest.raises(InputError, match=r"report_to names 'nope', which is unknown or not inst"):
        run(recipe_file, tmp_path / "run", ["report_to=[nope]"])
    assert not (tmp_path / "run").exists()


def test_a_tracker_hears_every_training(recipe_file, tmp_path):
    output = tmp_path / "run"
    run(recipe_file, output, ["report_to=[tensorboard]", "retrievers=[learned]"])
    for stage in ("reference", "mixture", "retrievers/learned"):
        assert list((output / stage).glob("trainer/runs/*/events*")), stage
        assert not list((output / stage).glob("trainer/checkpoint-*")), stage
