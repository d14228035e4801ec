"""Controls: what each method does with tasks whose right weight is known beforehand.

Builds task sets out of real tasks and learns a mixture on each with every method:

- base: six tasks, for comparison;
- shuffled: and a copy of one whose positives are dealt at random, so nothing can be learned there;
- duplicates: and a task whose queries are their passages less one word, solved at once;
- beginnings: and a task whose queries are the first halves of their passages, easy to learn;
- halves: one of the six split in two at random;
- tiny: and a task of 50 rows that the reference memorises;
- tiny-folds: the same, each row scored by a reference that has not seen it.

Per set and seed one reference is trained and one plan scored; each method then trains a proxy of
its own. Usage: python benchmarks/controls.py DATA MODEL [--json FILE], where DATA is a folder with
tasks.json and tasks/*.jsonl.gz and MODEL a pretrained model (`make demo` fetches one).
"""

import argparse
import gzip
import json
import random
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import yaml
from rich.console import Console
from rich.table import Table

from tdro.learning.diagnosis import diagnose
from tdro.mixture import Mixture
from tdro.recipe_file import load_recipe
from tdro.run.execute import execute

BASE = (
    "debian_title_body",
    "gh_medquad",
    "gh_tldr_command",
    "icd10_synonym",
    "wordnet_gloss",
    "debian_short_de_en",
)
IN_A_LOOP = ("tdro-pooled", "tdro", "tdro-paper", "tdro-released", "group-dro", "doremi")
METHODS = (*IN_A_LOOP, "learning-curve")
TINY_ROWS = 50
Rows = list[dict]
Tasks = dict[str, Rows]


