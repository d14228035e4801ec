"""Comparisons with the baseline as tables: for the terminal, in Markdown and in CSV.

All three show the same rows. A row is a dict of plain values with the keys :data:`COLUMNS`.
"""

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from tdro.evaluation.scores import ordered_groups
from tdro.evaluation.significance import Comparison

Row = Mapping[str, Any]

COLUMNS: dict[str, Callable[[Comparison], str | int | float]] = {
    "group": lambda found: found.group,
    "metric": lambda found: found.metric,
    "retriever": lambda found: found.retriever,
    "seeds": lambda found: found.seeds,
    "mean": lambda found: found.mean,
    "difference": lambda found: found.difference,
    "queries_low": lambda found: found.queries_low,
    "queries_high": lambda found: found.queries_high,
    "seeds_low": lambda found: found.seeds_low,
    "seeds_high": lambda found: found.seeds_high,
    "p": lambda found: found.p,
    "p_holm": lambda found: found.p_holm,
    "verdict": lambda found: found.verdict,
    "worst_benchmark": lambda found: found.worst_benchmark,
    "worst_mean": lambda found: found.benchmarks[found.worst_benchmark],
    "difference_by_seed": lambda found: _by_seed(found.by_seed),
    "p_by_seed": lambda found: _by_seed(found.p_by_seed),
}
"""Keys of a row, and where their values come from."""

ONE_SEED = "One seed: the verdicts are of these models; other seeds may differ by more."

_MEAN = "mean"
_DASH = "-"
_MARKDOWN = re.compile(r"[\\`*\[\]~<>&|#]|(?<![^\W_])_|_(?![^\W_])")


def comparison_rows(comparisons: Iterable[Comparison]) -> list[Row]:
    """Returns a row for each comparison; values by seed read ``"seed:value seed:value"``."""
    return [{name: value(found) for name, value in COLUMNS.items()} for found in comparisons]


def first_metrics(comparisons: Iterable[Comparison]) -> dict[str, str]:
    """Returns the metric that a reader is told first of each group.

    That is the first of the recipe by which the group is judged: one that is judged by answers has
    no nDCG.
    """
    found: dict[str, str] = {}
    for one in comparisons:
        found.setdefault(one.group, one.metric)
    return found


def render_comparison(rows: Sequence[Row], metrics: Mapping[str, str]) -> Table:
    """Draws rows for the terminal, a section for each group.

    Args:
        rows: The rows.
        metrics: By group, the metric whose rows are drawn.
    """
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    shown = [row for row in rows if row["metric"] == metrics[row["group"]]]
    alike = len(set(metrics.values())) == 1
    for name in _cells({}):
        text = name in ("retriever", "verdict", "worst")
        drawn.add_column(
            Text(shown[0]["metric"] if name == "mean" and alike else name),
            justify="left" if text else "right",
            overflow="fold",
            no_wrap=not text,
            min_width=9 if text else None,
        )
    for group in ordered_groups(row["group"] for row in shown):
        drawn.add_row(Text(group if alike else f"{group}, {metrics[group]}"), style="bold")
        members = [row for row in shown if row["group"] == group]
        for row in members:
            cells = [Text(cell) for cell in _cells(row).values()]
            drawn.add_row(*cells, end_section=row is members[-1])
    if any(row["seeds"] == 1 for row in shown):
        drawn.caption = Text(ONE_SEED)
    return drawn


def comparison_markdown(rows: Sequence[Row]) -> str:
    """Writes rows as one table in GitHub's Markdown."""
    lines = [["group", "metric", *_cells({})]]
    lines += [[row["group"], row["metric"], *_cells(row).values()] for row in rows]
    text = table_markdown(lines, texts=("group", "metric", "retriever", "verdict", "worst"))
    return text + (f"\n{ONE_SEED}\n" if any(row["seeds"] == 1 for row in rows) else "")


def comparison_csv(rows: Sequence[Row]) -> str:
    """Writes rows as CSV with a header, floats in full; what is not known is ``nan``."""
    return table_csv([list(COLUMNS), *([row[name] for name in COLUMNS] for row in rows)])


def benchmark_markdown(comparisons: Sequence[Comparison]) -> str:
    """Writes the means of each benchmark by its group's first metric, a column a retriever."""
    header, *lines = _benchmark_lines(_by_first_metric(comparisons))
    shown = [[*names, *(f"{value:.3f}" for value in means)] for *names, means in _split(lines)]
    return table_markdown([header, *shown], texts=header[:3])


