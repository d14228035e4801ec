"""The table of a comparison as docs/study.md shows it: a line a mixture, a column a group.

Usage: python benchmarks/mixtures/table.py FOLDER [--json FILE], FOLDER what `tdro compare` wrote.
With `--without BENCHMARK ...` means and tests are those of the other benchmarks.
"""

import argparse
import json
import math
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tdro.evaluation.comparison import comparison_rows
from tdro.evaluation.scores import SCORES_FILE
from tdro.files import COSTS_FILE
from tdro.report.comparison import Compared, read_comparison

GROUPS = {"holdout": "hold-outs", "unseen": "not trained on", "external": "other collections"}
COSTS = ("collections", "training_flops", "learning_flops")


def read(folder: Path, without: Sequence[str] = ()) -> Compared:
    """Reads a comparison, as if some benchmarks had not been judged.

    Raises:
        SystemExit: A benchmark is not there.
    """
    if not without:
        return read_comparison(folder)
    scores = pq.read_table(folder / SCORES_FILE)
    unknown = set(without) - set(scores["benchmark"].to_pylist())
    if unknown:
        raise SystemExit(f"{folder} has no benchmark {', '.join(sorted(unknown))}.")
    left_out = pc.is_in(scores["benchmark"], pa.array(without))
    with tempfile.TemporaryDirectory() as fresh:
        pq.write_table(scores.filter(pc.invert(left_out)), Path(fresh) / SCORES_FILE)
        shutil.copy(folder / COSTS_FILE, fresh)
        return read_comparison(Path(fresh))


def lines_of(compared: Compared, metric: str) -> list[dict]:
    """Returns a line a mixture: difference, its intervals and verdict by group, and the costs."""
    costs = {line["retriever"]: line for line in compared.costs}
    lines: dict[str, dict] = {}
    for row in comparison_rows(compared.everything):
        if row["metric"] == metric:
            line = lines.setdefault(row["retriever"], {"mixture": row["retriever"]})
            numbers = ("mean", "difference", "seeds_low", "seeds_high", "p_holm")
            line[row["group"]] = {name: row[name] for name in numbers}
            line[row["group"]] |= {"verdict": row["verdict"], "seeds": row["difference_by_seed"]}
    for name, line in lines.items():
        line |= {key: costs[name][key] for key in COSTS}
    return list(lines.values())


def markdown(lines: list[dict]) -> str:
    """Writes the lines as a table in Markdown."""
    groups = [group for group in GROUPS if group in lines[0]]
    heads = ["mixture", *(GROUPS[group] for group in groups), "collections", "training", "learning"]
    written = [heads, ["---"] + ["---:"] * (len(heads) - 1)]
    for line in lines:
        costs = [f"{line[name]:.2g}" for name in ("training_flops", "learning_flops")]
        cells = [cell(line[group]) for group in groups]
        written.append([f"`{line['mixture']}`", *cells, f"{line['collections']:.0f}", *costs])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in written)


def cell(found: dict) -> str:
    """Writes a difference, bold where it is clear, and its interval where there are seeds."""
    if found["verdict"] == "baseline":
        return f"{found['mean']:.3f}"
    mark = "**" if found["verdict"] in ("above", "below") else ""
    low, high = found["seeds_low"], found["seeds_high"]
    interval = f" ({low:+.3f} {high:+.3f})" if math.isfinite(low) else ""
    return f"{mark}{found['difference']:+.3f}{mark}{interval}"


def main() -> None:
    """Prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--metric", default="nDCG@10")
    parser.add_argument("--without", nargs="+", default=[], metavar="BENCHMARK")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    lines = lines_of(read(arguments.folder, arguments.without), arguments.metric)
    print(markdown(lines))
    if arguments.json:
        arguments.json.write_text(json.dumps(lines, indent=1))


if __name__ == "__main__":
    main()
