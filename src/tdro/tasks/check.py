"""Checking task files without preparing them, and showing what was found."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tdro.errors import InputError
from tdro.tasks.layouts import Reason
from tdro.tasks.overlap import KeyCounter, Keys, keys_of, overlaps, shared_counts
from tdro.tasks.scan import TaskReport, WordCounts, scan
from tdro.tasks.sources import find_sources
from tdro.tasks.task import TaskSource

LEAST_OVERLAP = 0.01
"""Share of a task's texts in another from which it is told."""

_OVERLAPS_SHOWN = 20


@dataclass(frozen=True)
class Checked:
    """What checking found in one task.

    Attributes:
        source: The task.
        report: What its file holds; None where it cannot be used at all.
        error: Why it cannot be used; empty where it can.
        queries: Keys of its queries, by which other tasks with the same are told.
        positives: Keys of its positives.
    """

    source: TaskSource
    report: TaskReport | None
    error: str = ""
    queries: Keys = field(default_factory=lambda: keys_of(()), repr=False, compare=False)
    positives: Keys = field(default_factory=lambda: keys_of(()), repr=False, compare=False)


def check(path: Path, *, strict: bool = False) -> list[Checked]:
    """Reads every task of a file or folder, without writing or mining anything.

    A file that cannot be used is reported and the others are still read.

    Args:
        path: As for :func:`~tdro.tasks.sources.find_sources`.
        strict: Raise at the first bad row or unusable file.

    Raises:
        InputError: There is no task under ``path``, or ``strict`` and something is wrong.
    """
    return check_sources(find_sources(path), strict=strict)


def check_sources(
    sources: Sequence[TaskSource], *, max_rows: int | None = None, strict: bool = False
) -> list[Checked]:
    """As :func:`check`, for tasks that were found already, such as those of a recipe.

    ``max_rows`` is a limit on the rows of each task; a task's own limit holds too.
    """
    return [_check_one(source, max_rows, strict) for source in sources]


def _check_one(source: TaskSource, max_rows: int | None, strict: bool) -> Checked:
    keys = KeyCounter()
    try:
        report = scan(source, max_rows=max_rows, strict=strict, seen=keys.add).report
        return Checked(source, report, "", keys.queries, keys.positives)
    except InputError as error:
        if strict:
            raise
        return Checked(source, None, str(error))


def render_check(checked: list[Checked]) -> RenderableType:
    """Shows one line for each task, and below the table the dropped rows and unusable files."""
    table = Table(
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        caption="Words: mean / 95th percentile. Duplicates: rows merged into an earlier row with "
        "the same query. With neg.: rows that bring negatives. Shared pos.: rows whose positive "
        "answers another row too.",
        caption_justify="left",
    )
    table.add_column("task", min_width=14, overflow="fold")
    table.add_column("rows", justify="right", no_wrap=True)
    table.add_column("dropped", min_width=10)
    for title in ("dupli-\ncates", "query\nwords", "passage\nwords", "with\nneg.", "shared\npos."):
        table.add_column(title, justify="right", no_wrap=True)
    for one in checked:
        if one.report is None:
            table.add_row(Text(one.source.name), Text("-"), Text("not usable, see below"))
        else:
            table.add_row(Text(one.source.name), *_cells(one.report))
    below = [line for one in checked for line in _lines_below(one)]
    return Group(table, *below, *_overlap_lines(checked))


def _overlap_lines(checked: list[Checked]) -> list[Text]:
    """Says which tasks have texts of others, the most alike first."""
    used = [one for one in checked if one.report is not None]
    if len(used) < 2:
        return []
    names = [one.source.name for one in used]
    found = []
    for what, sets in (
        ("queries", [one.queries for one in used]),
        ("positives", [one.positives for one in used]),
    ):
        for one in overlaps(names, shared_counts(sets), LEAST_OVERLAP):
            told = (
                f"{one.task}: {one.share:.1%} of its {one.texts:,} {what} are in {one.other}, too"
            )
            found.append((-one.share, _whole(told)))
    found.sort(key=lambda item: item[0])
    lines = [line for _, line in found[:_OVERLAPS_SHOWN]]
    if len(found) > len(lines):
        lines.append(_whole(f"and {len(found) - len(lines)} more overlaps of tasks"))
    return lines


def _cells(report: TaskReport) -> list[str]:
    reasons = "\n".join(f"{count} {reason}" for reason, count in report.dropped.items())
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


def _whole(line: str) -> Text:
    """A line that is not broken, so that a terminal can find the file and line in it."""
    return Text(line, no_wrap=True, overflow="ignore")


def _lines_below(one: Checked) -> list[Text]:
    if one.report is None:
        return [_whole(one.error)]
    report = one.report
    lines = [_whole(str(problem)) for problem in report.problems]
    chosen = sum(count for reason, count in report.dropped.items() if Reason(reason).by_choice)
    hidden = sum(report.dropped.values()) - chosen - len(lines)
    if hidden:
        lines.append(_whole(f"and {hidden} more in {one.source.place}"))
    if report.over_limit:
        lines.append(_whole(f"{one.source.name}: {report.over_limit} rows over max_rows"))
    for reason, count in report.left_out.items():
        lines.append(_whole(f"{one.source.name}: {count} passages left out, {reason}"))
    return lines
