"""Frozen token embeddings: what they save, and what they do to the mixture.

Learns the mixture of a recipe with and without `proxy.freeze_embeddings`, seed by seed; the
reference is frozen or not with the proxy. Compares the seconds of both stages, and the mixtures: by
rank correlation and total variation between the two at the same seed, beside the same between
seeds without freezing, which is the noise to hold it against.
Usage: python benchmarks/speed/frozen.py RECIPE [--set learning.steps=40] [--json FILE], where
RECIPE is runs/demo/data/recipe.yaml after `make demo`.
"""

from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from scipy.stats import spearmanr
from timing import LEAST_RUNS, arguments, ratios, report, shown, spread

from tdro.files import read_json
from tdro.mixture import Mixture
from tdro.recipe import load_recipe
from tdro.run.execute import execute

SIDES = {"trained": "false", "frozen": "true"}


def learn(recipe: Path, changes: list[str], output: Path) -> dict:
    """Learns one mixture; returns its weights and the seconds that two of its stages took."""
    with (output.parent / "log.txt").open("a") as log:
        execute(load_recipe(recipe, ["retrievers=[]", *changes]), output, Console(file=log))
    return {
        "weights": dict(Mixture.load(output / "mixture" / "last.json").weights),
        "learning": read_json(output / "mixture" / "manifest.json")["seconds"],
        "reference": read_json(output / "reference" / "manifest.json")["seconds"],
    }


def unlike(one: dict, other: dict) -> tuple[float, float]:
    """Returns rank correlation and total variation of two mixtures over the same tasks."""
    left, right = (np.array(list(each["weights"].values())) for each in (one, other))
    return float(spearmanr(left, right)[0]), 0.5 * float(np.abs(left - right).sum())


def main() -> None:
    """Learns, compares and prints."""
    parser = arguments(__doc__, runs=LEAST_RUNS)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--work", type=Path, default=Path("runs/frozen"))
    told = parser.parse_args()
    torch.set_num_threads(told.threads)
    told.work.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[dict]] = {side: [] for side in SIDES}
    for seed in range(told.runs):
        for side, frozen in SIDES.items():
            changes = [*told.set, f"seed={seed}", f"proxy.freeze_embeddings={frozen}"]
            found[side].append(learn(told.recipe, changes, told.work / f"{side}-{seed}"))
    same = [unlike(*pair) for pair in zip(found["trained"], found["frozen"], strict=True)]
    seeds = [unlike(*pair) for pair in combinations(found["trained"], 2)]
    content: dict = {"sides": found}
    lines = []
    for stage in ("learning", "reference"):
        seconds = {side: [one[stage] for one in found[side]] for side in SIDES}
        content[stage] = {side: spread(values) for side, values in seconds.items()}
        content[stage]["ratio"] = ratios(seconds["frozen"], seconds["trained"])
        lines += [(f"{stage}, {side}", shown(content[stage][side], " s")) for side in SIDES]
        lines.append((f"{stage}, frozen / trained", shown(content[stage]["ratio"])))
    for place, name in enumerate(("rank correlation", "total variation")):
        for what, pairs in (("frozen ~ trained, same seed", same), ("seed ~ seed", seeds)):
            content[f"{name}, {what}"] = spread([pair[place] for pair in pairs])
            lines.append((f"{name}, {what}", shown(content[f"{name}, {what}"])))
    report("Frozen token embeddings", lines, content, told.json)


if __name__ == "__main__":
    main()
