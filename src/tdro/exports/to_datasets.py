"""A script for the library datasets: one dataset whose rows are drawn by weight."""

from tdro.exports.text import check_path, comment, literal, origin, plain_file
from tdro.exports.value import Export, Rendered

_SCRIPT = """\
from glob import escape
from pathlib import Path

from datasets import interleave_datasets, load_dataset

SEED = 0
"""

_MIXING = """
parts = [
    load_dataset(kind, data_files=escape(str(DATA / file)), split="train").shuffle(seed=SEED)
    for kind, file, _ in TASKS.values()
]
# Ends when every row of every task was drawn; a task that runs out starts over.
mixed = interleave_datasets(
    parts,
    probabilities=[weight for _, _, weight in TASKS.values()],
    seed=SEED,
    stopping_strategy="all_exhausted",
)
print(mixed)
"""


def render(export: Export) -> Rendered:
    """Writes the script; the task files are read as they are and need one layout."""
    tasks: dict[str, object] = {}
    for share in export.shares:
        kind, file = plain_file(share)
        check_path(export.data / file)
        tasks[share.name] = (kind, file, share.weight)
    script = (
        f"{comment(origin(export))}{_SCRIPT}DATA = Path({str(export.data)!r})\n"
        f"TASKS = {literal(tasks)}\n{_MIXING}"
    )
    return Rendered({"mixed.py": script})
