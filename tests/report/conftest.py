import json
import math
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "\"quoted\" & 'single' <b>bold</b>",
    "%{x} {{ 7 * 7 }} $\\alpha$",
    "2020-01-01",
    "a-collection-with-a-very-long-name-that-nobody-would-choose-for-a-figure-but-somebody-has",
)
PLAIN = ("msmarco", "natural-questions", "hotpotqa", "squad", "medical questions", "miracl")
BY_TASK = "reference_losses/by_task.parquet"
RETRIEVERS = ("uniform", "learned", "top-0.7 <img src=x onerror=alert(2)>")


def softmax(values):
    whole = sum(math.exp(value) for value in values)
    return [math.exp(value) / whole for value in values]


def make_run(directory, tasks=HOSTILE + PLAIN, retrievers=RETRIEVERS, steps=60):
    """Writes a synthetic run directory with every file a report reads."""
    draw = random.Random(3)
    (directory / "mixture").mkdir(parents=True)
    pull = [draw.gauss(0, 1) for _ in tasks]
    write_mixtures(directory, draw, tasks, pull)
    write_trajectory(directory / "mixture/trajectory.parquet", draw, tasks, pull, steps)
    write_by_task(directory / BY_TASK, tasks)
    weights = {
        retriever: [1 / len(tasks)] * len(tasks) if place == 0 else softmax(pull)
        for place, retriever in enumerate(retrievers)
    }
    for place, (retriever, values) in enumerate(weights.items()):
        folder = directory / "retrievers" / f"r{place}"
        folder.mkdir(parents=True)
        sampling = {
            "retriever": retriever,
            "tasks": list(tasks),
            "weights": values,
            "batches": [round(1000 * value) for value in values],
        }
        (folder / "sampling.json").write_text(json.dumps(sampling))
        facts = {"rows": 64000, "steps": 1000, "device_name": "NVIDIA H100", "loss": math.nan}
        write_manifest(folder, f"retriever {retriever}", 3905.2 + place, place, facts)
    write_manifest(directory / "mixture", "mixture", 754.3, 0, {"rows": 122880, "steps": steps})
    write_manifest(directory / "reference", "reference", 12.25, 0, {"device_<b>": "<i>cpu</i>"})
    write_scores(directory / "scores.parquet", draw, retrievers)
    recipe = "tasks:\n" + "".join(f"- name: {json.dumps(task)}\n" for task in tasks)
    (directory / "recipe.yaml").write_text(recipe)
    return directory


def write_mixtures(directory, draw, tasks, pull):
    sizes = {task: draw.randint(3, 900) * 1000 for task in tasks}
    for name, strength in (("last", 1.0), ("mean", 0.6), ("ema", 0.9)):
        mixture = {
            "domain_ids": {task: place for place, task in enumerate(tasks)},
            "domain_weights": dict(
                zip(tasks, softmax([strength * value for value in pull]), strict=True)
            ),
            "size": sizes,
            "epoch": dict.fromkeys(tasks, 0.5),
            "seed": 1,
            "kind": name,
            "kept": name == "last",
        }
        (directory / f"mixture/{name}.json").write_text(json.dumps(mixture))


def keep(directory, kept):
    """Makes another mixture the one that the method keeps."""
    for path in directory.glob("mixture/*.json"):
        mixture = json.loads(path.read_text())
        if "kept" in mixture:
            path.write_text(json.dumps({**mixture, "kept": path.stem == kept}))


