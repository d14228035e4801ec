"""A command for ms-swift, which takes a number of rows of each dataset."""

import shlex

from tdro.exports.rows_script import FOLDER, NAME, rows_script
from tdro.exports.text import comment, origin, too_light
from tdro.exports.value import Export, Rendered
from tdro.files import file_name

_USAGE = [
    f"Usage: python {NAME}, then: sh train.sh --model MODEL, and any other argument of ms-swift.",
    "ms-swift repeats the rows of a task that has fewer than are asked for.",
]

_START = """\
set -eu
here=$(cd "$(dirname "$0")" && pwd)
exec swift sft \\
    --task_type embedding \\
    --loss_type infonce \\
    --dataset \\
"""


def render(export: Export) -> Rendered:
    """Writes the script that lays the rows out, and the command."""
    counts = export.rows()
    kept = {name: count for name, count in counts.items() if count > 0}
    told = [*origin(export), *too_light(counts), *_USAGE, *_streaming(export, kept)]
    datasets = "".join(
        f'    "$here"/{shlex.quote(f"{FOLDER}/{file_name(name)}.jsonl#{count}")} \\\n'
        for name, count in kept.items()
    )
    return Rendered(
        {
            NAME: rows_script(export, dict.fromkeys(kept), "ms-swift"),
            "train.sh": f'#!/bin/sh\n{comment(told)}{_START}{datasets}    "$@"\n',
        }
    )


def _streaming(export: Export, kept: dict[str, int]) -> list[str]:
    weights = " ".join(repr(share.weight) for share in export.shares if share.name in kept)
    return [
        "With --streaming true no row is repeated: take the counts away and add",
        f"--stopping_strategy all_exhausted --interleave_prob {weights}",
    ]
