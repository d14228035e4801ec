"""A training script for sentence-transformers."""

from tdro.exports.rows_script import FOLDER, NAME, rows_script
from tdro.exports.text import comment, literal, origin
from tdro.exports.value import Export, Rendered
from tdro.files import file_name

_SCRIPT = """\
import sys
from glob import escape
from pathlib import Path

from datasets import DatasetDict, load_dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from tdro import Mixture

"""

_TRAINING = """
model = SentenceTransformer(sys.argv[1])
folder = Path(__file__).parent / {folder!r}
data = DatasetDict(
    {{
        name: load_dataset("json", data_files=escape(str(folder / file)), split="train")
        for name, file in FILES.items()
    }}
)
arguments = SentenceTransformerTrainingArguments(
    output_dir="trained",
    num_train_epochs=1,
    per_device_train_batch_size=32,
    batch_sampler="no_duplicates",
    # Every batch holds one task, and each task gets its weight's share of the batches.
    multi_dataset_batch_sampler=Mixture.load(MIXTURE).batch_sampler(data),
)
SentenceTransformerTrainer(
    model=model, args=arguments, train_dataset=data, loss=MultipleNegativesRankingLoss(model)
).train()
model.save("trained/model")
"""


def render(export: Export) -> Rendered:
    """Writes the script that lays the rows out, and the one that trains by the mixture file."""
    names = [share.name for share in export.shares]
    files = {name: f"{file_name(name)}.jsonl" for name in names}
    told = [*origin(export), f"Usage: python {NAME}, then: python train.py MODEL"]
    train = (
        f"{comment(told)}{_SCRIPT}MIXTURE = {str(export.mixture)!r}\n"
        f"FILES = {literal(files)}\n{_TRAINING.format(folder=FOLDER)}"
    )
    rows = rows_script(export, dict.fromkeys(names), "sentence-transformers")
    return Rendered({NAME: rows, "train.py": train})
