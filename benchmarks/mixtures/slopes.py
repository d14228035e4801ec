"""What could any mixture gain, by the retrievers that a comparison has trained already?

Fits the score of each task's hold-out, in all seeds and mixtures of a comparison, to the logarithm
of its weight: one slope a task, a level for each seed. Where scores grow so, the best mixture is in
proportion to the slopes; a floor keeps it where the fit tells something. Each seed's differences to
uniform are also foretold by the slopes of the other seeds, so that one sees whether the fit tells
anything, and weights are set beside slopes. `response.py` asks the same of random mixtures that it
trains for it.

Usage: python benchmarks/mixtures/slopes.py FOLDER... [--save MIXTURE] [--json FILE], FOLDER what
`tdro compare` writes into; finished cells are enough. Of several the slopes are set side by side.
"""

import argparse
import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.stats import spearmanr

from tdro.evaluation.scores import BASELINE
from tdro.learning.curve import curve_weights
from tdro.learning.regression import Slopes, slopes_of
from tdro.mixture import Mixture

Floats = NDArray[np.float64]


class Cell(NamedTuple):
    """A retriever's weights and hold-out scores, in the order of the tasks, shape (K,)."""

    seed: int
    retriever: str
    weights: Floats
    scores: Floats


def gain_of(slopes: Slopes, weights: Floats) -> float:
    """Returns the mean gain over uniform that is foretold for a mixture of all tasks."""
    return float((slopes.slope * np.log(weights * len(weights))).mean())


def cells_of(folder: Path, metric: str) -> tuple[list[str], list[Cell]]:
    """Reads the names of the tasks and every finished cell whose training had all of its steps."""
    cells, tasks = [], []
    for path in sorted(folder.glob("seed-*/runs/*/scores.parquet")):
        place = path.parents[2]
        sampling = place / "retrievers" / path.parent.name / "sampling.json"
        if not sampling.is_file():
            continue
        drawn = json.loads(sampling.read_text())
        if "@" in drawn["retriever"]:
            continue
        tasks = tasks or drawn["tasks"]
        weights = dict(zip(drawn["tasks"], drawn["weights"], strict=True))
        table = pq.read_table(path, filters=[("group", "=", "holdout")])
        means = table.group_by("benchmark").aggregate([(metric, "mean")]).to_pylist()
        scores = {line["benchmark"]: line[f"{metric}_mean"] for line in means}
        found = [np.array([one.get(task, 0.0) for task in tasks]) for one in (weights, scores)]
        cells.append(Cell(int(place.name.removeprefix("seed-")), drawn["retriever"], *found))
    if len(cells) < 4:
        raise SystemExit(f"{folder} holds {len(cells)} finished cells; slopes need four or more.")
    return tasks, cells


def fitted(cells: Iterable[Cell]) -> Slopes:
    """Fits slopes, with a level for each seed."""
    seeds, _, weights, scores = map(np.array, zip(*cells, strict=True))
    return slopes_of(weights, scores, seeds)


def foretold(cells: list[Cell]) -> list[dict]:
    """Foretells each seed's differences to uniform by the slopes of the other seeds."""
    lines = []
    for seed in sorted({cell.seed for cell in cells}):
        others = [cell for cell in cells if cell.seed != seed]
        mine = {cell.retriever: cell for cell in cells if cell.seed == seed}
        if not others or BASELINE not in mine:
            continue
        slopes, base = fitted(others), mine.pop(BASELINE)
        lines += [
            {
                "seed": seed,
                "retriever": name,
                "foretold": gain_of(slopes, cell.weights),
                "real": float((cell.scores - base.scores).mean()),
            }
            for name, cell in mine.items()
            if (cell.weights > 0).all()
        ]
    return lines


def alignments(cells: list[Cell], slopes: Slopes) -> dict[str, list[float]]:
    """Returns the rank correlation of weights and slopes, a number a seed, by retriever."""
    found: dict[str, list[float]] = {}
    for cell in cells:
        if len(set(cell.weights)) > 1:
            value = float(spearmanr(cell.weights, slopes.slope)[0])
            found.setdefault(cell.retriever, []).append(value)
    return found


def told(tasks: list[str], slopes: Slopes, best: Floats) -> list[dict]:
    """Returns a line a task, and prints them."""
    lines = [
        {
            "task": task,
            "slope": float(slopes.slope[at]),
            "error": float(slopes.error[at]),
            "times_uniform": float(best[at] * len(tasks)),
        }
        for at, task in enumerate(tasks)
    ]
    print("| task | slope | its error | times uniform |\n| --- | ---: | ---: | ---: |")
    for line in sorted(lines, key=lambda one: -one["slope"]):
        slope, error, times = (line[name] for name in ("slope", "error", "times_uniform"))
        print(f"| `{line['task']}` | {slope:+.3f} | {error:.3f} | {times:.2f} |")
    return lines


def figures_of(folder: Path, metric: str, floor: float) -> dict:
    """Returns the figures of one comparison, and prints them."""
    tasks, cells = cells_of(folder, metric)
    slopes = fitted(cells)
    best = curve_weights(slopes.shrunk, floor)
    print(f"\n{folder.name}: {len(cells)} retrievers\n")
    figures = {
        "folder": folder.name,
        "cells": len(cells),
        "slopes": told(tasks, slopes, best),
        "gain": gain_of(slopes, best),
        "foretold": foretold(cells),
        "alignments": alignments(cells, slopes),
    }
    print("\n| mixture | rank correlation of weights and slopes |\n| --- | ---: |")
    for name, values in figures["alignments"].items():
        print(f"| `{name}` | {', '.join(f'{value:+.2f}' for value in values)} |")
    print(f"\nBest by the slopes: {figures['gain']:+.3f} foretold.")
    pairs = [(line["foretold"], line["real"]) for line in figures["foretold"]]
    if len(pairs) > 2:
        figures["rank_correlation"] = float(spearmanr(pairs)[0])
        print(
            f"Differences foretold by the other seeds: rank correlation "
            f"{figures['rank_correlation']:+.2f} with the real ones over {len(pairs)} retrievers."
        )
    return figures


def main() -> None:
    """Fits, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--metric", default="nDCG@10")
    parser.add_argument("--floor", type=float, default=0.2, help="least weight, in uniform shares")
    parser.add_argument("--save", type=Path, metavar="MIXTURE", help="write the first's best here")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args()
    found = [figures_of(folder, options.metric, options.floor) for folder in options.folders]
    slopes = [{line["task"]: line["slope"] for line in one["slopes"]} for one in found]
    alike = []
    for one, other in itertools.combinations(range(len(found)), 2):
        pairs = [(slopes[one][task], slopes[other][task]) for task in slopes[one]]
        value = float(spearmanr(pairs)[0])
        alike.append({"one": found[one]["folder"], "other": found[other]["folder"], "rank": value})
        print(
            f"Slopes of {alike[-1]['one']} and {alike[-1]['other']}: rank correlation {value:+.2f}"
        )
    if options.save:
        details = {"method": "slopes", "retrievers": found[0]["cells"]}
        shares = {line["task"]: line["times_uniform"] for line in found[0]["slopes"]}
        weights = {task: share / len(shares) for task, share in shares.items()}
        Mixture(weights, details=details).save(options.save)
    if options.json:
        options.json.write_text(json.dumps({"studies": found, "alike": alike}, indent=1) + "\n")


if __name__ == "__main__":
    main()
