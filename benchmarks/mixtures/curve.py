"""Score against rows as docs/study.md shows it: the budgets of a comparison, a panel a group.

Usage: python benchmarks/mixtures/curve.py FOLDER [--figure FILE.svg] [--json FILE], FOLDER what
`tdro compare` wrote for a recipe with budgets. Prints the table; the dotted line of a panel is the
uniform mixture with all rows. With three seeds or more, bars are 95 % intervals over seeds of the
difference to it. With `--without BENCHMARK ...` means are those of the other benchmarks.
"""

import argparse
import json
from pathlib import Path

from table import GROUPS, cell, lines_of, read

from tdro.errors import require
from tdro.report.comparison import Compared

BASELINE = "uniform"
LEAST_SEEDS = 3


def points(compared: Compared, metric: str) -> dict[str, list[dict]]:
    """Returns the lines of each mixture, from the largest budget to the smallest."""
    rows = {line["retriever"]: line["training_rows"] for line in compared.costs}
    found: dict[str, list[dict]] = {}
    for line in lines_of(compared, metric):
        base, _, budget = line["mixture"].partition("@")
        more = {"budget": float(budget or 1), "rows": rows[line["mixture"]]}
        found.setdefault(base, []).append({**line, **more})
    return {name: sorted(lines, key=lambda line: -line["budget"]) for name, lines in found.items()}


def markdown(found: dict[str, list[dict]]) -> str:
    """Writes differences to the uniform mixture with all rows, a column a budget."""
    budgets = sorted({line["budget"] for lines in found.values() for line in lines}, reverse=True)
    heads = ["mixture", "group", *(f"{budget:.0%} of the steps" for budget in budgets)]
    written = [heads, ["---", "---"] + ["---:"] * len(budgets)]
    for name, lines in found.items():
        by_budget = {line["budget"]: line for line in lines}
        for group, told in GROUPS.items():
            if group in lines[0]:
                cells = [
                    cell(by_budget[budget][group]) if budget in by_budget else "-"
                    for budget in budgets
                ]
                written.append([f"`{name}`", told, *cells])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in written)


def draw(found: dict[str, list[dict]], metric: str, path: Path) -> None:
    """Draws a panel a group, a line a mixture."""
    pyplot = require("matplotlib.pyplot", "bench")
    groups = [group for group in GROUPS if group in found[BASELINE][0]]
    size = (3.8 * len(groups), 3.4)
    figure, grid = pyplot.subplots(1, len(groups), figsize=size, sharex=True, squeeze=False)
    panels = grid[0]
    for panel, group in zip(panels, groups, strict=True):
        full = found[BASELINE][0][group]["mean"]
        panel.axhline(full, color="grey", linestyle=":", linewidth=1)
        for place, (name, lines) in enumerate(found.items()):
            # Beside each other, so that the bars do not hide each other.
            rows = [line["rows"] * (1 + 0.004 * place) for line in lines]
            means = [line[group]["mean"] for line in lines]
            bars = [_half(line[group]) for line in lines]
            panel.errorbar(rows, means, yerr=bars, label=name, linewidth=1.3, capsize=2, marker=".")
        panel.set_title(GROUPS[group], fontsize=10)
        panel.tick_params(labelsize=8)
    figure.supxlabel("rows trained on", fontsize=9, y=0.17)
    figure.supylabel(f"mean {metric}", fontsize=9)
    # Below the panels, where it hides no point.
    figure.tight_layout(rect=(0, 0.2, 1, 1))
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=min(5, len(labels)), fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without a date and with fixed ids, the same figures give the same file.
    with pyplot.rc_context({"svg.hashsalt": "tdro"}):
        figure.savefig(path, metadata={"Date": None})


def _half(found: dict) -> float:
    # An interval over two seeds says nothing but that they are two.
    if found["verdict"] == "baseline" or len(found["seeds"].split()) < LEAST_SEEDS:
        return 0.0
    return (found["seeds_high"] - found["seeds_low"]) / 2


def main() -> None:
    """Prints, draws and writes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--metric", default="nDCG@10")
    parser.add_argument("--without", nargs="+", default=[], metavar="BENCHMARK")
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = points(read(arguments.folder, arguments.without), arguments.metric)
    print(markdown(found))
    if arguments.figure:
        draw(found, arguments.metric, arguments.figure)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