def benchmark_csv(comparisons: Sequence[Comparison]) -> str:
    """Writes the means of each benchmark by every metric as CSV, floats in full."""
    return table_csv(_benchmark_lines(comparisons))


def benchmark_table(
    comparisons: Sequence[Comparison],
) -> tuple[list[str], list[tuple[str, list[tuple[str, list[float]]]]]]:
    """Returns the means of each benchmark by its group's first metric.

    Returns:
        The retrievers, and for each group and its metric its benchmarks, their mean last, each with
        a value for each retriever.
    """
    header, *lines = _benchmark_lines(_by_first_metric(comparisons))
    groups: dict[str, list[tuple[str, list[float]]]] = {}
    for group, metric, name, means in _split(lines):
        groups.setdefault(f"{group}, {metric}", []).append((name, means))
    return header[3:], list(groups.items())


def _by_first_metric(comparisons: Sequence[Comparison]) -> list[Comparison]:
    metrics = first_metrics(comparisons)
    return [found for found in comparisons if found.metric == metrics[found.group]]


def _split(lines: Iterable[Sequence[Any]]) -> Iterable[tuple[str, str, str, list[float]]]:
    return ((group, metric, name, means) for group, metric, name, *means in lines)


def _benchmark_lines(comparisons: Sequence[Comparison]) -> list[list[Any]]:
    """Returns a header and a line for each benchmark; a group's mean stands below its own."""
    retrievers = list(dict.fromkeys(found.retriever for found in comparisons))
    lines: list[list[Any]] = [["group", "metric", "benchmark", *retrievers]]
    for group in ordered_groups(found.group for found in comparisons):
        for metric in dict.fromkeys(one.metric for one in comparisons if one.group == group):
            members = [one for one in comparisons if (one.group, one.metric) == (group, metric)]
            lines += [
                [group, metric, name, *(found.benchmarks[name] for found in members)]
                for name in members[0].benchmarks
            ]
            lines.append([group, metric, _MEAN, *(found.mean for found in members)])
    return lines


def _cells(row: Row) -> dict[str, str]:
    """Returns what a reader sees of a row, by heading; of an empty row, the headings."""
    if not row:
        row = dict.fromkeys(COLUMNS, math.nan)
    return {
        "retriever": f"{row['retriever']}",
        "mean": _number(row["mean"]),
        "diff.": _DASH if row["verdict"] == "baseline" else _number(row["difference"], "+"),
        "95 % queries": _interval(row["queries_low"], row["queries_high"]),
        "95 % seeds": _interval(row["seeds_low"], row["seeds_high"]),
        "p (Holm)": p_value(row["p_holm"]),
        "verdict": f"{row['verdict']}",
        "worst": f"{_number(row['worst_mean'])} {row['worst_benchmark']}",
    }


def p_value(value: float) -> str:
    """Writes a probability with three decimals, but none as zero."""
    return "<0.001" if value < 0.0005 else _number(value)


def _number(value: float, sign: str = "") -> str:
    return f"{value:{sign}.3f}" if math.isfinite(value) else _DASH


def _interval(low: float, high: float) -> str:
    return f"{low:+.3f} {high:+.3f}" if math.isfinite(low) and math.isfinite(high) else _DASH


def _by_seed(values: Mapping[int, float]) -> str:
    return " ".join(f"{seed}:{value!r}" for seed, value in values.items())


def table_markdown(lines: Sequence[Sequence[str]], texts: Sequence[str]) -> str:
    """Writes a header and lines as one table in GitHub's Markdown.

    Args:
        lines: The header, then the lines.
        texts: Headings of the columns that hold texts; the others are right-aligned.
    """
    rule = ["---" if name in texts else "---:" for name in lines[0]]
    escaped = [[_escaped(cell) for cell in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in (escaped[0], rule, *escaped[1:]))


def _escaped(text: str) -> str:
    # Entities, not backslashes: readers differ on what a backslash before a pipe means.
    return _MARKDOWN.sub(lambda found: f"&#{ord(found.group())};", " ".join(text.split()))


def table_csv(lines: Iterable[Sequence[object]]) -> str:
    """Writes a header and lines as CSV, floats in full."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(lines)
    return file.getvalue()
