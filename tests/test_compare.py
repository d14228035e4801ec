"""Comparing mixtures: equal compute, counted costs, groups kept apart, nothing done twice."""

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import ir_measures
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from rich.console import Console

from tdro.errors import InputError
from tdro.estimate.comparison import estimate_comparison
from tdro.estimate.render import Device
from tdro.evaluation.development import DevelopmentSet
from tdro.learning.curve import curve_weights, shrunk
from tdro.mixture import Mixture
from tdro.recipe_file import load_recipe
from tdro.report.comparison import write_comparison
from tdro.run.compare import compare
from tdro.run.entries import entries_of
from tdro.run.execute import execute
from tests.conftest import synthetic_rows, write_task
from tests.test_run import manifests

pytestmark = pytest.mark.slow

STEPS, ROWS = 6, 8
MIXTURES = [
    "uniform",
    "uniform-longer",
    {"temperature": 0.5},
    "tdro-pooled",
    {"method": "tdro-pooled", "top": 0.7},
    "merge-search",
    "learning-curve",
    "learning-curve/helped",
    "regression",
    "soup",
]
LABELS = [
    *("uniform", "uniform-longer", "temperature-0.5", "tdro-pooled", "tdro-pooled/top-0.7"),
    *("merge-search", "learning-curve", "learning-curve/helped", "regression", "soup"),
]
SMALLER = [f"{label}@0.5" for label in LABELS if label not in ("uniform-longer", "soup")]


