"""Held-out queries of a training task as a benchmark in the BEIR layout."""

from pathlib import Path

import numpy as np

from tdro.evaluation.benchmark import write_benchmark
from tdro.tasks.training import TrainingTask, task_seed, texts


def write_holdout(
    source: TrainingTask, directory: Path, *, passages: int, seed: int, group: str = "holdout"
) -> None:
    """Writes the held-out queries of a task over its own passages.

    The documents are every positive and hard negative of the held-out queries, filled up with
    other passages of the task. One that is a held-out query itself, and not its positive, has the
    query's id and is not found for it, as in Quora and ArguAna.

    Args:
        source: The task and its held-out rows.
        directory: Where to write the benchmark.
        passages: Documents at most, unless the judged ones alone are more.
        seed: Seed of the filling.
        group: Group of the benchmark.
    """
    task = source.task
    judged = [task.positives[int(row)] for row in source.held_out]
    wanted = np.unique(np.concatenate(judged))
    hard = np.concatenate([task.negatives[int(row)] for row in source.held_out])
    generator = np.random.default_rng(task_seed(seed, "holdout passages", task.name))
    others = np.setdiff1d(np.arange(len(task.passages)), np.concatenate([wanted, hard]))
    # Hard negatives first: a hold-out of random passages alone would be too easy to tell apart.
    queue = np.concatenate(
        [generator.permutation(np.setdiff1d(hard, wanted)), generator.permutation(others)]
    )
    documents = np.sort(np.concatenate([wanted, queue[: max(0, passages - len(wanted))]]))
    own = {int(task.own[row]): f"q{row}" for row in source.held_out}

    def identifier(number: int) -> str:
        return own.get(int(number), f"d{number}")

    write_benchmark(
        directory,
        name=task.name,
        instruction=task.instruction,
        group=group,
        queries=zip(
            (f"q{row}" for row in source.held_out),
            texts(task.queries, source.held_out),
            strict=True,
        ),
        documents=zip(map(identifier, documents), texts(task.passages, documents), strict=True),
        qrels=(
            (f"q{row}", identifier(number), 1)
            for row, numbers in zip(source.held_out, judged, strict=True)
            for number in numbers
        ),
        own_ids=own.keys().isdisjoint(documents.tolist()),
    )
