"""A ``train_yaml`` for Tevatron, which knows no weights: rows by quota, a file a task."""

from tdro.exports.rows_script import FOLDER, NAME, rows_script
from tdro.exports.text import as_yaml, comment, origin, pattern
from tdro.exports.value import Export, Rendered
from tdro.files import file_name

_USAGE = [
    f"Usage: python {NAME}, then the arguments of your training and --train_yaml train.yaml, for",
    "tevatron.retriever.driver.train_mm or train_splade. The driver train has no such argument:",
    "give it --dataset_name json --dataset_path with the pattern",
]


def render(export: Export) -> Rendered:
    """Writes the script that lays the rows out, and the list of the files it writes."""
    rows = export.rows()
    kept = [name for name, count in rows.items() if count > 0]
    folder = export.folder / FOLDER
    config = {
        "train": [{"name": pattern(folder / f"{file_name(name)}.jsonl")} for name in kept],
        # The passages stand in the rows.
        "corpus": [{"name": None, "assets_path": None} for _ in kept],
    }
    text = as_yaml(config)
    told = [*origin(export), *_USAGE, f"{pattern(folder) + '/*.jsonl'!r}."]
    return Rendered(
        {NAME: rows_script(export, dict(rows), "tevatron"), "train.yaml": comment(told) + text}
    )