@pytest.fixture(scope="module")
def recipe_file(tiny_llm, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    sizes = {"alpha": 120, "beta": 80, "gamma": 60, "tiny": 20}
    for place, (name, size) in enumerate(sizes.items()):
        write_task(folder / "data" / "tasks" / f"{name}.jsonl.gz", synthetic_rows(size, place))
    instructions = {name: {"instruction": f"Find the {name} line"} for name in sizes}
    (folder / "data" / "tasks.json").write_text(json.dumps(instructions))
    training = {"steps": STEPS, "batch_size": ROWS, "learning_rate": 1e-3}
    recipe = {
        "tasks": {"folder": "data"},
        "exclude_tasks": ["gamma"],
        "holdout": 10,
        "model": {"name_or_path": str(tiny_llm), "layers": 1, "max_query_length": 32},
        "reference": training,
        "training": training,
        "learning": {"steps": STEPS, "batch_size": ROWS, "negatives": 2, "eta": 0.5},
        "merging": {
            **{"start_steps": 2, "steps": 2, "development": 4},
            **{"passages": 20, "samples": 8, "confirm": 2},
        },
        "curve": {"shorter": 0.5, "development": 4, "passages": 20, "floor": 0.3},
        "regression": {"mixtures": 5, "development": 4, "passages": 20, "floor": 0.3},
        "metrics": ["nDCG@10", "RR@10"],
        "compare": {"mixtures": MIXTURES, "seeds": 2, "budgets": [0.5]},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def run(recipe_file, output, overrides=()):
    console = Console(record=True, width=200, file=(output.parent / "said.txt").open("w"))
    compare(load_recipe(recipe_file, overrides), output, console)
    return console.export_text()


@pytest.fixture(scope="module")
def finished(recipe_file, tmp_path_factory):
    output = tmp_path_factory.mktemp("finished") / "comparison"
    return output, run(recipe_file, output)


def test_every_entry_is_scored_in_every_seed_on_groups_kept_apart(finished):
    output, _ = finished
    scores = pq.read_table(output / "scores.parquet").to_pylist()
    assert {(line["retriever"], line["seed"]) for line in scores} == {
        (label, seed) for label in (*LABELS, *SMALLER) for seed in (0, 1)
    }
    groups = {line["benchmark"]: line["group"] for line in scores}
    assert groups == {"alpha": "holdout", "beta": "holdout", "tiny": "holdout", "gamma": "unseen"}
    assert {"nDCG@10", "RR@10"} <= set(scores[0])
    for seed in (0, 1):
        sampled = json.loads((output / f"seed-{seed}/retrievers/uniform/sampling.json").read_text())
        assert "gamma" not in sampled["tasks"]


def test_equal_compute_and_every_cost_is_counted(finished):
    output, _ = finished
    costs = {
        (line["retriever"], line["seed"]): line
        for line in pq.read_table(output / "costs.parquet").to_pylist()
    }
    facts = {place: one["facts"] for place, one in manifests(output / "seed-0").items()}
    per_token = manifests(output)["encoders/model"]["facts"]["parameters_per_token"]
    for label in LABELS:
        line = costs[label, 0]
        if label in ("uniform-longer", "soup"):
            continue
        assert line["training_rows"] <= STEPS * ROWS
        place = f"retrievers/{label.replace('/', '%2F')}"
        assert facts[place]["steps"] == STEPS
        assert line["training_tokens"] == facts[place]["tokens"]
        assert line["training_flops"] == 6 * per_token * facts[place]["tokens"]
    for label in SMALLER:
        assert facts[f"retrievers/{label.replace('/', '%2F').replace('@', '%40')}"]["steps"] == 3
    looped = 6 * (facts["reference"]["tokens"] + facts["mixtures/tdro-pooled"]["tokens"])
    looped += 2 * facts["reference_losses"]["tokens"]
    learned = costs["tdro-pooled", 0]
    assert learned["learning_flops"] == looped * per_token
    assert learned["learning_rows"] == sum(
        facts[place]["rows"] for place in ("reference", "reference_losses", "mixtures/tdro-pooled")
    )
    experts = [value["tokens"] for place, value in facts.items() if place.startswith("experts/")]
    assert len(experts) == 3
    soup = 6 * (sum(experts) + facts["merging/start"]["tokens"])
    assert costs["soup", 0]["learning_flops"] == soup * per_token
    confirmed = [v["tokens"] for place, v in facts.items() if place.startswith("confirmed/")]
    searched = facts["merging/search"]["tokens"] + facts["mixtures/merge-search"]["tokens"]
    assert costs["merge-search", 0]["learning_flops"] == (
        (soup + 6 * sum(confirmed) + 2 * searched) * per_token
    )
    curve = facts["curve/shorter"]["tokens"] + facts["curve/longer"]["tokens"]
    assert facts["curve/shorter"]["steps"] == STEPS // 2
    assert costs["learning-curve", 0]["learning_flops"] == per_token * (
        6 * curve + 2 * facts["mixtures/learning-curve"]["tokens"]
    )
    drawn = sum(facts[f"regression/{number}"]["tokens"] for number in range(1, 6))
    assert costs["regression", 0]["learning_flops"] == per_token * (
        6 * drawn + 2 * facts["mixtures/regression"]["tokens"]
    )
    assert costs["uniform", 0]["learning_flops"] == 0
    # Longer by what the learner cost, to the nearest step.
    uniform = costs["uniform", 0]["training_flops"]
    steps = facts["retrievers/uniform-longer"]["steps"]
    assert steps == STEPS + round(looped * per_token / (uniform / STEPS))


def test_what_a_seed_takes_is_told_beforehand(recipe_file, finished):
    output, _ = finished
    told = estimate_comparison(load_recipe(recipe_file), Device(), output)
    done = manifests(output)
    places = {
        one.stage.place
        if one.stage.kind in ("task", "encoder")
        else f"seed-0/{one.stage.place}": one
        for one in told.stages
    }
    assert told.seeds == 2
    # Whether a confirming run is needed, the search tells.
    needless = {place for place in set(places) - set(done) if "/confirmed/" in place}
    assert set(places) - needless == {place for place in done if not place.startswith("seed-1")}
    # A task that is all but too small to train on is drawn more or less than its share.
    for place in set(places) - needless:
        facts, one = done[place]["facts"], places[place]
        trained = place.split("/")[1] in ("retrievers", "mixtures", "experts", "curve")
        if trained and one.stage.kind == "training":
            assert one.rows == pytest.approx(facts["rows"], rel=0.2), place
            assert one.tokens == pytest.approx(facts["tokens"], rel=0.25), place
    longer = places["seed-0/retrievers/uniform-longer"].stage.settings.steps
    assert longer == pytest.approx(
        done["seed-0/retrievers/uniform-longer"]["facts"]["steps"], rel=0.2
    )
    # Reference and uniform retriever are one training, which is counted once.
    assert places["seed-0/reference"].work.total == 0


def test_selections_leave_collections_out(finished):
    output, _ = finished
    costs = {
        line["retriever"]: line for line in pq.read_table(output / "costs.parquet").to_pylist()
    }
    assert costs["tdro-pooled/top-0.7"]["collections"] == 2
    assert costs["uniform"]["collections"] == 3
    assert costs["uniform"]["distinct_rows"] <= costs["uniform"]["training_rows"]


def test_the_searched_mixture_is_the_best_of_those_confirmed(finished):
    output, _ = finished
    mixture = Mixture.load(output / "seed-0/mixtures/merge-search/last.json")
    told = mixture.details
    assert len(told["real"]) == len(told["predicted"]) <= 3
    assert told["confirmed"] == max(range(len(told["real"])), key=told["real"].__getitem__)
    searched = pq.read_table(output / "seed-0/merging/search/candidates.parquet").to_pylist()
    assert len(searched) == 8
    assert searched[0]["weights"] == pytest.approx([1 / 3] * 3)
    assert told["predicted"][0] == searched[0]["score"]


def test_the_curve_gives_rows_to_tasks_that_gained_and_trains_on_none_it_is_scored_on(finished):
    output, _ = finished
    mixture = Mixture.load(output / "seed-0/mixtures/learning-curve/last.json")
    gains = mixture.details["gains"]
    assert set(gains) == set(mixture.weights) == {"alpha", "beta", "tiny"}
    assert min(mixture.weights.values()) >= 0.3 / 3 - 1e-9
    trained = pq.read_table(output / "seed-0/curve/longer/trained_rows.parquet")["rows"]
    tasks = json.loads((output / "seed-0/curve/longer/sampling.json").read_text())["tasks"]
    held_out = {}
    for place in ("curve/development", "holdouts"):
        for name in tasks:
            path = output / f"seed-0/{place}/{name}/qrels/test.tsv"
            rows = {int(line.split()[0][1:]) for line in path.read_text().splitlines()[1:]}
            assert rows
            held_out.setdefault(name, []).append(rows)
    enough = np.mean([one["gain"] for one in gains.values()]) / 3
    idle = [name for name, one in gains.items() if one["gain"] + 2 * one["error"] < enough]
    idle = idle if enough > 0 else []
    path = output / "seed-0/retrievers/learning-curve%2Fhelped/sampling.json"
    weights = dict(zip(tasks, json.loads(path.read_text())["weights"], strict=True))
    equal = 1 / (len(tasks) - len(idle))
    assert weights == pytest.approx({name: equal * (name not in idle) for name in tasks})
    told = [one for one in json.loads((output / "warnings.json").read_text()) if "Further" in one]
    for name in idle:
        assert any(repr(name) in one for one in told)
    for name, rows in zip(tasks, trained.to_pylist(), strict=True):
        development, judged = held_out[name]
        assert not development & judged
        assert not (development | judged) & set(rows)


def test_regression_weighs_tasks_by_slopes_of_models_that_each_had_a_mixture_of_its_own(finished):
    output, _ = finished
    mixture = Mixture.load(output / "seed-0/mixtures/regression/last.json")
    told = mixture.details["slopes"]
    assert set(told) == set(mixture.weights) == {"alpha", "beta", "tiny"}
    slopes, errors = (np.array([told[n][key] for n in told]) for key in ("slope", "error"))
    assert list(mixture.weights.values()) == pytest.approx(
        curve_weights(shrunk(slopes, errors), 0.3)
    )
    drawn = [
        json.loads((output / f"seed-0/regression/{number}/sampling.json").read_text())["weights"]
        for number in range(1, 6)
    ]
    logs = [np.log(weights) - np.log(weights).mean() for weights in drawn]
    assert logs[0] == pytest.approx(-logs[1])
    assert abs(logs[0] - logs[2]).max() > 0.01


def test_rows_set_apart_keep_their_instructions_for_a_later_proxy(recipe_file, tmp_path):
    changes = ["learning={method: learning-curve}", "retrievers=[]", "proxy.instructions=false"]
    execute(load_recipe(recipe_file, changes), tmp_path / "run", Console(quiet=True))
    told = json.loads((tmp_path / "run/curve/development/alpha/benchmark.json").read_text())
    assert told["instruction"] == "Find the alpha line"


def test_experts_are_whole_models_where_references_leave_adapters(recipe_file, tmp_path):
    pytest.importorskip("peft")
    changes = ["learning={method: merge-search}", "retrievers=[]", "merging.samples=4"]
    adapters = ["reference.lora={rank: 2}", "reference.save_adapter=true"]
    execute(load_recipe(recipe_file, [*changes, *adapters]), tmp_path / "run", Console(quiet=True))
    assert (tmp_path / "run/experts/alpha/model/model.safetensors").is_file()
    assert not list(tmp_path.rglob("adapter_model.safetensors"))


def test_a_report_of_seeds_without_tables_is_one_sentence(tdro, tmp_path):
    (tmp_path / "seed-0").mkdir()
    code, _, told = tdro("report", tmp_path)
    assert (code, "is a comparison without tables yet" in told) == (2, True)


def test_a_killed_search_goes_on_to_the_same_mixtures(recipe_file, finished, tmp_path, monkeypatch):
    output, _ = finished
    changes = ["learning={method: merge-search}", "retrievers=[]"]
    recipe = load_recipe(recipe_file, changes)
    scored = DevelopmentSet.score
    calls = []

    def counted(self, model):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return scored(self, model)

    monkeypatch.setattr(DevelopmentSet, "score", counted)
    with pytest.raises(KeyboardInterrupt):
        execute(recipe, tmp_path / "run", Console(quiet=True))
    log = tmp_path / "run/merging/.search.partial/asked.jsonl"
    assert len(log.read_text().splitlines()) == 5
    with log.open("a") as file:
        file.write("0.3")
    execute(recipe, tmp_path / "run", Console(quiet=True))
    # Three of eight were left, and the real runs are scored too.
    assert len(calls) == 6 + 3 + len(
        Mixture.load(tmp_path / "run/mixture/last.json").details["real"]
    )
    found, whole = (
        pq.read_table(folder / "merging/search/candidates.parquet")
        for folder in (tmp_path / "run", output / "seed-0")
    )
    assert found.equals(whole)


def test_tables_agree_and_runs_can_be_scored_elsewhere(finished):
    output, said = finished
    with (output / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    scores = pq.read_table(output / "scores.parquet").to_pylist()
    row = next(r for r in rows if (r["retriever"], r["group"]) == ("tdro-pooled", "unseen"))
    values = {
        seed: [
            line["nDCG@10"]
            for line in scores
            if (line["retriever"], line["group"], line["seed"]) == ("tdro-pooled", "unseen", seed)
        ]
        for seed in (0, 1)
    }
    means = [sum(part) / len(part) for part in values.values()]
    assert float(row["mean"]) == pytest.approx(sum(means) / 2)
    text = (output / "comparison.md").read_text()
    assert all(label.replace("/", "/") in text for label in LABELS)
    assert "tdro-pooled/top-0.7" in said
    run_file = output / "seed-0/runs/tdro-pooled/gamma.trec"
    assert len({line.query_id for line in ir_measures.read_trec_run(str(run_file))}) == 10
    assert len(list(ir_measures.read_trec_qrels(str(run_file.with_suffix(".qrels"))))) >= 10
    assert (output / "seed-0/holdouts_unseen/gamma/qrels/test.tsv").is_file()
    assert "curve-holdout" in (output / "report.html").read_text()
    warnings = json.loads((output / "warnings.json").read_text())
    told = [one.partition(": ")[2] for one in warnings]
    assert len(set(told)) == len(told), "those of several seeds are told once"
    assert all(re.match(r"Seeds? \d(, \d)*: ", one) for one in warnings)
    assert any(one.startswith("tdro-pooled: ") for one in told)


def test_a_second_call_repeats_nothing_and_a_further_seed_only_adds(
    recipe_file, finished, monkeypatch
):
    output, _ = finished
    before = manifests(output)
    written = []

    def counted(directory):
        written.append(directory)
        return write_comparison(directory)

    monkeypatch.setattr("tdro.run.compare.write_comparison", counted)
    run(recipe_file, output)
    assert manifests(output) == before
    assert len(written) == 1, "tables of seeds that were done are tested once, at the end"
    run(recipe_file, output, ["compare.seeds=3", "compare.budgets=[1]"])
    after = manifests(output)
    assert {place: after[place] for place in before} == before
    assert {place.split("/")[0] for place in set(after) - set(before)} == {"seed-2"}


def test_models_that_are_not_kept_are_trained_again_only_when_needed(recipe_file, tmp_path):
    output = tmp_path / "comparison"
    changes = ["compare.mixtures=[uniform, soup]", "compare.budgets=[1]", "compare.seeds=1"]
    run(recipe_file, output, [*changes, "compare.keep_models=false"])
    retriever = output / "seed-0/retrievers/uniform"
    assert not (retriever / "model").exists()
    assert not (output / "seed-0/merging/soup/model").exists()
    before = manifests(output)
    run(recipe_file, output, [*changes, "compare.keep_models=false"])
    assert manifests(output) == before
    run(recipe_file, output, [*changes, "metrics=[nDCG@10]"])
    after = manifests(output)
    again = {place for place in after if after[place] != before.get(place)}
    assert again == {
        f"seed-0/{place}"
        for place in ("retrievers/uniform", "merging/soup", "runs/uniform", "runs/soup")
    }
    assert (retriever / "model").is_dir()
    scores = pq.read_table(output / "scores.parquet").to_pylist()
    assert len({line["retriever"] for line in scores}) == 2


def test_a_selection_that_leaves_nothing_out_is_the_uniform_retriever(recipe_file, tmp_path):
    even = tmp_path / "even.json"
    Mixture.uniform(["alpha", "beta", "tiny"]).save(even)
    console = Console(record=True, width=200, file=(tmp_path / "said.txt").open("w"))
    execute(load_recipe(recipe_file, [f"retrievers=[uniform, {even}]"]), tmp_path / "run", console)
    assert "retriever even: the same training as retriever uniform, copied" in console.export_text()
    models = [tmp_path / f"run/retrievers/{name}/model" for name in ("uniform", "even")]
    one, other = ((model / "model.safetensors").read_bytes() for model in models)
    assert one == other


def test_a_training_that_reference_and_uniform_share_is_done_once(recipe_file, finished, tmp_path):
    output, said = finished
    copied = "reference: the same training as retriever uniform, copied"
    assert said.count(copied) == 2, "once a seed"
    reference, uniform = output / "seed-0/reference", output / "seed-0/retrievers/uniform"
    told = [json.loads((place / "manifest.json").read_text()) for place in (reference, uniform)]
    assert told[0]["facts"] == told[1]["facts"]
    assert told[0]["seconds"] == told[1]["seconds"], "a copy costs what the training did"
    assert json.loads((reference / "sampling.json").read_text())["retriever"] == "reference"

    # A reference that was trained has the same numbers.
    apart = tmp_path / "apart"
    console = Console(record=True, width=200, file=(tmp_path / "said.txt").open("w"))
    changes = ["retrievers=[reference, uniform]", "holdout=10"]
    execute(load_recipe(recipe_file, changes), apart, console)
    assert "retriever uniform: the same training as reference, copied" in console.export_text()
    weights = "model/model.safetensors"
    assert (apart / "reference" / weights).read_bytes() == (reference / weights).read_bytes()
    assert (apart / "retrievers/uniform" / weights).read_bytes() == (uniform / weights).read_bytes()

    # What a killed training left goes when its twin is there to be copied.
    copied = apart / "retrievers/uniform"
    inputs = json.loads((copied / "manifest.json").read_text())["inputs"]
    checkpoint = copied.with_name(".uniform.partial") / "trainer/checkpoint-2"
    checkpoint.mkdir(parents=True)
    (checkpoint.parents[1] / "inputs.json").write_text(json.dumps(inputs))
    before = {path.name for path in copied.iterdir()}
    shutil.rmtree(copied)
    execute(load_recipe(recipe_file, changes), apart, console)
    assert {path.name for path in copied.iterdir()} == before
    assert (copied / weights).read_bytes() == (uniform / weights).read_bytes()


def test_killed_while_a_model_is_dropped_it_is_not_taken_for_whole(
    recipe_file, tmp_path, monkeypatch
):
    output = tmp_path / "comparison"
    changes = ["compare.mixtures=[uniform]", "compare.budgets=[1]", "compare.seeds=1"]
    changes += ["compare.keep_models=false"]
    model, real = output / "seed-0/retrievers/uniform/model", shutil.rmtree

    def killed(path, *given, **options):
        if "model" in Path(path).name and Path(path).is_dir():
            (Path(path) / "model.safetensors").unlink()
            raise KeyboardInterrupt
        real(path, *given, **options)

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            run(recipe_file, output, changes)
    scored = pq.read_table(output / "seed-0/runs/uniform/scores.parquet")
    run(recipe_file, output, [*changes, "metrics=[nDCG@10]"])
    again = pq.read_table(output / "seed-0/runs/uniform/scores.parquet")
    assert again["nDCG@10"].equals(scored["nDCG@10"])
    assert not list(model.parent.glob("*model*"))


def test_a_model_that_is_not_kept_still_serves_as_the_reference(recipe_file, tmp_path):
    output = tmp_path / "comparison"
    changes = ["compare.mixtures=[uniform, tdro-pooled]", "compare.budgets=[1]", "compare.seeds=1"]
    said = run(recipe_file, output, [*changes, "compare.keep_models=false"])
    assert "reference: the same training as retriever uniform, copied" in said
    assert not (output / "seed-0/retrievers/uniform/model").exists()
    assert (output / "seed-0/reference/model").is_dir()

    other = tmp_path / "other"
    said = run(recipe_file, other, [*changes, "reference.learning_rate=2e-3"])
    assert "the same training" not in said


def test_costs_are_of_what_the_recipe_has_now(recipe_file, tmp_path):
    changes = ["compare.mixtures=[uniform, tdro-pooled]", "compare.budgets=[1]", "compare.seeds=1"]
    before, fresh = tmp_path / "before", tmp_path / "fresh"
    run(recipe_file, before, [*changes, "reference.folds=2"])
    costs = []
    for output in (before, fresh):
        run(recipe_file, output, changes)
        table = pq.read_table(output / "costs.parquet")
        costs.append(table.select(["retriever", "learning_rows", "learning_flops"]).to_pylist())
    assert costs[0] == costs[1]


def test_a_mixture_of_other_tasks_is_told_before_any_training(recipe_file, tmp_path):
    Mixture({"alpha": 0.5, "gamma": 0.5}).save(tmp_path / "old.json")
    changes = [f"compare.mixtures=[uniform, {tmp_path / 'old.json'}]"]
    sentence = r"old\.json: .*task 'gamma', which is not among the training tasks"
    with pytest.raises(InputError, match=sentence):
        run(recipe_file, tmp_path / "comparison", changes)
    assert not list(tmp_path.glob("comparison/seed-0/retrievers"))
    recipe = load_recipe(recipe_file, [f"retrievers=[uniform, {tmp_path / 'old.json'}]"])
    with pytest.raises(InputError, match=sentence):
        execute(recipe, tmp_path / "run", Console(quiet=True))
    assert not (tmp_path / "run/retrievers").exists()


def test_seeds_done_by_processes_side_by_side_are_those_done_in_turn(
    recipe_file, finished, tmp_path
):
    output, _ = finished
    command = [sys.executable, "-m", "tdro", "compare", str(recipe_file), "-o", str(tmp_path)]
    command += ["--set", "compare.mixtures=[uniform]", "--set", "compare.budgets=[1]"]
    at_work = [subprocess.Popen([*command, "--seed", seed]) for seed in ("0", "1")]
    assert [one.wait(timeout=300) for one in at_work] == [0, 0]
    assert not (tmp_path / "scores.parquet").exists()
    before = manifests(tmp_path)
    assert subprocess.run(command, check=False).returncode == 0
    assert manifests(tmp_path) == before
    # What no seed changes is done once.
    assert {place.split("/")[0] for place in before} == {"tasks", "encoders", "seed-0", "seed-1"}
    assert not list(tmp_path.glob("seed-*/tasks"))
    in_turn = pq.read_table(output / "scores.parquet").to_pylist()
    assert pq.read_table(tmp_path / "scores.parquet").to_pylist() == [
        line for line in in_turn if line["retriever"] == "uniform" and line["seed"] in (0, 1)
    ]
    command += ["--set", "compare.seeds=[1]"]
    assert subprocess.run(command, check=False).returncode == 0
    assert manifests(tmp_path) == before
    assert set(pq.read_table(tmp_path / "scores.parquet")["seed"].to_pylist()) == {1}
    unknown = subprocess.run([*command, "--seed", "7"], check=False, capture_output=True, text=True)
    assert unknown.returncode == 2
    assert "Seed 7 is not among those of the comparison (1)" in " ".join(unknown.stderr.split())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("compare.mixtures=[unifrom]", "'unifrom' is no mixture; the nearest is 'uniform'"),
        ("compare.mixtures=[soup/top-0.7]", "there is nothing to select from 'soup'"),
        ("compare.mixtures=[tdro/helped]", "learning-curve and regression do"),
        ("retrievers=[helped]", "learning-curve and regression tell, not tdro"),
        ("compare.mixtures=[{temprature: 0.5}]", "one of temperature, method and file"),
        ("compare.mixtures=[doremi, doremi]", "named twice"),
        ("compare.budgets=[1.5]", "above 0 and at most 1"),
        ("compare.seeds=0", "'compare.seeds' is 0: write how many"),
        ("compare.seeds=[]", "or a list of different seeds"),
        ("compare.seeds=[3, 3]", "or a list of different seeds"),
        ("compare.seeds=[3, -1]", "or a list of different seeds"),
        ("compare.seeds=true", "write how many, 1 or more"),
        ("compare.seed=3", "the nearest valid key is 'seeds'"),
        ("exclude_tasks=[gama]", "the nearest is 'gamma'"),
        ("metrics=[nDGC@10]", "unknown to ir_measures"),
        ("learning={method: merge-search, eta: 0.1}", "'eta' is not read by merge-search"),
        ("learning={method: learning-curve, steps: 5}", "see the section 'curve'"),
        ("curve.shorter=1.5", "curve.shorter"),
    ],
)
def test_mistakes_are_one_sentence_before_any_training(recipe_file, tmp_path, change, sentence):
    with pytest.raises(InputError, match=None) as error:
        run(recipe_file, tmp_path / "out", [change])
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob("out/**/model"))


