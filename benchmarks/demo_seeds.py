"""The demo's mixture with several seeds: its trajectory, its spread, and how noisy measures are.

Learns the mixture of a recipe with seeds 0, 1, 2 (tasks, reference, plan and proxy all differ),
draws the trajectories side by side, and replays the recorded losses with every method to tell how
far each one's direction is set by chance: the rank correlation between the even and the odd steps
of a run, and between runs. Usage: python benchmarks/demo_seeds.py RECIPE [--json FILE]
[--figure FILE.svg], where RECIPE is runs/demo/data/recipe.yaml after `make demo`.
"""

import argparse
import json
from itertools import combinations
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

from tdro.errors import require
from tdro.learning.method import method_of
from tdro.learning.record import LossRecord
from tdro.learning.replay import replay
from tdro.learning.trainer import Learned
from tdro.recipe_file import load_recipe
from tdro.run.execute import execute
from tdro.settings import LearningSettings

METHODS = ("tdro-pooled", "tdro", "tdro-paper", "tdro-released", "group-dro", "doremi")


def learn(arguments: argparse.Namespace) -> list[Learned]:
    """Learns the mixture once a seed."""
    found = []
    for seed in range(arguments.seeds):
        output = arguments.work / str(seed)
        recipe = load_recipe(arguments.recipe, [f"seed={seed}", "retrievers=[]", *arguments.set])
        execute(recipe, output, Console())
        found.append(Learned.load(output / "mixture"))
    return found


def noise_of(method: str, eta: float, records: list[LossRecord]) -> dict:
    """Replays every seed's losses and tells how far they agree."""
    # The step size of DoReMi means something else: it has its own.
    own = {} if method == "doremi" else {"eta": eta}
    weights, halves, norms = [], [], []
    for record in records:
        settings = LearningSettings(method=method, **own)
        trajectory = replay(record, method_of(settings, record.means()), 0.9).trajectory
        uniform = np.full(len(record.tasks), 1 / len(record.tasks))
        path = np.log([uniform, *(step.weight for step in trajectory.steps)])
        pushes = np.diff(path, axis=0)
        halves.append(spearmanr(pushes[::2].sum(0), pushes[1::2].sum(0))[0])
        norms.append([float(step.norm[0]) for step in trajectory.steps])
        weights.append(trajectory.mixture(settings.keeps, {}, {}).weights)
    times = np.array([list(one.values()) for one in weights]) * len(records[0].tasks)
    return {
        "method": method,
        "norm": [float(np.min(norms)), float(np.median(norms)), float(np.max(norms))],
        "halves": [float(value) for value in halves],
        "seeds": [float(spearmanr(one, other)[0]) for one, other in combinations(times, 2)],
        "spread_between_seeds": float(times.std(axis=0, ddof=1).mean()),
        "spread_between_tasks": float(times.mean(axis=0).std()),
    }


def show(learned: list[Learned], noise: list[dict]) -> None:
    """Prints the weights of every seed, and how noisy each method is."""
    tasks = learned[0].trajectory.tasks
    last = np.array([one.trajectory.state.weights for one in learned]) * len(tasks)
    table = Table(title="weight after the last step, times uniform")
    for name in ("task", *(f"seed {seed}" for seed in range(len(learned))), "mean", "sd"):
        table.add_column(name, justify="left" if name == "task" else "right")
    for place in np.argsort(-last.mean(axis=0)):
        values = [*last[:, place], last[:, place].mean(), last[:, place].std(ddof=1)]
        table.add_row(tasks[place], *(f"{value:.3f}" for value in values))
    Console(width=110).print(table)
    table = Table(title="replayed: how far the direction is chance")
    names = ("norm before clipping", "even ~ odd steps", "seed ~ seed", "sd seeds", "sd tasks")
    for name in ("method", *names):
        table.add_column(name)
    for line in noise:
        table.add_row(
            line["method"],
            " / ".join(f"{value:.3g}" for value in line["norm"]),
            " ".join(f"{value:.2f}" for value in line["halves"]),
            " ".join(f"{value:.2f}" for value in line["seeds"]),
            f"{line['spread_between_seeds']:.3f}",
            f"{line['spread_between_tasks']:.3f}",
        )
    Console(width=120).print(table)


def draw(learned: list[Learned], path: Path) -> None:
    """Draws a panel a task, a line a seed."""
    pyplot = require("matplotlib.pyplot", "bench")
    tasks = learned[0].trajectory.tasks
    rows = -(-len(tasks) // 4)
    figure, panels = pyplot.subplots(rows, 4, figsize=(11, 2.1 * rows), sharex=True, sharey=True)
    for panel, (place, task) in zip(panels.flat, enumerate(tasks), strict=False):
        for seed, one in enumerate(learned):
            values = [step.weight[place] * len(tasks) for step in one.trajectory.steps]
            panel.plot(range(1, len(values) + 1), values, label=f"seed {seed}", linewidth=1.3)
        panel.axhline(1, color="grey", linestyle=":", linewidth=1)
        panel.set_title(task, fontsize=9)
    for panel in panels.flat[len(tasks) :]:
        panel.set_visible(False)
    panels.flat[0].legend(fontsize=7)
    figure.supxlabel("step", fontsize=9)
    figure.supylabel("weight, times uniform", fontsize=9)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without a date and with fixed ids, the same figures give the same file.
    with pyplot.rc_context({"svg.hashsalt": "tdro"}):
        figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Learns, prints, draws and writes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/demo-seeds"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    learned = learn(arguments)
    eta = load_recipe(arguments.recipe, arguments.set).learning.eta
    noise = [noise_of(method, eta, [one.record for one in learned]) for method in METHODS]
    show(learned, noise)
    if arguments.figure:
        draw(learned, arguments.figure)
    if arguments.json:
        last = {task: [] for task in learned[0].trajectory.tasks}
        for one in learned:
            for task, weight in zip(last, one.trajectory.state.weights.tolist(), strict=True):
                last[task].append(weight)
        arguments.json.write_text(json.dumps({"weights": last, "noise": noise}, indent=1))


if __name__ == "__main__":
    main()
