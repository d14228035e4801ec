"""What a comparison leaves for its readers: tables as text, Markdown and CSV, and an HTML page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tdro.errors import InputError
from tdro.evaluation.comparison import (
    Row,
    benchmark_csv,
    benchmark_markdown,
    benchmark_table,
    comparison_csv,
    comparison_markdown,
    comparison_rows,
    first_metrics,
    table_csv,
    table_markdown,
)
from tdro.evaluation.scores import BASELINE, GROUPS, SCORES_FILE, ordered_groups
from tdro.evaluation.significance import Comparison, compare
from tdro.files import COSTS_FILE, RECIPE_FILE, write_text
from tdro.report.figures import budget_figure, line_style
from tdro.report.html import render_template, signed
from tdro.report.page import REPORT_FILE
from tdro.report.record import read_warnings

_COST_COLUMNS = (
    "collections",
    "distinct_rows",
    *(
        f"{part}_{unit}"
        for part in ("training", "learning")
        for unit in ("rows", "tokens", "flops", "seconds")
    ),
)


@dataclass(frozen=True)
class Compared:
    """A comparison with all that is said of it.

    Attributes:
        full: Comparisons of the mixtures trained with all steps.
        budgets: Comparisons of those trained with fewer, with the baseline at all steps.
        costs: A line for each retriever, means over seeds.
    """

    full: list[Comparison]
    budgets: list[Comparison]
    costs: list[dict[str, Any]]

    @property
    def everything(self) -> list[Comparison]:
        """All comparisons; the baseline is not set against itself trained with fewer steps."""
        return [*self.full, *(one for one in self.budgets if one.retriever != one.baseline)]

    @property
    def metrics(self) -> dict[str, str]:
        """The metric that a reader is told first of each group."""
        return first_metrics(self.full)

    def led(self, group: str) -> list[Comparison]:
        """Returns the comparisons of a group by its first metric."""
        wanted = (group, self.metrics[group])
        return [one for one in self.everything if (one.group, one.metric) == wanted]


def read_comparison(directory: Path) -> Compared:
    """Tests what a comparison has measured so far.

    Raises:
        InputError: The directory holds no comparison.
    """
    if not (directory / COSTS_FILE).is_file():
        raise InputError(f"{directory} holds no comparison: it has no {COSTS_FILE}.")
    costs = pq.read_table(directory / COSTS_FILE)
    scores = pq.read_table(directory / SCORES_FILE)
    whole = set(costs.filter(pc.equal(costs["budget"], 1.0))["retriever"].to_pylist())
    others = set(costs["retriever"].to_pylist()) - whole
    return Compared(
        compare(_of(scores, whole)),
        compare(_of(scores, {BASELINE, *others})) if others else [],
        _mean_costs(costs),
    )


def write_comparison(directory: Path) -> tuple[Compared, Path]:
    """Writes ``comparison.md``, three CSV files and ``report.html`` into a comparison's directory.

    Returns:
        What was compared, and the path of the page.

    Raises:
        InputError: The directory holds no comparison, or plotly or jinja2 is not installed.
    """
    found = read_comparison(directory)
    rows = comparison_rows(found.everything)
    header = ["retriever", *_COST_COLUMNS]
    costs = [[line[name] for name in header] for line in found.costs]
    text = "\n".join(
        [
            comparison_markdown(rows),
            benchmark_markdown(found.everything),
            table_markdown(
                [header, *([_short(cell) for cell in line] for line in costs)], texts=header[:1]
            ),
        ]
    )
    write_text(directory / "comparison.md", text)
    write_text(directory / "comparison.csv", comparison_csv(rows))
    write_text(directory / "benchmarks.csv", benchmark_csv(found.everything))
    write_text(directory / "costs.csv", table_csv([header, *costs]))
    page = render_template("comparison.html.j2", _content(directory, found, rows))
    write_text(directory / REPORT_FILE, page)
    return found, directory / REPORT_FILE


def headline(found: Compared) -> list[str]:
    """Says in sentences what a reader wants to know first."""
    sentences = []
    for group in ordered_groups({one.group for one in found.full}):
        metric = found.metrics[group]
        members = [one for one in found.full if (one.group, one.metric) == (group, metric)]
        for verdict in ("above", "below"):
            named = [
                f"“{one.retriever}” ({signed(one.difference)})"
                for one in sorted(members, key=lambda one: -abs(one.difference))
                if one.verdict == verdict
            ]
            if named:
                what = f"On {GROUPS.get(group, group)}, clearly {verdict} “{BASELINE}”"
                sentences.append(f"{what} in {metric}: {', '.join(named)}.")
        if all(one.verdict in ("unclear", "baseline") for one in members):
            sentences.append(
                f"On {GROUPS.get(group, group)} no mixture differs clearly from “{BASELINE}” in "
                f"{metric}."
            )
    if found.full[0].seeds == 1:
        sentences.append("One seed: this is said of these models, not of their mixtures.")
    return sentences


def _content(directory: Path, found: Compared, rows: Sequence[Row]) -> dict[str, Any]:
    recipe = directory / RECIPE_FILE
    figures = _curves(found)
    header, groups = benchmark_table(found.everything)
    return {
        "name": directory.resolve().name,
        "headline": headline(found),
        "warnings": read_warnings(directory),
        "baseline": BASELINE,
        "groups": [
            (group, GROUPS.get(group, ""), [row for row in rows if row["group"] == group])
            for group in ordered_groups({row["group"] for row in rows})
        ],
        "benchmarks": {"header": header, "groups": groups},
        "costs": found.costs,
        "curves": [
            (f"curve-{group}", f"{GROUPS.get(group, group)}, {found.metrics[group]}")
            for group in figures
        ],
        "figures": {f"curve-{group}": figure for group, figure in figures.items()},
        "legend": [(name, *line_style(number)) for number, name in enumerate(_curve_names(found))],
        "recipe": recipe.read_text(encoding="utf-8") if recipe.is_file() else "",
    }


def _curve_names(found: Compared) -> list[str]:
    """Returns the mixtures that were trained with more than one budget."""
    names = dict.fromkeys(line["base_label"] for line in found.costs if line["budget"] < 1)
    return list(names)


def _curves(found: Compared) -> dict[str, dict[str, Any]]:
    """Returns a figure of score against rows for each group."""
    if not found.budgets:
        return {}
    costs = {line["retriever"]: line for line in found.costs}
    figures = {}
    for group in ordered_groups({one.group for one in found.full}):
        members = {one.retriever: one for one in found.led(group)}
        lines = {}
        for name in _curve_names(found):
            points = sorted(
                (costs[label]["training_rows"], one.mean, _standard_error(one))
                for label, one in members.items()
                if costs[label]["base_label"] == name
            )
            lines[name] = points
        figures[group] = budget_figure(lines, members[BASELINE].mean)
    return figures


def _standard_error(one: Comparison) -> float:
    """Returns the standard error over seeds of the difference to the baseline."""
    values = list(one.by_seed.values())
    if len(values) < 2:
        return 0.0
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return math.sqrt(variance / len(values))


def _of(scores: pa.Table, retrievers: set[str]) -> pa.Table:
    return scores.filter(pc.is_in(scores["retriever"], pa.array(sorted(retrievers))))


def _mean_costs(costs: pa.Table) -> list[dict[str, Any]]:
    lines: dict[str, list[dict[str, Any]]] = {}
    for line in costs.to_pylist():
        lines.setdefault(line["retriever"], []).append(line)
    return [
        {
            "retriever": name,
            "base_label": members[0]["base_label"],
            "budget": members[0]["budget"],
            **{
                column: math.fsum(line[column] for line in members) / len(members)
                for column in _COST_COLUMNS
            },
        }
        for name, members in lines.items()
    ]


def _short(value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.3g}" if value >= 1e9 else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