def test_uniform_is_always_compared(recipe_file):
    recipe = load_recipe(recipe_file, ["compare.mixtures=[doremi]", "compare.budgets=[0.5]"])
    assert [entry.label for entry in entries_of(recipe)] == [
        *("uniform", "doremi", "uniform@0.5", "doremi@0.5")
    ]


def test_a_budget_close_to_all_steps_keeps_a_name_of_its_own(recipe_file):
    budgets = "compare.budgets=[0.99999999, 0.7, 0.25]"
    recipe = load_recipe(recipe_file, ["compare.mixtures=[uniform]", budgets])
    assert [entry.label for entry in entries_of(recipe)] == [
        *("uniform", "uniform@0.99999999", "uniform@0.7", "uniform@0.25")
    ]


def test_a_run_takes_the_searched_mixture_too(recipe_file, tmp_path):
    changes = ["learning={method: merge-search}", "retrievers=[learned, temperature-0.5]"]
    recipe = load_recipe(recipe_file, changes)
    execute(recipe, tmp_path / "run", Console(quiet=True))
    mixture = Mixture.load(tmp_path / "run/mixture/last.json")
    sampled = json.loads((tmp_path / "run/retrievers/learned/sampling.json").read_text())
    assert sampled["weights"] == pytest.approx(list(mixture.weights.values()))
    # The resolved recipe is a recipe.
    again = load_recipe(tmp_path / "run/recipe.yaml")
    assert again.learning.method == "merge-search"
    with pytest.raises(InputError, match="use 'learned'"):
        execute(
            load_recipe(recipe_file, [changes[0], "retrievers=[ema]"]),
            tmp_path / "run",
            Console(quiet=True),
        )
