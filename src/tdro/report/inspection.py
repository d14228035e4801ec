"""The HTML page of ``tdro tasks inspect``: what one has to know of tasks to read a mixture."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from tdro.cleaning.difficulty import PASSAGES, QUERIES
from tdro.cleaning.inspection import (
    LANGUAGES_SAMPLED,
    LEAST_SHARE,
    LENGTHS_SAMPLED,
    Inspection,
    Look,
    inspect,
)
from tdro.errors import InputError, require
from tdro.files import make_folder, write_json, write_text
from tdro.progress import stage_progress
from tdro.report import figures
from tdro.report.html import count, render_template
from tdro.tasks.task import TaskSource

MOST_TASKS_DRAWN = 60
"""Tasks of the overlap matrix at most, those that overlap most."""

_MOST_PAIRS = 50
# Told before the tasks are read, not after.
_NEEDED = {"plotly": "run", "jinja2": "run", "bm25s": "run", "py3langid": "inspect"}
_INSIDE = 0.5
_LEAST_LANGUAGE = 0.05
_EASY, _HARD = 0.8, 0.2


def inspect_to(
    name: str,
    sources: Sequence[TaskSource],
    target: Path,
    as_json: Path | None,
    console: Console,
    *,
    max_rows: int | None = None,
    seed: int = 0,
) -> dict[str, str]:
    """Inspects tasks and writes the page, replacing an older one, at once.

    Args:
        name: What is inspected, for the heading.
        sources: The tasks.
        target: The page.
        as_json: Also gets what the page shows, as JSON.
        console: Where progress goes.
        max_rows: Rows of a task; a task's own limit holds too.
        seed: Seed of all samples.

    Returns:
        Why each task that cannot be used cannot, by its name; they are on the page.

    Raises:
        InputError: A file to write is a folder, no task can be used, or a package is not
            installed.
    """
    for path in filter(None, (target, as_json)):
        if path.is_dir():
            raise InputError(f"{path} is a folder: name a file to write.")
        make_folder(path.parent)
    for module, extra in _NEEDED.items():
        require(module, extra)
    with stage_progress(console, "tasks") as tick:
        found = inspect(sources, max_rows=max_rows, seed=seed, tick=tick)
    write_text(target, render(name, found))
    if as_json is not None:
        write_json(as_json, asdict(found))
    for error in found.unusable.values():
        console.print(error, highlight=False, markup=False, soft_wrap=True)
    for path in filter(None, (target, as_json)):
        console.print(str(path), highlight=False, markup=False, soft_wrap=True)
    return found.unusable


def render(name: str, inspection: Inspection) -> str:
    """Returns the HTML page."""
    return render_template("inspection.html.j2", _content(name, inspection))


def headline(inspection: Inspection) -> list[str]:
    """Says in sentences what a reader wants to know first."""
    looks = inspection.looks
    sizes = sorted(look.rows for look in looks)
    start = "1 task" if len(looks) == 1 else f"{count(len(looks))} tasks"
    sentences = [f"{start} with {count(sum(sizes))} rows."]
    if len(looks) > 1:
        sentences.append(
            f"The largest has {sizes[-1] / sizes[0]:,.0f} times the rows of the smallest: at equal "
            "weights each of its rows is drawn that much less often."
        )
    inside = [pair for pair in inspection.pairs if pair.queries >= _INSIDE]
    if inside:
        sentences.append(
            f"“{inside[0].task}” lies in “{inside[0].other}” by {inside[0].queries:.0%} of its "
            f"queries{_and_more(len(inside) - 1)}: the weights of such tasks cannot be told apart."
        )
    if inspection.unusable:
        sentences.append(f"{count(len(inspection.unusable))} of the tasks cannot be used.")
    return sentences


def _and_more(others: int) -> str:
    return f", and {count(others)} more pairs are like this" if others else ""


def _content(name: str, inspection: Inspection) -> dict[str, Any]:
    looks = inspection.looks
    drawn = {
        "query-lengths": figures.lengths_figure({look.name: look.query_words for look in looks}),
        "passage-lengths": figures.lengths_figure(
            {look.name: look.passage_words for look in looks}
        ),
    }
    matrix = _matrix(inspection)
    if matrix is not None:
        drawn["overlap"] = figures.overlap_figure(*matrix)
    total = sum(look.rows for look in looks)
    return {
        "name": name,
        "headline": headline(inspection),
        "lines": [(look, look.rows / total, _verdict(look)) for look in looks],
        "shown_languages": _shown,
        "pairs": inspection.pairs[:_MOST_PAIRS],
        "pairs_hidden": max(0, len(inspection.pairs) - _MOST_PAIRS),
        "in_matrix": len(matrix[0]) if matrix else 0,
        "unusable": inspection.unusable,
        "seed": inspection.seed,
        "sampled": {
            "lengths": LENGTHS_SAMPLED,
            "languages": LANGUAGES_SAMPLED,
            "queries": QUERIES,
            "passages": PASSAGES,
        },
        "least_share": LEAST_SHARE,
        "figures": drawn,
    }


def _verdict(look: Look) -> str:
    """Says in a word or two how far BM25 gets, so that the table can be read without colour."""
    if look.bm25.ndcg >= _EASY:
        return "words suffice"
    return "words fail" if look.bm25.ndcg <= _HARD else ""


def _shown(shares: Mapping[str, float]) -> str:
    """Writes the languages that are more than chance finds of an identifier."""
    large = [(name, share) for name, share in shares.items() if share >= _LEAST_LANGUAGE]
    rest = 1 - sum(share for _, share in large)
    told = [f"{name} {share:.0%}" for name, share in large]
    return ", ".join([*told, *([f"others {rest:.0%}"] if rest >= _LEAST_LANGUAGE else [])])


def _matrix(inspection: Inspection) -> tuple[Sequence[str], list[list[float]]] | None:
    """Returns the tasks to draw and their shares; None where no two tasks overlap."""
    names = [look.name for look in inspection.looks]
    if len(names) > MOST_TASKS_DRAWN:
        met = (name for pair in inspection.pairs for name in (pair.task, pair.other))
        most = set(list(dict.fromkeys(met))[:MOST_TASKS_DRAWN])
        names = [name for name in names if name in most]
    if not inspection.pairs:
        return None
    shares = {(pair.task, pair.other): pair.queries for pair in inspection.pairs}
    return names, [
        [1.0 if one == other else round(shares.get((one, other), 0.0), 4) for other in names]
        for one in names
    ]
