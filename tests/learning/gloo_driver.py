"""Learns mixtures as one of several processes; the first one writes what was learned.

Each process writes into how many chunks it cut its part of every micro-batch.

Usage: torchrun ... gloo_driver.py SPEC.json, with the keys tasks (prepared folders), model,
output, and runs: for each the settings, the precision and where to write in the output.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from sentence_transformers import SentenceTransformer

from tdro.learning import trainer as trainer_module
from tdro.learning.trainer import learn_weights, mixture_trainer
from tdro.plan import make_plan
from tdro.settings import LearningSettings
from tdro.tasks.task import Task
from tdro.tasks.training import hold_out


def main():
    spec = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(1)
    tasks = [hold_out(Task.open(Path(folder)), 0, seed=0) for folder in spec["tasks"]]
    plan = make_plan(tasks, steps=6, batch_size=8, negatives=2, seed=0)
    for name, double, options in spec["runs"]:
        proxy = SentenceTransformer(spec["model"], device="cpu")
        if double:
            proxy.double()
        place = Path(spec["output"]) / name
        place.mkdir(exist_ok=True)
        trainer = mixture_trainer(
            proxy,
            plan,
            [item.task for item in tasks],
            np.random.default_rng(0).uniform(0.5, 2, len(plan.task_of)),
            LearningSettings(**options),
            place,
            precision="fp32",
            tick=lambda *told: None,
        )
        cut, chunks_of = [], trainer_module.row_chunks

        def counted(*rows, chunks_of=chunks_of, cut=cut):
            chunks = list(chunks_of(*rows))
            cut.append(len(chunks))
            return chunks

        trainer_module.row_chunks = counted
        learned = learn_weights(trainer, place)
        trainer_module.row_chunks = chunks_of
        (place / f"chunks-{PartialState().process_index}").write_text(json.dumps(cut))
        if PartialState().is_main_process:
            learned.save(place)
            (place / "processes").write_text(str(PartialState().num_processes))


main()
