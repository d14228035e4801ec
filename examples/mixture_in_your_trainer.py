"""Train with a mixture in a plain sentence-transformers script; one argument is all it takes.

Usage: python mixture_in_your_trainer.py MODEL MIXTURE.json TASK.jsonl [TASK.jsonl ...]
Each task file has lines with "anchor" and "positive"; its name is the task's name.
"""

import sys
from pathlib import Path

from datasets import DatasetDict, load_dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from tdro import Mixture

model_name, mixture_file, *task_files = sys.argv[1:]
model = SentenceTransformer(model_name)
data = DatasetDict(
    {Path(file).stem: load_dataset("json", data_files=file, split="train") for file in task_files}
)
arguments = SentenceTransformerTrainingArguments(
    output_dir="trained",
    num_train_epochs=1,
    per_device_train_batch_size=8,
    batch_sampler="no_duplicates",
    multi_dataset_batch_sampler=Mixture.load(mixture_file).batch_sampler(data),  # <- this
)
SentenceTransformerTrainer(
    model=model, args=arguments, train_dataset=data, loss=MultipleNegativesRankingLoss(model)
).train()
model.save("trained/model")