def write_trajectory(path, draw, tasks, pull, steps):
    lines = []
    for step in range(steps):
        weights = softmax([value * step / max(steps - 1, 1) for value in pull])
        for place, task in enumerate(tasks):
            absent = draw.random() < 0.3
            level = 1 + place / len(tasks)
            lines.append(
                {
                    "step": step,
                    "task": task,
                    "weight": weights[place],
                    "weight_mean": weights[place],
                    "weight_ema": weights[place],
                    "proxy_loss": None if absent else 3 * level - 2 * step / steps + draw.random(),
                    "reference_loss": None if absent else level + 0.2 * draw.random(),
                    "signal": 0.0 if absent else draw.random(),
                    "norm": 3.0,
                    "largest": 0.0 if absent else draw.random() / 5,
                    "under_cut": None if absent else 0.1,
                    "zero_loss": None if absent else 0.2,
                }
            )
    names = [name for name in lines[0] if name not in ("step", "task")]
    schema = pa.schema(
        [("step", pa.int32()), ("task", pa.string()), *((name, pa.float64()) for name in names)]
    )
    pq.write_table(pa.Table.from_pylist(lines, schema=schema), path)


def write_by_task(path, tasks):
    """The first task is memorised and no row of the last one was trained on."""
    lines = [
        {
            "task": task,
            "trained_on_rows": 1200 if place < len(tasks) - 1 else 0,
            "trained_on_loss": (1.25 if place else 0.125) if place < len(tasks) - 1 else None,
            "unseen_rows": 32,
            "unseen_loss": 1.5 + place / 100,
        }
        for place, task in enumerate(tasks)
    ]
    path.parent.mkdir()
    pq.write_table(pa.Table.from_pylist(lines), path)


def write_scores(path, draw, retrievers):
    gains = dict(zip(retrievers, (0.0, 0.031, 0.004), strict=False))
    benchmarks = {"holdout": ["squad", HOSTILE[1]], "external": ["scifact", "cranfield", "xquadr"]}
    lines = [
        {
            "retriever": retriever,
            "benchmark": benchmark,
            "group": group,
            "query": f"q{query}",
            "nDCG@10": 0.4 + gain * (1 if group == "holdout" else -0.5) + 0.1 * draw.random() / 50,
            "R@100": 0.7 + gain / 2,
        }
        for group, names in benchmarks.items()
        for benchmark in names
        for retriever, gain in gains.items()
        for query in range(5)
    ]
    pq.write_table(pa.Table.from_pylist(lines), path)


def write_manifest(folder, stage, seconds, place, facts):
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {
        "stage": stage,
        "seconds": seconds,
        "finished": f"2026-05-0{place + 1}T10:0{place}:00+00:00",
        "facts": facts,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def run_directory(tmp_path):
    return make_run(tmp_path / "run <b>1")


def make_comparison(directory, retrievers, benchmarks, *, seeds=3, budgets=(1.0, 0.5)):
    """Writes the files of a comparison; the second retriever is better by 0.2 everywhere."""
    draw = random.Random(5)
    scores, costs = [], []
    for seed in range(seeds):
        for budget in budgets:
            for place, name in enumerate(retrievers):
                label = name if budget == 1 else f"{name}@{budget}"
                cost = {"retriever": label, "base_label": name, "budget": budget, "seed": seed}
                cost |= {"collections": 12, "distinct_rows": round(900 * budget)}
                for part in ("training", "learning"):
                    cost |= {f"{part}_rows": 1000 * budget, f"{part}_tokens": 64_000 * budget}
                    cost |= {f"{part}_flops": 6.4e9 * budget, f"{part}_seconds": 12.5}
                costs.append(cost)
                for number, benchmark in enumerate(benchmarks):
                    group = ("holdout", "unseen", "external")[number % 3]
                    for query in range(30):
                        value = draw.gauss(0.4, 0.05) + 0.2 * (place == 1) - 0.1 * (budget < 1)
                        keys = {"retriever": label, "benchmark": benchmark, "group": group}
                        keys |= {"query": f"q{query}", "nDCG@10": value, "R@100": 0.5}
                        scores.append({**keys, "seed": seed})
    directory.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(scores), directory / "scores.parquet")
    pq.write_table(pa.Table.from_pylist(costs), directory / "costs.parquet")
    (directory / "recipe.yaml").write_text("compare: {seeds: 3}\n")
    return directory
