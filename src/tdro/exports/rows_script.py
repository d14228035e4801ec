"""The script that writes the rows of an export, for targets that read a layout of their own."""

from collections.abc import Mapping

from tdro.exports.text import comment, literal, origin, too_light
from tdro.exports.value import Export

NAME = "rows.py"
FOLDER = "rows"


def rows_script(export: Export, rows: Mapping[str, int | None], layout: str) -> str:
    """Writes the script: which tasks, how many rows of each, in which layout.

    Args:
        export: What is exported.
        rows: Rows of each task; None for all of them.
        layout: As for :func:`~tdro.exports.rows.write_rows`.
    """
    counted = {name: count for name, count in rows.items() if count is not None}
    kept = {name: count for name, count in rows.items() if count != 0}
    told = [*origin(export), *too_light(counted), *_how_many(counted)]
    return (
        f"{comment(told)}from pathlib import Path\n\n"
        "from tdro.exports.rows import write_rows\n\n"
        f"DATA = Path({str(export.data)!r})\n"
        f"ROWS = {literal(kept)}\n\n"
        f"write_rows(DATA, ROWS, Path(__file__).parent / {FOLDER!r}, layout={layout!r}, seed=0)\n"
    )


def _how_many(counted: Mapping[str, int]) -> list[str]:
    if not counted:
        return ["Writes every row of each task once; None means all."]
    total = sum(counted.values())
    return [f"Writes {total} rows, shared out by weight; a task that has fewer repeats them."]
