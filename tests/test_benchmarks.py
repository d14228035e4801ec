"""The scripts in benchmarks/ run to their end on small data; their figures are not looked at."""

import gzip
import itertools
import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tdro.mixture import Mixture
from tdro.tasks.sources import find_sources
from tests.conftest import synthetic_rows, write_task
from tests.evaluation import published

pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def run(script, *arguments):
    ended = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), *map(str, arguments)],
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout


def test_controls_learn_and_print_a_table(tiny_llm, tmp_path):
    controls = runpy.run_path(str(BENCHMARKS / "controls.py"))
    for place, task in enumerate((*controls["BASE"], "foldoc_term", "vera_acronym")):
        write_task(tmp_path / "data" / "tasks" / f"{task}.jsonl.gz", synthetic_rows(60, place))
    options = ("--work", tmp_path / "work", "--json", tmp_path / "lines.json", "--seeds", 1)
    sets = ("--sets", "halves", "tiny-folds", "--steps", 2, "--layers", 1)
    said = run("controls.py", tmp_path / "data", tiny_llm, *options, *sets)
    lines = json.loads((tmp_path / "lines.json").read_text())
    assert {line["method"] for line in lines} == set(controls["METHODS"])
    assert len(lines) == len(controls["METHODS"]) * (7 + 7)
    assert "halves: CONTROL + CONTROL 2" in said


def test_seeds_are_compared(task_folder, tiny_llm, tmp_path):
    training = {"steps": 3, "batch_size": 8, "learning_rate": 1e-3}
    recipe = {
        "tasks": {"folder": str(task_folder)},
        "holdout": 5,
        "model": {"name_or_path": str(tiny_llm), "layers": 2},
        "reference": training,
        "learning": {"steps": 4, "batch_size": 8, "negatives": 2},
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(recipe))
    told = tmp_path / "told.json"
    run("demo_seeds.py", path, "--seeds", 2, "--work", tmp_path / "work", "--json", told)
    found = json.loads(told.read_text())
    assert set(found["weights"]) == {"alpha", "beta", "gamma", "tiny"}
    assert all(len(weights) == 2 for weights in found["weights"].values())
    assert len(found["noise"]) == 6


def test_the_response_to_random_mixtures_is_fitted_and_confirmed(task_folder, tiny_llm, tmp_path):
    training = {"steps": 2, "batch_size": 8, "learning_rate": 1e-3}
    recipe = {
        "tasks": {"folder": str(task_folder)},
        "exclude_tasks": ["tiny"],
        "holdout": 5,
        "model": {"name_or_path": str(tiny_llm), "layers": 1},
        "training": training,
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(recipe))
    told = tmp_path / "told.json"
    options = ("--mixtures", 4, "--seeds", 1, "--work", tmp_path / "work", "--json", told)
    run("mixtures/response.py", path, *options)
    found = json.loads(told.read_text())
    assert {line["task"] for line in found["slopes"]} == {"alpha", "beta", "gamma"}
    assert [line["retriever"] for line in found["foretold"]] == [f"random-0{n}" for n in range(4)]
    assert any("best-by-slope" in line for line in found["confirmed"])
    lines = tmp_path / "lines.json"
    said = run("mixtures/table.py", tmp_path / "work" / "confirmed", "--json", lines)
    assert [line["mixture"] for line in json.loads(lines.read_text())] == [
        *("uniform", "best-by-slope")
    ]
    assert "| `best-by-slope` | " in said
    run("mixtures/table.py", tmp_path / "work/confirmed", "--without", "alpha", "--json", lines)
    uniform = json.loads(lines.read_text())[0]["holdout"]["mean"]
    scores = pq.read_table(tmp_path / "work/confirmed/scores.parquet").to_pylist()
    rest = [
        [
            line["nDCG@10"]
            for line in scores
            if (line["retriever"], line["benchmark"]) == ("uniform", name)
        ]
        for name in ("beta", "gamma")
    ]
    assert uniform == pytest.approx(np.mean([np.mean(one) for one in rest]))
    points = tmp_path / "points.json"
    said = run("mixtures/curve.py", tmp_path / "work" / "confirmed", "--json", points)
    assert json.loads(points.read_text())["uniform"][0]["budget"] == 1
    assert "| `best-by-slope` | hold-outs | " in said
    # One seed has no interval.
    assert "nan" not in said


