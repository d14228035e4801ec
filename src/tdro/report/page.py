"""The HTML page of a run: one file that needs nothing else."""

import math
from pathlib import Path
from typing import Any

import pyarrow as pa

from tdro.evaluation.scores import (
    BASELINE,
    GROUPS,
    SummaryRow,
    metric_names,
    retriever_names,
    summary,
)
from tdro.files import write_text
from tdro.learning.diagnosis import Diagnosis, TaskDiagnosis, diagnose
from tdro.report import figures
from tdro.report.html import count, render_template, signed
from tdro.report.record import RunRecord, Sampling, load_run
from tdro.report.series import task_losses, weight_lines

REPORT_FILE = "report.html"
SMALL = 0.01
"""Differences of a metric below this are called noise."""

GROUP_WORDS = {"holdout": "held-out", "unseen": "unseen tasks'"}
"""How a sentence calls the benchmarks of a group, where its name alone would not do."""


def write_report(directory: Path) -> Path:
    """Writes ``report.html`` into a run directory, from whatever is there so far.

    The page is self-contained and shows figures, tables and the recipe. It loads nothing: its
    content security policy allows only the two scripts written here.

    Args:
        directory: The run directory.

    Returns:
        The path of the page.

    Raises:
        InputError: The directory is not a run directory, one of its files is broken, or plotly or
            jinja2 is not installed.
    """
    target = directory / REPORT_FILE
    write_text(target, render(load_run(directory)))
    return target


def render(record: RunRecord) -> str:
    """Returns the HTML page of a run."""
    return render_template("page.html.j2", _content(record))


def headline(record: RunRecord) -> list[str]:
    """Says in sentences what a reader wants to know first."""
    sentences = []
    if record.mixture:
        rows = sum(record.mixture.sizes.values())
        tasks = len(record.mixture.weights)
        start = "1 task" if tasks == 1 else f"{count(tasks)} tasks"
        sentences.append(f"{start} with {count(rows)} rows." if rows else f"{start}.")
    if record.scores is None or not record.scores.num_rows:
        return [*sentences, "No retriever has been scored yet."]
    metric = metric_names(record.scores)[0]
    means = [row for row in summary(record.scores) if row.is_mean]
    sentences += _winner(means[0], metric)
    sentences += [_elsewhere(row, means[0], metric) for row in means[1:]]
    return [sentence for sentence in sentences if sentence]


def _winner(row: SummaryRow, metric: str) -> list[str]:
    what = f"mean {metric} on the {_group_name(row.group)} benchmarks"
    values = _finite(row, metric)
    if not values:
        return [f"No retriever has been scored on all of the {_group_name(row.group)} benchmarks."]
    best = max(values, key=lambda name: values[name])
    start = f"“{best}” has the best {what}: {values[best]:.3f}"
    others = {name: value for name, value in values.items() if name != best}
    if not others:
        return [
            f"“{best}” has a {what} of {values[best]:.3f}; there is nothing to compare it with."
        ]
    if BASELINE not in values:
        return [f"{start}. There is no uniform retriever to compare it with."]
    rival = BASELINE if best != BASELINE else max(others, key=lambda name: others[name])
    difference = values[best] - values[rival]
    sentences = [f"{start}, {difference:.3f} above “{rival}”."]
    if difference < SMALL:
        sentences.append("One run; differences under 0.01 mean nothing.")
    return sentences


def _elsewhere(row: SummaryRow, first: SummaryRow, metric: str) -> str:
    """Says how the winner of the first group does in another group."""
    values = _finite(first, metric)
    best = max(values, key=lambda name: values[name]) if values else BASELINE
    difference = row.difference(best, metric)
    if best == BASELINE or not math.isfinite(difference):
        return ""
    return (
        f"On the {_group_name(row.group)} benchmarks “{best}” is at "
        f"{row.means[best][metric]:.3f}, {signed(difference)} against “{BASELINE}”."
    )


def _finite(row: SummaryRow, metric: str) -> dict[str, float]:
    return {
        name: values[metric] for name, values in row.means.items() if math.isfinite(values[metric])
    }


def _group_name(group: str) -> str:
    return GROUP_WORDS.get(group, group)


