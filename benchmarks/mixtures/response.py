"""What could any mixture gain? The score's slope in the weight of each task, and the best by it.

Trains retrievers with random mixtures around the uniform one, in pairs z and -z of log-weights,
and fits the score of each task's hold-out to the logarithm of its own weight. Where scores grow
with the logarithm of the rows, the best mixture is in proportion to these slopes. It has seen the
hold-outs, so it is no method but tells about how much there is to win; it is trained with other
seeds and compared with the uniform mixture. Usage: python benchmarks/mixtures/response.py RECIPE
[--work FOLDER] [--json FILE], RECIPE one that `tdro compare` takes.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from tdro.evaluation.scores import BASELINE
from tdro.learning.curve import curve_weights
from tdro.mixture import Mixture
from tdro.recipe import Recipe
from tdro.recipe_file import load_recipe
from tdro.run.compare import compare


def random_mixtures(tasks: list[str], count: int, spread: float, folder: Path) -> dict[str, Path]:
    """Writes mixtures with normal log-weights; every second one mirrors the one before."""
    generator = np.random.default_rng(0)
    drawn = generator.normal(size=(-(-count // 2), len(tasks))) * spread
    written = {}
    for number in range(count):
        logits = drawn[number // 2] * (-1) ** number
        weights = np.exp(logits) / np.exp(logits).sum()
        path = folder / f"random-{number:02d}.json"
        Mixture(dict(zip(tasks, weights.tolist(), strict=True))).save(path)
        written[path.stem] = path
    return written


def compared(recipe: Recipe, seed: int, seeds: int, mixtures: list[Path], output: Path) -> Path:
    """Compares mixtures with the uniform one."""
    names = (BASELINE, *map(str, mixtures))
    asked = recipe.compare.model_copy(update={"mixtures": names, "seeds": seeds, "budgets": (1.0,)})
    compare(recipe.model_copy(update={"seed": seed, "compare": asked}), output, Console())
    return output


def mean_scores(output: Path, metric: str) -> dict[tuple[str, str, str], float]:
    """Returns the mean score by retriever, group and benchmark."""
    table = pq.read_table(output / "scores.parquet")
    keys = ["retriever", "group", "benchmark"]
    means = table.group_by(keys).aggregate([(metric, "mean")]).to_pylist()
    return {tuple(line[key] for key in keys): line[f"{metric}_mean"] for line in means}


def slopes_of(scores: dict, mixtures: dict[str, Path], tasks: list[str]) -> list[dict]:
    """Fits each hold-out's score to the logarithm of its task's weight."""
    weights = {name: Mixture.load(path).weights for name, path in mixtures.items()}
    weights[BASELINE] = dict.fromkeys(tasks, 1 / len(tasks))
    lines = []
    for task in tasks:
        logs = np.log([one[task] * len(tasks) for one in weights.values()])
        values = np.array([scores[name, "holdout", task] for name in weights])
        design = np.c_[np.ones_like(logs), logs]
        fit, (left,), *_ = np.linalg.lstsq(design, values)
        error = (left / (len(values) - 2) / ((logs - logs.mean()) ** 2).sum()) ** 0.5
        told = 1 - left / ((values - values.mean()) ** 2).sum()
        lines.append(
            {
                "task": task,
                "uniform": float(scores[BASELINE, "holdout", task]),
                "slope": float(fit[1]),
                "error": float(error),
                "explained": float(told),
            }
        )
    return lines


def main() -> None:
    """Trains, fits, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/response"))
    parser.add_argument("--mixtures", type=int, default=24)
    parser.add_argument("--spread", type=float, default=0.6, help="sd of the log-weights")
    parser.add_argument("--seeds", type=int, default=3, help="of the confirming runs")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    recipe = load_recipe(arguments.recipe, arguments.set)
    tasks = [one.name for one in recipe.task_sources() if one.name not in recipe.exclude_tasks]
    metric = recipe.metrics[0]
    folder = arguments.work / "mixtures"
    mixtures = random_mixtures(tasks, arguments.mixtures, arguments.spread, folder)
    output = compared(recipe, recipe.seed, 1, list(mixtures.values()), arguments.work / "random")
    scores = mean_scores(output, metric)
    lines = slopes_of(scores, mixtures, tasks)
    slopes = np.array([line["slope"] for line in lines])
    best = curve_weights(slopes, floor=0.0)
    positive = best > 0
    gain = float((slopes[positive] * np.log(best[positive] * len(tasks))).sum() / len(tasks))
    for line, weight in zip(lines, best.tolist(), strict=True):
        line["times_uniform"] = weight * len(tasks)
    groups = {
        name: np.mean([scores[name, "holdout", task] for task in tasks])
        for name in (BASELINE, *mixtures)
    }
    differences = sorted(float(groups[name] - groups[BASELINE]) for name in mixtures)
    table = Table(title=f"{metric} of a hold-out against the logarithm of its task's weight")
    for name in lines[0]:
        table.add_column(name, justify="left" if name == "task" else "right")
    for line in lines:
        table.add_row(*(one if isinstance(one, str) else f"{one:.3f}" for one in line.values()))
    Console(width=110).print(table)
    middle = float(np.median(differences))
    print(
        f"{len(mixtures)} random mixtures, difference to uniform: {differences[0]:+.3f} to "
        f"{differences[-1]:+.3f}, median {middle:+.3f}; {sum(d > 0 for d in differences)} above.\n"
        f"Best by the slopes: {gain:+.3f} predicted."
    )
    path = folder / "best-by-slope.json"
    Mixture(dict(zip(tasks, best.tolist(), strict=True))).save(path)
    confirmed = compared(
        recipe, recipe.seed + 1, arguments.seeds, [path], arguments.work / "confirmed"
    )
    if arguments.json:
        told = {"slopes": lines, "differences": differences, "predicted": gain}
        told["confirmed"] = (confirmed / "comparison.csv").read_text().splitlines()
        arguments.json.write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