def test_the_curve_of_one_group_is_drawn_by_the_metric_that_is_asked_for(tmp_path):
    pytest.importorskip("matplotlib")
    budgets = {"uniform": 1.0, "other": 1.0, "uniform@0.5": 0.5}
    scores = [
        {"retriever": name, "seed": 0, "group": "holdout", "benchmark": "a", "query": f"q{n}"}
        | {"nDCG@10": budget * n / 9, "RR@10": budget * n / 10}
        for name, budget in budgets.items()
        for n in range(9)
    ]
    costs = [
        {"retriever": name, "base_label": name.partition("@")[0], "budget": budget, "seed": 0}
        | dict.fromkeys(("collections", "distinct_rows"), 1)
        | {
            f"{part}_{unit}": 8 * budget
            for part in ("training", "learning")
            for unit in ("rows", "tokens", "flops", "seconds")
        }
        for name, budget in budgets.items()
    ]
    for name, lines in (("scores", scores), ("costs", costs)):
        pq.write_table(pa.Table.from_pylist(lines), tmp_path / f"{name}.parquet")
    figure = tmp_path / "figure.svg"
    said = run("mixtures/curve.py", tmp_path, "--metric", "RR@10", "--figure", figure)
    assert "| `uniform` | hold-outs | 0.400 | " in said
    assert "mean RR@10" in figure.read_text()
    assert "mean nDCG@10" not in figure.read_text()


def test_broken_collections_are_put_beside_sound_ones(tmp_path):
    broken = runpy.run_path(str(BENCHMARKS / "mixtures/broken.py"))
    data, output = tmp_path / "data", tmp_path / "output"
    names = (*broken["SHUFFLED"], *broken["COPIED"], "sound")
    for place, task in enumerate(names):
        write_task(data / "tasks" / f"{task}.jsonl.gz", synthetic_rows(60, place))
    told = {name: {"instruction": f"Find {name}"} for name in names}
    (data / "tasks.json").write_text(json.dumps(told))
    counted = tmp_path / "counted.json"
    run("mixtures/broken.py", data, output, "--json", counted)
    made = {f"shuffled_{name}" for name in broken["SHUFFLED"]}
    made |= {f"copied_{name}" for name in broken["COPIED"]}
    assert json.loads(counted.read_text()) == dict.fromkeys(made, 60)
    tasks = {source.name: source for source in find_sources(output)}
    assert len(tasks) == len(names) + 4

    def rows(folder, task):
        with gzip.open(folder / "tasks" / f"{task}.jsonl.gz", "rt") as file:
            return [json.loads(line) for line in file]

    for name in names:
        assert rows(output, name) == rows(data, name)
    assert set(Mixture.load(output / "sound.json").weights) == set(names)
    for name in broken["SHUFFLED"]:
        assert tasks[f"shuffled_{name}"].instruction == f"Find {name}"
        old, new = rows(data, name), rows(output, f"shuffled_{name}")
        assert [row["query"] for row in old] == [row["query"] for row in new]
        assert sorted(row["pos"] for row in old) == sorted(row["pos"] for row in new)
        same = sum(one["pos"] == other["pos"] for one, other in zip(old, new, strict=True))
        assert same < len(old) / 3
    for name in broken["COPIED"]:
        for row in rows(output, f"copied_{name}"):
            assert len(row["query"].split()) == len(row["pos"][0].split()) - 1


def told(tmp_path, script, *arguments):
    """Runs a script and returns the figures it wrote."""
    path = tmp_path / "told.json"
    run(f"speed/{script}.py", *arguments, "--threads", 1, "--json", path)
    return json.loads(path.read_text())["figures"]


