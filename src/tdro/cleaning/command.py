"""What ``tdro tasks decontaminate`` shows when it is done."""

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tdro.cleaning.finder import KINDS

_MATCHES = ("equal", "near")


def render_report(report: Mapping[str, Any]) -> RenderableType:
    """Shows what was found, a line for each task and benchmark, and what is left in all.

    Args:
        report: The content of ``report.json``.
    """
    tasks: Mapping[str, Any] = report["tasks"]
    lines = []
    counts = {
        (task, one["benchmark"], one["kind"], one["match"]): one["count"]
        for task, found in tasks.items()
        for one in found["found"]
    }
    pairs = list(dict.fromkeys((task, benchmark) for task, benchmark, _, _ in counts))
    if pairs:
        lines.append(_table(pairs, counts))
    read = sum(found["rows_read"] for found in tasks.values())
    kept = sum(found["rows"] for found in tasks.values())
    removed = sum(sum(found["rows_removed"].values()) for found in tasks.values())
    passages = sum(sum(found["passages_removed"].values()) for found in tasks.values())
    dropped = read - kept - removed
    told = f"{kept:,} of {read:,} rows are left: {removed:,} removed for a benchmark"
    told += f", {dropped:,} dropped otherwise" if dropped else ""
    told += f"; {passages:,} passages taken out of rows that were looked through."
    return Group(*lines, Text(told))


def _table(pairs: list[tuple[str, str]], counts: Mapping[tuple[str, str, str, str], int]) -> Table:
    table = Table(
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        caption="Texts of the task that equal, or nearly equal, a query of the benchmark or a "
        "passage relevant to one. A text found in two benchmarks is counted at both.",
        caption_justify="left",
    )
    for title in ("task", "benchmark"):
        table.add_column(title, min_width=14, overflow="fold")
    for kind in ("query", "pos.", "neg."):
        for match in _MATCHES:
            table.add_column(f"{kind}\n{match}", justify="right", no_wrap=True)
    for task, benchmark in pairs:
        cells = [
            f"{counts.get((task, benchmark, kind, match), 0):,}"
            for kind in KINDS
            for match in _MATCHES
        ]
        table.add_row(Text(task), Text(benchmark), *cells)
    return table
