"""Metrics, run files and the table of scores.

A table of scores is a pyarrow table with the text columns ``retriever``, ``benchmark``, ``group``
and ``query`` and one float column for each metric. Where retrievers were trained with several
seeds, an int64 column ``seed`` says which.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from tdro.errors import InputError, require
from tdro.evaluation.families import units
from tdro.files import write_text

if TYPE_CHECKING:
    from tdro.evaluation.benchmark import Benchmark

SCORES_FILE = "scores.parquet"
METRICS = ("nDCG@10", "R@100")
BASELINE = "uniform"
_LEAST_DEPTH = 100
# How deep trec_eval looks for a metric without a cutoff, such as AP. The same whatever else is
# asked, or what is found deeper for R@2000 would change it.
_DEPTH_WITHOUT_CUTOFF = 1000
_ACCURACY = re.compile(r"^Acc@")
KEY_COLUMNS = ("retriever", "benchmark", "group", "query")
SEED_COLUMN = "seed"
GROUPS = {
    "holdout": "held-out queries of the training tasks",
    "unseen": "held-out queries of tasks not trained on",
    "external": "other benchmarks",
}
"""What each group of benchmarks is, in the order in which groups are shown."""

Run = Mapping[str, Mapping[str, float]]


def score(
    benchmark: "Benchmark", run: Run, metrics: Sequence[str] = METRICS
) -> dict[str, dict[str, float]]:
    """Scores a run with ir_measures; a judged query without results scores 0.

    Equal scores are ranked as trec_eval ranks them, so a run file scores the same elsewhere. A
    metric without a cutoff looks at the best 1,000 documents of a query, as trec_eval does.

    Args:
        benchmark: The judgements.
        run: Score of each found document by its id, by query id.
        metrics: Names that ir_measures knows, for example ``nDCG@10``.

    Returns:
        Value of each metric, by query id, in the benchmark's order of queries.

    Raises:
        InputError: A metric is unknown, or ir_measures is not installed.
    """
    names = check_metrics(metrics)
    ir_measures = require("ir_measures", "run")
    values = {query: dict.fromkeys(metrics, 0.0) for query in benchmark.queries}
    found = {query: dict(run.get(query, {})) for query in benchmark.queries}
    without_cutoff = [measure for measure in names if "cutoff" not in measure.params]
    cut = [measure for measure in names if "cutoff" in measure.params]
    for measures, searched in ((cut, found), (without_cutoff, _best(found, _DEPTH_WITHOUT_CUTOFF))):
        if measures:
            for result in ir_measures.iter_calc(measures, benchmark.qrels, searched):
                values[result.query_id][names[result.measure]] = float(result.value)
    return values


def _best(run: Run, depth: int) -> Run:
    """Returns the best documents of each query; of equal scores the first, as the search does."""
    return {
        query: found
        if len(found) <= depth
        else dict(sorted(found.items(), key=lambda item: -item[1])[:depth])
        for query, found in run.items()
    }


def check_metrics(metrics: Sequence[str]) -> dict[Any, str]:
    """Returns the name of each metric by what ir_measures makes of it.

    Raises:
        InputError: A metric is unknown or named twice, its cutoff is no whole number above zero, it
            cannot be computed here, or ir_measures is not installed.
    """
    names: dict[Any, str] = {}
    for metric in metrics:
        measure = _measure(metric)
        if names.setdefault(measure, metric) != metric:
            raise InputError(
                f"{names[measure]!r} and {metric!r} are the same metric: ask for one of them."
            )
    return names


@cache
def _measure(metric: str) -> Any:
    """Returns what ir_measures makes of a metric that it can compute here."""
    ir_measures = require("ir_measures", "run")
    try:
        # What question answering calls accuracy; ir_measures' own Accuracy is something else.
        measure = ir_measures.parse_measure(_ACCURACY.sub("Success@", metric))
    except (NameError, ValueError, SyntaxError, KeyError):
        raise InputError(
            f"The metric {metric!r} is unknown to ir_measures: use a name such as 'nDCG@10'."
        ) from None
    cutoff = measure.params.get("cutoff", 1)
    if not isinstance(cutoff, int) or cutoff < 1:
        raise InputError(f"The cutoff of the metric {metric!r} must be a whole number above zero.")
    try:
        # Many need more than judgements and scores, or a program that is not there: that should
        # not come out after hours of search.
        list(ir_measures.iter_calc([measure], {"q": {"d": 1}}, {"q": {"d": 1.0}}))
    except Exception as error:
        raise InputError(
            f"The metric {metric!r} cannot be computed here ({type(error).__name__}): "
            "use one such as 'nDCG@10'."
        ) from None
    return measure


def search_depth(metrics: Sequence[str]) -> int:
    """Returns how many documents a query have to be found: the deepest cutoff, 100 at least.

    It is 1,000 for a metric without a cutoff.
    """
    cutoffs = [
        int(measure.params.get("cutoff", _DEPTH_WITHOUT_CUTOFF))
        for measure in check_metrics(metrics)
    ]
    return max([_LEAST_DEPTH, *cutoffs])


def metrics_basis(metrics: Sequence[str]) -> list[str]:
    """Returns what scores by these metrics depend on: their names, and the depth of some."""
    return [
        name if "cutoff" in measure.params else f"{name} of the best {_DEPTH_WITHOUT_CUTOFF}"
        for measure, name in check_metrics(metrics).items()
    ]


def write_run(path: Path, run: Run, tag: str) -> None:
    """Writes a TREC run file, ``query Q0 document rank score tag``, at once.

    Args:
        path: The file.
        run: Score of each found document by its id, by query id.
        tag: Name of the retriever.

    Raises:
        InputError: An id or the tag is empty or holds a space.
    """
    lines = []
    for query, found in run.items():
        ranked = sorted(found.items(), key=lambda item: -item[1])
        for rank, (document, value) in enumerate(ranked, start=1):
            for field in (query, document, tag):
                if field.split() != [field]:
                    raise InputError(
                        f"{field!r} cannot be written to the run file {path}: "
                        "ids and tags must not be empty or hold spaces."
                    )
            lines.append(f"{query} Q0 {document} {rank} {value!r} {tag}\n")
    write_text(path, "".join(lines))


def write_qrels(path: Path, benchmark: "Benchmark") -> None:
    """Writes judgements in TREC's four columns, ``query 0 document relevance``, at once.

    trec_eval reads them beside a run file; BEIR's three columns it refuses.
    """
    judged = benchmark.qrels.items()
    lines = (f"{query} 0 {name} {value}\n" for query, all in judged for name, value in all.items())
    write_text(path, "".join(lines))


def score_table(
    rows: Iterable[tuple[str, "Benchmark", Mapping[str, Mapping[str, float]]]],
) -> pa.Table:
    """Puts the scores of several retrievers into one table, one line for each query.

    A metric that a benchmark was not scored with is null there.

    Args:
        rows: Triples of retriever name, benchmark, and what :func:`score` returned for them.
    """
    lines = [
        {
            **dict(
                zip(KEY_COLUMNS, (retriever, benchmark.name, benchmark.group, query), strict=True)
            ),
            **values,
        }
        for retriever, benchmark, scores in rows
        for query, values in scores.items()
    ]
    columns = list(dict.fromkeys(name for line in lines for name in line))
    columns = columns or [*KEY_COLUMNS, *METRICS]
    schema = pa.schema(
        [(name, pa.string() if name in KEY_COLUMNS else pa.float64()) for name in columns]
    )
    return pa.Table.from_pylist(lines, schema=schema)


@dataclass(frozen=True)
class SummaryRow:
    """The mean scores of all retrievers on one benchmark, or over the benchmarks of a group.

    Attributes:
        group: One of :data:`GROUPS`.
        benchmark: Name of the benchmark; of a family ``mean of FAMILY (N)``; ``mean`` for the mean
            of the group.
        means: Value of each metric by name, by retriever; NaN where it was not measured.
        is_mean: Whether this is the mean of the group.
    """

    group: str
    benchmark: str
    means: dict[str, dict[str, float]]
    is_mean: bool = False

    def difference(self, retriever: str, metric: str, baseline: str = BASELINE) -> float:
        """Returns how much higher a retriever scores than the baseline; NaN where either lacks."""
        missing: dict[str, float] = {}
        return self.means.get(retriever, missing).get(metric, math.nan) - self.means.get(
            baseline, missing
        ).get(metric, math.nan)


def metric_names(table: pa.Table) -> list[str]:
    """Returns the metrics of a table of scores."""
    return [name for name in table.column_names if name not in (*KEY_COLUMNS, SEED_COLUMN)]


def retriever_names(table: pa.Table, baseline: str = BASELINE) -> list[str]:
    """Returns the retrievers of a table of scores, the baseline first, else in their order."""
    names = table.column("retriever").unique().to_pylist()
    return sorted(names, key=lambda name: name != baseline)


def ordered_groups(names: Iterable[str]) -> list[str]:
    """Returns distinct groups in the order of :data:`GROUPS`, others after them by name."""
    known = list(GROUPS)
    return sorted(
        set(names), key=lambda name: (known.index(name) if name in known else len(known), name)
    )


def summary(table: pa.Table) -> list[SummaryRow]:
    """Averages a table of scores, over queries and then over benchmarks.

    Returns:
        For each group, in the order of :data:`GROUPS`, one row for each benchmark, one for the mean
        of each family (``cqadupstack``) below its parts, and then the mean of the group, in which
        every benchmark and every family counts the same. A mean is over what has the metric; a
        retriever that lacks some of that is left out, because its mean would be over other
        benchmarks.
    """
    metrics = metric_names(table)
    means = table.group_by(["group", "benchmark", "retriever"], use_threads=False).aggregate(
        [(metric, "mean") for metric in metrics]
    )
    groups: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for line in means.to_pylist():
        cells = groups.setdefault(line["group"], {}).setdefault(line["benchmark"], {})
        cells[line["retriever"]] = {
            metric: math.nan if line[f"{metric}_mean"] is None else line[f"{metric}_mean"]
            for metric in metrics
        }
    retrievers = retriever_names(table)
    rows = []
    for group in ordered_groups(groups):
        counted = []
        for unit, names in units(group, groups[group]).items():
            parts = [groups[group][name] for name in names]
            rows += [SummaryRow(group, *named) for named in zip(names, parts, strict=True)]
            counted.append(parts[0] if names == [unit] else _mean(parts, retrievers, metrics))
            if names != [unit]:
                rows.append(SummaryRow(group, f"mean of {unit} ({len(names)})", counted[-1]))
        rows.append(SummaryRow(group, "mean", _mean(counted, retrievers, metrics), is_mean=True))
    return rows


def _mean(
    cells: Sequence[Mapping[str, Mapping[str, float]]],
    retrievers: Sequence[str],
    metrics: Sequence[str],
) -> dict[str, dict[str, float]]:
    """Averages what has a metric, for the retrievers that are everywhere."""
    found: dict[str, dict[str, float]] = {}
    for name in retrievers:
        if not all(name in cell for cell in cells):
            continue
        found[name] = {}
        for metric in metrics:
            measured = [cell for cell in cells if _is_measured(cell, metric)]
            values = [cell[name][metric] for cell in measured]
            found[name][metric] = math.fsum(values) / len(values) if values else math.nan
    return found


def _is_measured(cell: Mapping[str, Mapping[str, float]], metric: str) -> bool:
    return any(not math.isnan(values[metric]) for values in cell.values())


def render_scores(table: pa.Table, baseline: str = BASELINE) -> Table:
    """Draws a table of scores for the terminal.

    One line for each benchmark, a section with its mean for each group, and two columns for each
    retriever. The means also show the difference to the baseline.
    """
    retrievers, metrics = retriever_names(table, baseline), metric_names(table)
    # Without rules between columns three retrievers fit a terminal of 80 characters.
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False)
    drawn.add_column("benchmark", min_width=16, overflow="fold")
    for retriever in retrievers:
        for metric in metrics:
            drawn.add_column(Text(f"{retriever}\n{metric}"), justify="right")
    for row in summary(table):
        cells = [
            _cell(row, retriever, metric, baseline)
            for retriever in retrievers
            for metric in metrics
        ]
        label = f"mean of {row.group}" if row.is_mean else row.benchmark
        drawn.add_row(
            Text(label), *cells, style="bold" if row.is_mean else "", end_section=row.is_mean
        )
    return drawn


def _cell(row: SummaryRow, retriever: str, metric: str, baseline: str) -> Text:
    value = row.means.get(retriever, {}).get(metric, math.nan)
    if not math.isfinite(value):
        return Text("-")
    difference = row.difference(retriever, metric, baseline)
    if not row.is_mean or retriever == baseline or not math.isfinite(difference):
        return Text(f"{value:.3f}")
    return Text(f"{value:.3f}\n{difference:+.3f}")