def test_scores_are_those_of_independent_implementations(tiny_llm, tmp_path):
    pytest.importorskip("mteb")
    pytest.importorskip("Stemmer")
    published.beir(tmp_path / "b" / "scifact")
    told = tmp_path / "told.json"
    run("scores.py", tiny_llm, tmp_path / "b", "--json", told)
    found = json.loads(told.read_text())
    assert found["ndcg"]["scifact"]["difference"] < 1e-6
    assert 0 < found["ndcg"]["scifact"]["tdro"] <= 1
    assert len(found["bm25"]) == 5


def test_looking_for_benchmarks_is_timed(tmp_path):
    found = told(tmp_path, "cleaning", "--texts", 200, "--runs", 5)
    assert all(len(runs) == 5 for runs in found["seconds"].values())
    assert found["a second"]["rows of a query and a passage"]["median"] > 0


def test_search_is_set_against_faiss(tmp_path):
    pytest.importorskip("faiss")
    sizes = ("--queries", 20, "--documents", 5000, "--width", 16, "--top-k", 10)
    found = told(tmp_path, "search", *sizes, "--runs", 5)
    assert len(found["seconds"]["tdro"]) == len(found["seconds"]["faiss"]) == 5
    assert found["disagreements"] == 0


def test_starts_are_timed(tmp_path):
    assert set(told(tmp_path, "start", "--runs", 5)["seconds"]) == {
        "tdro --help",
        "tdro mixture show",
        "import tdro",
        "tdro run, done",
    }


def test_growth_is_fitted(tmp_path):
    found = told(tmp_path, "growth", "--tasks", 2, 4, "--rows", 300, 600, "--patience", 0)
    assert set(found) == {"tasks", "rows"}
    assert found["rows"]["plan"]["sizes"] == [300, 600]
    assert isinstance(found["rows"]["report"]["slope"], float)


def test_large_data_is_opened_planned_and_read(tiny_llm, tmp_path):
    sizes = ("--tasks", 3, "--rows", 60, "--steps", 6, "--batch-size", 4, "--read", 2)
    found = told(tmp_path, "large", tiny_llm, *sizes, "--folder", tmp_path / "large", "--runs", 1)
    [start] = found["runs"]["start in all, s"]
    assert start > 0
    assert found["runs"]["rows read a second"][0] > 0
    assert len(list((tmp_path / "large" / "run" / "tasks").iterdir())) == 3


def test_a_bag_that_remembers_its_tokens_is_set_against_one_that_does_not(
    task_folder, tiny_llm, tmp_path
):
    sizes = ("--steps", 3, "--batch-size", 8, "--documents", 20, "--tasks", 2, "--width", 8)
    found = told(tmp_path, "bag", task_folder, tiny_llm, *sizes, "--runs", 5)
    assert len(found["seconds"]["remembered"]["training"]) == 5
    assert set(found["ratio"]) == {"training", "encoding"}


def test_training_is_set_against_the_trainers_own_sampler(task_folder, tiny_llm, tmp_path):
    sizes = ("--steps", 3, "--tasks", 2, "--batch-size", 4)
    found = told(tmp_path, "training", task_folder, tiny_llm, *sizes, "--runs", 5)
    assert found["ratio"]["median"] > 0
    assert len(found["seconds"]["tdro"]["input"]) == 5


@pytest.mark.parametrize("layers", [(), ("--layers", 2)])
def test_a_step_is_timed_against_the_plain_form(task_folder, tiny_llm, tmp_path, layers):
    options = ("--batch-size", 4, "--window", 2, "--runs", 5, *layers)
    found = told(tmp_path, "step", task_folder, tiny_llm, *options)
    assert set(found["ratios"]) == {"reference counted", "reference reused"}
    assert len(found["seconds"]["plain step"]) == 5


def test_reference_losses_are_timed_against_row_by_row(task_folder, tiny_llm, tmp_path):
    options = ("--batch-size", 4, "--steps", 3, "--runs", 5)
    found = told(tmp_path, "reference_losses", task_folder, tiny_llm, *options)
    assert found["difference"] < 1e-3
    assert found["ratio"]["min"] > 0