def _content(record: RunRecord) -> dict[str, Any]:
    """Returns the variables of the template; those of a section are None while it has no data."""
    drawn = {}
    lines = losses = diagnosis = None
    if record.mixture:
        drawn["mixture-figure"] = figures.mixture_figure(record.mixture)
    if record.trajectory is not None and record.trajectory.num_rows:
        lines, losses = weight_lines(record.trajectory), task_losses(record.trajectory)
        diagnosis = diagnose(record.trajectory, record.reference_by_task)
        drawn["trajectory-figure"] = figures.trajectory_figure(lines)
        drawn["loss-figure"] = figures.loss_figure(losses)
    return {
        "record": record,
        "headline": headline(record),
        "figures": drawn,
        "colors": figures.COLORS,
        "scores": _scores(record.scores),
        "mixture": _mixture_rows(record),
        "legend": [
            (task, *figures.line_style(place), lines.weights[task][-1])
            for place, task in enumerate(figures.highlighted(lines))
        ]
        if lines
        else None,
        "other_lines": len(lines.weights) - len(figures.highlighted(lines)) if lines else 0,
        "losses": losses,
        "diagnosis": diagnosis,
        # Those of learning stand beside its figures.
        "warnings": [
            text for text in record.warnings if diagnosis is None or text not in diagnosis.warnings
        ],
        "diagnosis_rows": _diagnosis_rows(record, diagnosis) if diagnosis else [],
        "sampling": _sampling_rows(record),
        "gaps": [(sampling.retriever, *_largest_gap(sampling)) for sampling in record.samplings],
        "totals": {
            fact: sum(
                value for stage in record.stages if isinstance(value := stage.facts.get(fact), int)
            )
            for fact in ("rows", "steps")
        },
        "baseline": BASELINE,
        "small": SMALL,
    }


def _scores(table: pa.Table | None) -> dict[str, Any] | None:
    if table is None or not table.num_rows:
        return None
    groups: dict[str, list[SummaryRow]] = {}
    for row in summary(table):
        groups.setdefault(row.group, []).append(row)
    return {
        "retrievers": retriever_names(table),
        "metrics": metric_names(table),
        "groups": [(name, GROUPS.get(name, ""), rows) for name, rows in groups.items()],
    }


def _mixture_rows(record: RunRecord) -> list[dict[str, Any]] | None:
    if record.mixture is None:
        return None
    weights, sizes = record.mixture.weights, record.mixture.sizes
    total = sum(sizes.values())
    return [
        {
            "task": task,
            "rows": sizes.get(task),
            "share": sizes[task] / total if total and task in sizes else None,
            "weights": [record.mixtures[name].weights.get(task) for name in record.mixture_names],
            "times_uniform": weights[task] * len(weights),
        }
        for task in sorted(weights, key=lambda task: _falling(weights[task]))
    ]


def _diagnosis_rows(
    record: RunRecord, diagnosis: Diagnosis
) -> list[tuple[TaskDiagnosis, dict[str, Any]]]:
    """Returns what is known of each task, and its line of ``reference_by_task``."""
    table = record.reference_by_task
    reference = {line["task"]: line for line in table.to_pylist()} if table is not None else {}
    known = record.mixture.weights if record.mixture else {}
    tasks = sorted(diagnosis.tasks, key=lambda line: _falling(known.get(line.task, line.weight)))
    return [(line, reference.get(line.task, {})) for line in tasks]


def _sampling_rows(record: RunRecord) -> list[tuple[str, list[tuple[float | None, float | None]]]]:
    """Returns requested and realised share of each task, a pair for each retriever."""
    tasks = dict.fromkeys(task for sampling in record.samplings for task in sampling.weights)
    if record.mixture:
        known = record.mixture.weights
        tasks = dict.fromkeys(sorted(tasks, key=lambda task: _falling(known.get(task, 0.0))))
    return [(task, [_shares(sampling, task) for sampling in record.samplings]) for task in tasks]


def _shares(sampling: Sampling, task: str) -> tuple[float | None, float | None]:
    total = sum(sampling.batches.values())
    if task not in sampling.weights or not total:
        return sampling.weights.get(task), None
    return sampling.weights[task], sampling.batches[task] / total


def _largest_gap(sampling: Sampling) -> tuple[int, float]:
    """Returns the number of batches and the largest distance, in batches, from the request."""
    total = sum(sampling.batches.values())
    gaps = [
        abs(sampling.batches[task] - weight * total) for task, weight in sampling.weights.items()
    ]
    return total, max(gaps, default=0.0)


def _falling(value: float) -> float:
    return -value if math.isfinite(value) else math.inf