def read(data: Path, task: str, most: int) -> Rows:
    """Reads the first rows of a task."""
    with gzip.open(data / "tasks" / f"{task}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line, _ in zip(file, range(most), strict=False)]


def base(data: Path, most: int) -> Tasks:
    """Returns the six tasks."""
    return {task: read(data, task, most) for task in BASE}


def shuffled(data: Path, most: int) -> Tasks:
    """Adds a copy of a task whose positives belong to other queries."""
    rows = read(data, "gh_tldr_command", most)
    positives = [row["pos"] for row in rows]
    random.Random(0).shuffle(positives)
    wrong = [
        {"query": f"{row['query']} ", "pos": pos, "neg": []}
        for row, pos in zip(rows, positives, strict=True)
    ]
    return {**base(data, most), "CONTROL": wrong}


def duplicates(data: Path, most: int) -> Tasks:
    """Adds a task whose query is its passage without one word."""
    rows = []
    for row in read(data, "foldoc_term", most):
        words = row["pos"][0].split()
        del words[len(words) // 2]
        rows.append({"query": " ".join(words), "pos": row["pos"][:1]})
    return {**base(data, most), "CONTROL": rows}


def beginnings(data: Path, most: int) -> Tasks:
    """Adds a task whose query is the first half of its passage."""
    rows = []
    for row in read(data, "foldoc_term", most):
        words = row["pos"][0].split()
        rows.append({"query": " ".join(words[: max(4, len(words) // 2)]), "pos": row["pos"][:1]})
    return {**base(data, most), "CONTROL": rows}


def halves(data: Path, most: int) -> Tasks:
    """Splits a task of the six in two."""
    tasks = base(data, most)
    rows = tasks.pop("wordnet_gloss")
    random.Random(0).shuffle(rows)
    middle = len(rows) // 2
    return {**tasks, "CONTROL": rows[:middle], "CONTROL 2": rows[middle:]}


def tiny(data: Path, most: int) -> Tasks:
    """Adds a task of few rows that cannot be guessed, only memorised."""
    return {**base(data, most), "CONTROL": read(data, "vera_acronym", TINY_ROWS)}


SETS: dict[str, tuple[Callable[[Path, int], Tasks], int]] = {
    "base": (base, 1),
    "shuffled": (shuffled, 1),
    "duplicates": (duplicates, 1),
    "beginnings": (beginnings, 1),
    "halves": (halves, 1),
    "tiny": (tiny, 1),
    "tiny-folds": (tiny, 2),
}


def write_tasks(tasks: Tasks, folder: Path) -> None:
    """Writes a set as a folder of task files."""
    (folder / "tasks").mkdir(parents=True, exist_ok=True)
    (folder / "tasks.json").write_text(json.dumps({task: {} for task in tasks}))
    for task, rows in tasks.items():
        with gzip.open(folder / "tasks" / f"{task}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps({"neg": [], **row}) + "\n" for row in rows)


def recipe_of(arguments: argparse.Namespace, folder: Path, folds: int) -> Path:
    """Writes the recipe of a set."""
    model = {"name_or_path": str(arguments.model.resolve()), "max_query_length": 48}
    small = {"kind": "static", "dimensions": 128} if arguments.layers == 0 else {}
    rate = 0.02 if arguments.layers == 0 else 1e-3
    recipe = {
        "tasks": {"folder": "."},
        "holdout": 100,
        "model": {**model, **small, "max_passage_length": 64},
        "proxy": {} if arguments.layers == 0 else {"layers": arguments.layers},
        "reference": {"steps": arguments.steps, "batch_size": 32, "learning_rate": rate},
        "learning": {"steps": arguments.steps, "batch_size": 32, "negatives": 7},
        "retrievers": [],
    }
    recipe["reference"]["folds"] = folds
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def learn(arguments: argparse.Namespace) -> list[dict]:
    """Learns every mixture; returns one line a set, seed, method and task.

    Each finished set and seed is kept in the work folder, so that a killed call goes on there.
    """
    lines = []
    with (arguments.work / "log.txt").open("a") as log:
        console = Console(file=log, width=160)
        for name in arguments.sets:
            for seed in range(arguments.seeds):
                # Named by the methods too: fewer of them are another cell.
                methods = "" if arguments.methods == list(METHODS) else "+".join(arguments.methods)
                cell = arguments.work / f"{name}-{seed}{methods}.json"
                if not cell.is_file():
                    cell.write_text(json.dumps(learn_cell(arguments, name, seed, console)))
                lines += json.loads(cell.read_text())
                print(f"{name} seed {seed} done", flush=True)
    return lines


def learn_cell(arguments: argparse.Namespace, name: str, seed: int, console: Console) -> list[dict]:
    """Learns a mixture on one set with one seed by every method."""
    build, folds = SETS[name]
    data = arguments.work / name
    write_tasks(build(arguments.data, arguments.rows), data)
    recipe = recipe_of(arguments, data, folds)
    output = arguments.work / f"{name}-{seed}"
    lines = []
    for method in arguments.methods:
        key = {"set": name, "seed": seed, "method": method}
        # A method without a loop reads none of the recipe's settings of learning.
        asked = f"learning.method={method}"
        if method not in IN_A_LOOP:
            asked = f"learning={{method: {method}}}"
        execute(load_recipe(recipe, [f"seed={seed}", asked]), output, console)
        lines += lines_of(output, key) if method in IN_A_LOOP else weights_of(output, key)
    shutil.rmtree(output)
    return lines


def lines_of(output: Path, key: dict) -> list[dict]:
    """Reads what one method learned."""
    kept = next(
        mixture
        for kind in ("last", "mean")
        if (mixture := Mixture.load(output / "mixture" / f"{kind}.json")).details["kept"]
    )
    diagnosis = diagnose(pq.read_table(output / "mixture" / "trajectory.parquet"))
    references = pq.read_table(output / "reference_losses" / "by_task.parquet").to_pylist()
    by_task = {line.pop("task"): line for line in references}
    return [
        {
            **key,
            "task": line.task,
            "weight": kept.weights[line.task],
            "times_uniform": kept.weights[line.task] * len(kept.weights),
            "proxy_loss": line.proxy_loss,
            "reference_loss": line.reference_loss,
            "under_cut": line.under_cut,
            "largest_push": line.largest_push,
            "norm": diagnosis.norm,
            **by_task[line.task],
        }
        for line in diagnosis.tasks
    ]


def weights_of(output: Path, key: dict) -> list[dict]:
    """Reads what a method without a loop left."""
    weights = Mixture.load(output / "mixture" / "last.json").weights
    return [
        {**key, "task": task, "weight": weight, "times_uniform": weight * len(weights)}
        for task, weight in weights.items()
    ]


def show(lines: list[dict]) -> None:
    """Prints the control task's weight in units of the uniform weight, seed by seed."""
    table = Table(title="weight of the control, times uniform: mean (each seed)")
    table.add_column("set")
    for method in METHODS:
        table.add_column(method, justify="right")
    shown = [(name, ["CONTROL"]) for name in SETS if name not in ("base", "halves")]
    shown += [("base", ["wordnet_gloss"]), ("halves", ["CONTROL", "CONTROL 2"])]
    for name, tasks in shown:
        cells = []
        for method in METHODS:
            mine = [
                line
                for line in lines
                if (line["set"], line["method"]) == (name, method) and line["task"] in tasks
            ]
            seeds = sorted({line["seed"] for line in mine})
            found = [
                statistics.mean(line["times_uniform"] for line in mine if line["seed"] == seed)
                for seed in seeds
            ]
            each = " ".join(f"{value:.2f}" for value in found)
            cells.append(f"{statistics.mean(found):.2f} ({each})" if found else "")
        table.add_row(f"{name}: {' + '.join(tasks)}", *cells)
    Console(width=150).print(table)


def main() -> None:
    """Learns, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/controls"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--layers", type=int, default=0, help="0: a bag of token embeddings")
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=METHODS)
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    lines = learn(arguments)
    show(lines)
    if arguments.json:
        arguments.json.write_text(json.dumps(lines, indent=1))


if __name__ == "__main__":
    main()