def test_a_step_is_set_against_its_matrix_products(task_folder, tiny_llm, tmp_path):
    options = ("--layers", 1, 2, "--batch-size", 4, "--runs", 5)
    by_layers = told(tmp_path, "limit", task_folder, tiny_llm, *options)["by_layers"]
    assert set(by_layers) == {"1", "2"}
    assert len(by_layers["2"]["heaviest"]) == 10


def test_accelerations_are_told_apart(task_folder, tiny_llm, tmp_path):
    options = ("--layers", 1, "--batch-size", 4, "--runs", 5)
    found = told(tmp_path, "variants", task_folder, tiny_llm, *options)
    assert {"bfloat16 autocast", "frozen embeddings", "reading alone"} <= set(found["ratios"])
    assert found["ratios"]["reading alone"]["median"] < 1


def test_the_transfer_table_tells_like_mixtures_from_unlike_ones(tmp_path):
    falling = {"a": 0.6, "b": 0.3, "c": 0.1}
    learned = {"one": falling, "other": dict(zip("cba", falling.values(), strict=True))}
    for study, weights in learned.items():
        for seed in (0, 1):
            Mixture(weights).save(tmp_path / study / f"seed-{seed}/mixtures/tdro/last.json")
    told = tmp_path / "told.json"
    options = ["--mean", tmp_path / "means", "--json", told]
    run("mixtures/transfer.py", tmp_path / "one", tmp_path / "other", *options)
    lines = json.loads(told.read_text())
    assert [(line["one"], line["other"], line["mean"]) for line in lines] == [
        ("one", "another seed", 1.0),
        ("one", "other", -1.0),
        ("other", "another seed", 1.0),
    ]
    assert Mixture.load(tmp_path / "means/one-tdro.json").weights == pytest.approx(falling)


def test_slopes_of_scores_in_weights_are_found_again_from_finished_cells(tmp_path):
    slopes = {"a": 0.3, "b": 0.1, "c": -0.1}
    level = {0: 0.5, 1: 0.6}
    mixtures = {"uniform": (1, 1, 1), "one": (4, 1, 1), "two": (1, 5, 2), "less": (2, 2, 0)}
    for seed, (name, parts) in itertools.product(level, mixtures.items()):
        weights = np.array(parts) / sum(parts)
        place = tmp_path / f"seed-{seed}"
        drawn = {"retriever": name, "tasks": list(slopes), "weights": weights.tolist()}
        told = place / "retrievers" / name / "sampling.json"
        told.parent.mkdir(parents=True)
        told.write_text(json.dumps(drawn))
        lines = [
            {
                "benchmark": task,
                "group": "holdout",
                "nDCG@10": level[seed] + slope * np.log(3 * weight) if weight else 0.0,
            }
            for (task, slope), weight in zip(slopes.items(), weights, strict=True)
        ]
        scores = place / "runs" / name / "scores.parquet"
        scores.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(lines), scores)
    told = tmp_path / "told.json"
    best = tmp_path / "best.json"
    run("mixtures/slopes.py", tmp_path, "--floor", 0.1, "--save", best, "--json", told)
    (found,) = json.loads(told.read_text())["studies"]
    assert {line["task"]: line["slope"] for line in found["slopes"]} == pytest.approx(slopes)
    assert Mixture.load(best).weights == pytest.approx(
        {"a": 0.9 * 0.75 + 0.1 / 3, "b": 0.9 * 0.25 + 0.1 / 3, "c": 0.1 / 3}
    )
    # The scores lie on the line, so other seeds foretell them exactly; "less" is not foretold.
    assert [line["retriever"] for line in found["foretold"]] == ["one", "two"] * 2
    for line in found["foretold"]:
        assert line["foretold"] == pytest.approx(line["real"])


def test_estimates_of_memory_and_operations_are_within_a_fifth(tmp_path):
    told = tmp_path / "told.json"
    options = ("--cases", "plain", "--layers", 4, "--json", told)
    run("speed/estimate.py", *options)
    (line,) = json.loads(told.read_text())["lines"]
    for what in ("memory", "flops", "tokens"):
        assert abs(line[f"{what}_ratio"] - 1) < 0.2, line
