"""The table of a comparison as docs/study.md shows it: a line a mixture, a column a group.

Usage: python benchmarks/mixtures/table.py FOLDER [--json FILE], FOLDER what `tdro compare` wrote.
With `--without BENCHMARK ...` means and tests are those of the other benchmarks.
"""

import argparse
import contextlib
import csv
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tdro.evaluation.scores import SCORES_FILE
from tdro.files import COSTS_FILE
from tdro.report.comparison import write_comparison

GROUPS = {"holdout": "hold-outs", "unseen": "not trained on", "external": "other collections"}


@contextlib.contextmanager
def without(folder: Path, benchmarks: Sequence[str]) -> Iterator[Path]:
    """Gives the folder of a comparison as if some benchmarks had not been judged.

    Raises:
        SystemExit: A benchmark is not there.
    """
    if not benchmarks:
        yield folder
        return
    scores = pq.read_table(folder / SCORES_FILE)
    unknown = set(benchmarks) - set(scores["benchmark"].to_pylist())
    if unknown:
        raise SystemExit(f"{folder} has no benchmark {', '.join(sorted(unknown))}.")
    left_out = pc.is_in(scores["benchmark"], pa.array(benchmarks))
    with tempfile.TemporaryDirectory() as fresh:
        pq.write_table(scores.filter(pc.invert(left_out)), Path(fresh) / SCORES_FILE)
        shutil.copy(folder / COSTS_FILE, fresh)
        write_comparison(Path(fresh))
        yield Path(fresh)


def lines_of(folder: Path, metric: str) -> list[dict]:
    """Returns a line a mixture: difference, its intervals and verdict by group, and the costs."""
    with (folder / "comparison.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == metric]
    with (folder / "costs.csv").open() as file:
        costs = {row["retriever"]: row for row in csv.DictReader(file)}
    lines: dict[str, dict] = {}
    for row in rows:
        line = lines.setdefault(row["retriever"], {"mixture": row["retriever"]})
        numbers = ("mean", "difference", "seeds_low", "seeds_high", "p_holm")
        line[row["group"]] = {name: float(row[name] or "nan") for name in numbers}
        line[row["group"]] |= {"verdict": row["verdict"], "seeds": row["difference_by_seed"]}
    for name, line in lines.items():
        line["collections"] = float(costs[name]["collections"])
        line["training_flops"] = float(costs[name]["training_flops"])
        line["learning_flops"] = float(costs[name]["learning_flops"])
    return list(lines.values())


def markdown(lines: list[dict]) -> str:
    """Writes the lines as a table in Markdown."""
    groups = [group for group in GROUPS if group in lines[0]]
    heads = ["mixture", *(GROUPS[group] for group in groups), "collections", "training", "learning"]
    written = [heads, ["---"] + ["---:"] * (len(heads) - 1)]
    for line in lines:
        costs = [f"{line[name]:.2g}" for name in ("training_flops", "learning_flops")]
        cells = [_cell(line[group]) for group in groups]
        written.append([f"`{line['mixture']}`", *cells, f"{line['collections']:.0f}", *costs])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in written)


def _cell(found: dict) -> str:
    if found["verdict"] == "baseline":
        return f"{found['mean']:.3f}"
    mark = "**" if found["verdict"] in ("above", "below") else ""
    interval = f" ({found['seeds_low']:+.3f} {found['seeds_high']:+.3f})"
    return f"{mark}{found['difference']:+.3f}{mark}" + interval.replace(" (+nan +nan)", "")


def main() -> None:
    """Prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--metric", default="nDCG@10")
    parser.add_argument("--without", nargs="+", default=[], metavar="BENCHMARK")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with without(arguments.folder, arguments.without) as folder:
        lines = lines_of(folder, arguments.metric)
    print(markdown(lines))
    if arguments.json:
        arguments.json.write_text(json.dumps(lines, indent=1))


if __name__ == "__main__":
    main()
