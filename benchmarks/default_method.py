"""Which method should be the default: retrievers trained with each one's mixture, on real tasks.

For every seed, learns a mixture with each method from the same reference, plan and reference
losses, trains a retriever with each and one with the uniform mixture on the same draws, and judges
them on the hold-outs of the tasks and on the recipe's benchmarks. Prints the mean nDCG@10 of both
groups as a difference to uniform, seed by seed. A first look, not a study: it has no interval.
Usage: python benchmarks/default_method.py RECIPE [--json FILE], such as benchmarks/static.yaml.
"""

import argparse
import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from tdro.evaluation.scores import summary
from tdro.recipe import load_recipe
from tdro.run.execute import execute

UNIFORM = "uniform"


def judged(arguments: argparse.Namespace, seed: int) -> dict:
    """Returns the mean nDCG@10 of each group by retriever: uniform and one a method."""
    output = arguments.work / str(seed)
    names = [UNIFORM]
    with (arguments.work / "log.txt").open("a") as log:
        console = Console(file=log, width=160)

        def run(*changes: str) -> None:
            told = [f"seed={seed}", *arguments.set, *changes]
            execute(load_recipe(arguments.recipe, told), output, console)

        for method in arguments.methods:
            run(f"learning.method={method}", "retrievers=[]")
            kept = (output.parent / f"{method}-{seed}" / f"{method}.json").resolve()
            kept.parent.mkdir(exist_ok=True)
            shutil.copy(output / "mixture" / "last.json", kept)
            names.append(str(kept))
        run(f"retrievers=[{', '.join(names)}]")
    means = [row for row in summary(pq.read_table(output / "scores.parquet")) if row.is_mean]
    return {
        row.group: {name: values["nDCG@10"] for name, values in row.means.items()} for row in means
    }


def show(found: list[dict], methods: list[str]) -> None:
    """Prints uniform's scores, and of each method the differences to it."""
    for group in found[0]:
        table = Table(title=f"{group}: mean nDCG@10")
        for name in ("retriever", "mean", *(f"seed {seed}" for seed in range(len(found)))):
            table.add_column(name, justify="left" if name == "retriever" else "right")
        base = [one[group][UNIFORM] for one in found]
        table.add_row(UNIFORM, f"{sum(base) / len(base):.3f}", *(f"{value:.3f}" for value in base))
        for method in methods:
            gains = [one[group][method] - start for one, start in zip(found, base, strict=True)]
            cells = (f"{value:+.3f}" for value in (sum(gains) / len(gains), *gains))
            table.add_row(f"{method} - {UNIFORM}", *cells)
        Console(width=100).print(table)


def main() -> None:
    """Learns, trains, judges and prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/default-method"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="*", default=["tdro-pooled", "tdro", "tdro-paper"])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    found = [judged(arguments, seed) for seed in range(arguments.seeds)]
    show(found, arguments.methods)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
