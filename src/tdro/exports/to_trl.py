"""A configuration for TRL: the ``datasets`` of its ``DatasetMixtureConfig``."""

from tdro.exports.text import as_yaml, comment, origin, pattern, plain_file
from tdro.exports.value import Export, Rendered

_USAGE = [
    "Usage: trl sft --config mixture.yaml --model_name_or_path MODEL, with TRL 1.8 or later.",
    "TRL keeps the first rows of each file, as many as the fractions allow without a repeat.",
]


def render(export: Export) -> Rendered:
    """Writes the configuration; the task files are read as they are and need one layout."""
    datasets = [
        {
            "path": kind,
            "data_files": pattern(export.data / file),
            "split": "train",
            "fraction": share.weight,
        }
        for share in export.shares
        for kind, file in [plain_file(share)]
    ]
    text = as_yaml({"datasets": datasets})
    return Rendered({"mixture.yaml": comment([*origin(export), *_USAGE]) + text})
