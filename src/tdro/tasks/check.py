"""Checking task files without preparing them, and showing what was found."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tdro.errors import InputError
from tdro.tasks.reading import find_sources
from tdro.tasks.scan import TaskReport, WordCounts, scan
from tdro.tasks.task import TaskSource


@dataclass(frozen=True)
class Checked:
    """What checking found in one task.

    Attributes:
        source: The task.
        report: What its file holds; None where it cannot be used at all.
        error: Why it cannot be used; empty where it can.
    """

    source: TaskSource
    report: TaskReport | None
    error: str = ""


def check(path: Path, *, strict: bool = False) -> list[Checked]:
    """Reads every task of a file or folder, without writing or mining anything.

    A file that cannot be used is reported and the others are still read.

    Args:
        path: As for :func:`~tdro.tasks.reading.find_sources`.
        strict: Raise at the first bad row or unusable file.

    Raises:
        InputError: There is no task under ``path``, or ``strict`` and something is wrong.
    """
    return [_check_one(source, strict) for source in find_sources(path)]


def _check_one(source: TaskSource, strict: bool) -> Checked:
    try:
        return Checked(source, scan(source, strict=strict).report)
    except InputError as error:
        if strict:
            raise
        return Checked(source, None, str(error))


def render_check(checked: list[Checked]) -> RenderableType:
    """Shows one line for each task, and below the table the dropped rows and unusable files."""
    table = Table()
    for title in ("task", "rows", "dropped", "merged", "query words", "passage words"):
        table.add_column(title, justify="left" if title in ("task", "dropped") else "right")
    table.add_column("with negatives", justify="right")
    table.add_column("shared positives", justify="right")
    for one in checked:
        if one.report is None:
            table.add_row(Text(one.source.name), Text("-"), Text("not usable, see below"))
        else:
            table.add_row(Text(one.source.name), *_cells(one.report))
    return Group(table, *(line for one in checked for line in _lines_below(one)))


def _cells(report: TaskReport) -> list[str]:
    reasons = ", ".join(f"{count} {reason}" for reason, count in report.dropped.items())
    return [
        str(report.rows),
        reasons or "0",
        str(report.merged),
        _words(report.query_words),
        _words(report.passage_words),
        str(report.negatives_given),
        str(report.shared_positives),
    ]


def _words(counts: WordCounts) -> str:
    return f"{counts.mean:.1f} / {counts.p95:.0f}"


def _lines_below(one: Checked) -> list[Text]:
    if one.report is None:
        return [Text(one.error)]
    lines = [Text(str(problem)) for problem in one.report.problems]
    hidden = sum(one.report.dropped.values()) - len(lines)
    return [*lines, Text(f"and {hidden} more in {one.source.path}")] if hidden else lines
