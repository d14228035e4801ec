"""What could any mixture gain? The score's slope in the weight of each task, and the best by it.

Trains retrievers with random mixtures around the uniform one, in pairs z and -z of log-weights,
fits the score of each task's hold-out to the logarithm of its own weight (`slopes.py`), and trains
the mixture in proportion to the slopes with other seeds, beside the uniform one. It has seen
hold-outs, if not those, so it tells how much there is to win. Usage: python
benchmarks/mixtures/response.py RECIPE [--work FOLDER] [--json FILE], RECIPE one that `tdro compare`
takes.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from rich.console import Console
from scipy.stats import spearmanr
from slopes import Cell, Floats, cells_of, fitted, gain_of, told

from tdro.evaluation.scores import BASELINE
from tdro.learning.curve import curve_weights
from tdro.learning.regression import random_mixtures
from tdro.mixture import Mixture
from tdro.recipe import Recipe
from tdro.recipe_file import load_recipe
from tdro.run.compare import compare


def written(tasks: list[str], count: int, spread: float, folder: Path) -> list[Path]:
    """Writes random mixtures around the uniform one."""
    paths = []
    for number, weights in enumerate(random_mixtures(len(tasks), count, spread, seed=0)):
        path = folder / f"random-{number:02d}.json"
        Mixture(dict(zip(tasks, weights.tolist(), strict=True))).save(path)
        paths.append(path)
    return paths


def compared(recipe: Recipe, seed: int, seeds: int, mixtures: list[Path], output: Path) -> Path:
    """Compares mixtures with the uniform one."""
    names = (BASELINE, *map(str, mixtures))
    asked = recipe.compare.model_copy(update={"mixtures": names, "seeds": seeds, "budgets": (1.0,)})
    compare(recipe.model_copy(update={"seed": seed, "compare": asked}), output, Console())
    return output


def foretold(cells: list[Cell], base: Floats) -> list[dict]:
    """Foretells the differences to uniform of each opposite pair by the slopes of the others."""
    ordered = sorted(cells, key=lambda cell: cell.retriever)
    return [
        {
            "retriever": cell.retriever,
            "foretold": gain_of(fitted(ordered[:pair] + ordered[pair + 2 :]), cell.weights),
            "real": float((cell.scores - base).mean()),
        }
        for pair in range(0, len(ordered), 2)
        for cell in ordered[pair : pair + 2]
    ]


def main() -> None:
    """Trains, fits, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/response"))
    parser.add_argument("--mixtures", type=int, default=24)
    parser.add_argument("--spread", type=float, default=0.6, help="sd of the log-weights")
    parser.add_argument("--floor", type=float, default=0.2, help="least weight, in uniform shares")
    parser.add_argument("--seeds", type=int, default=3, help="of the confirming runs")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    recipe = load_recipe(arguments.recipe, arguments.set)
    tasks = [one.name for one in recipe.task_sources() if one.name not in recipe.exclude_tasks]
    folder = arguments.work / "mixtures"
    mixtures = written(tasks, arguments.mixtures, arguments.spread, folder)
    output = compared(recipe, recipe.seed, 1, mixtures, arguments.work / "random")
    tasks, cells = cells_of(output, recipe.metrics[0])
    slopes = fitted(cells)
    best = curve_weights(slopes.shrunk, arguments.floor)
    gain = gain_of(slopes, best)
    (uniform,) = (cell for cell in cells if cell.retriever == BASELINE)
    lines = foretold([cell for cell in cells if cell is not uniform], uniform.scores)
    pairs = [(line["foretold"], line["real"]) for line in lines]
    differences = sorted(real for _, real in pairs)
    figures = {"slopes": told(tasks, slopes, best), "foretold": lines, "gain": gain}
    figures["rank_correlation"] = float(spearmanr(pairs)[0])
    print(
        f"{len(mixtures)} random mixtures, difference to uniform: {differences[0]:+.3f} to "
        f"{differences[-1]:+.3f}, median {float(np.median(differences)):+.3f}; "
        f"{sum(one > 0 for one in differences)} above.\n"
        f"Foretold without the pair: rank correlation {figures['rank_correlation']:+.2f} with the "
        f"real differences.\n"
        f"Best by the slopes: {gain:+.3f} foretold."
    )
    path = folder / "best-by-slope.json"
    Mixture(dict(zip(tasks, best.tolist(), strict=True))).save(path)
    confirmed = compared(
        recipe, recipe.seed + 1, arguments.seeds, [path], arguments.work / "confirmed"
    )
    if arguments.json:
        figures["confirmed"] = (confirmed / "comparison.csv").read_text().splitlines()
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
