"""A folder of rows by quota and a command for FlagEmbedding, which knows no weights."""

from tdro.exports.rows_script import FOLDER, NAME, rows_script
from tdro.exports.text import comment, origin
from tdro.exports.value import Export, Rendered

_USAGE = [
    f"Usage: python {NAME}, then: sh train.sh KIND.base --model_name_or_path MODEL",
    "--output_dir FOLDER, and any other argument of FlagEmbedding; KIND is encoder_only or",
    "decoder_only. Instructions stand in the queries, so that none is added here.",
    "FlagEmbedding drops the incomplete last batch of each task.",
]

_COMMAND = f"""\
set -eu
here=$(cd "$(dirname "$0")" && pwd)
kind=$1
shift
exec torchrun --nproc-per-node "${{PROCESSES:-1}}" -m "FlagEmbedding.finetune.embedder.$kind" \\
    --train_data "$here/{FOLDER}" \\
    --same_dataset_within_batch True \\
    --query_instruction_for_retrieval '' \\
    "$@"
"""


def render(export: Export) -> Rendered:
    """Writes the script that lays the rows out, and the command."""
    rows = rows_script(export, dict(export.rows()), "flagembedding")
    told = comment([*origin(export), *_USAGE])
    return Rendered({NAME: rows, "train.sh": f"#!/bin/sh\n{told}{_COMMAND}"})
