"""Training: batches by a mixture against sentence-transformers' own sampler.

Trains the same model on the same rows, texts and loss with its trainer, once with batches dealt by
a mixture and texts read from memory-mapped tasks, as ``tdro.training`` does, and once with texts in
a plain dataset and the trainer's own PROPORTIONAL batch sampler. Goals: at most 1.02 times its time
a step, and under 2 % of a step in the input pipeline (the next batch: rows, texts, tokens). The
median step of a run counts: all steps have the same number of rows.
"""

import contextlib
import io
import itertools
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, DatasetDict
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from timing import arguments, interleaved, ratios, report, shown, spread
from transformers import PrinterCallback

from tdro.encoder import build_encoder
from tdro.mixture import Mixture
from tdro.sampling import BlockBatchSampler
from tdro.settings import EncoderSettings, TrainingSettings
from tdro.tasks.prepare import prepare_task
from tdro.tasks.sources import find_sources
from tdro.tasks.task import Task
from tdro.tasks.training import hold_out
from tdro.training import drawn_rows, float32_cosine, quiet_libraries

SIDES = ("tdro", "sentence-transformers")


def main() -> None:
    """Prepares rows, trains with both in turn and prints the figures."""
    parser = arguments(__doc__, runs=5)
    parser.add_argument("data", type=Path, help="a folder of tasks")
    parser.add_argument("model", help="a GGUF file or a folder of a model")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=12, help="steps of a run")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--tasks", type=int, default=4, help="how many of the tasks are read")
    parser.add_argument("--rows", type=int, default=1000, help="rows of a task at most")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    quiet_libraries()
    encoder = EncoderSettings(
        name_or_path=options.model, layers=options.layers, max_query_length=32, precision="fp32"
    )
    found: dict[str, dict[str, list[float]]] = {side: {"step": [], "input": []} for side in SIDES}
    with tempfile.TemporaryDirectory() as temporary:
        model = build_encoder(encoder)
        lazy = rows_by_task(options, Path(temporary))
        plain = DatasetDict({name: as_plain(rows) for name, rows in lazy.items()})

        def run(side: str) -> None:
            ours = side == "tdro"
            times = train(model, lazy if ours else plain, options, Path(temporary), ours)
            for name, seconds in times.items():
                found[side][name].append(seconds)

        interleaved({side: lambda side=side: run(side) for side in SIDES}, options.runs)
    # The first run of each side was the warm-up.
    figures = {
        side: {name: runs[1:] for name, runs in each.items()} for side, each in found.items()
    }
    ratio = ratios(*(figures[side]["step"] for side in SIDES))
    shares = {side: ratios(figures[side]["input"], figures[side]["step"]) for side in SIDES}
    lines = [(f"{side}, seconds a step", shown(spread(figures[side]["step"]))) for side in SIDES]
    lines.append(("tdro over sentence-transformers (goal: 1.02)", shown(ratio)))
    lines += [(f"{side}, share of input (goal: 0.02)", shown(shares[side])) for side in SIDES]
    report("Training", lines, {"seconds": figures, "ratio": ratio, "share": shares}, options.json)


def rows_by_task(options: Any, folder: Path) -> DatasetDict:
    """Prepares tasks and draws as many batches of each as a run may ask for."""
    settings = TrainingSettings(batch_size=options.batch_size, negatives=1)
    rows = {}
    for source in find_sources(options.data)[: options.tasks]:
        place = folder / source.name
        place.mkdir()
        prepare_task(source, place, max_rows=options.rows)
        task = hold_out(Task.open(place), 0, seed=0)
        rows[source.name] = drawn_rows(task, options.steps, settings, 0)
    return DatasetDict(rows)


def as_plain(rows: Dataset) -> Dataset:
    """Returns the same rows as a dataset that holds its texts."""
    return Dataset.from_dict(rows[:])


def train(
    model: SentenceTransformer, data: DatasetDict, options: Any, folder: Path, ours: bool
) -> dict[str, float]:
    """Trains for a run's steps.

    Returns:
        Median seconds of a ``step`` and of its ``input``, the first step and the last batch, which
        comes with the end of the loader, left out.
    """
    settings = SentenceTransformerTrainingArguments(
        output_dir=str(folder / "trainer"),
        max_steps=options.steps,
        per_device_train_batch_size=options.batch_size,
        learning_rate=1e-6,
        use_cpu=True,
        dataloader_pin_memory=False,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    if ours:
        settings.batch_sampler = BlockBatchSampler
        mixture = Mixture.uniform(data)
        settings.multi_dataset_batch_sampler = mixture.batch_sampler(data, batches=options.steps)
    loss = MultipleNegativesRankingLoss(model, similarity_fct=float32_cosine)
    trainer = TimedTrainer(model=model, args=settings, train_dataset=data, loss=loss)
    trainer.remove_callback(PrinterCallback)
    with contextlib.redirect_stdout(io.StringIO()):
        trainer.train()
    return {
        "step": statistics.median(trainer.steps[1:]),
        "input": statistics.median(trainer.inputs[1:-1]),
    }


class TimedTrainer(SentenceTransformerTrainer):
    """Notes when each batch was asked for and how long it took to come."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.asked: list[float] = []
        self.inputs: list[float] = []

    @property
    def steps(self) -> list[float]:
        """Seconds from asking for one batch to asking for the next."""
        return [after - before for before, after in itertools.pairwise(self.asked)]

    def get_batch_samples(self, *options: Any, **more: Any) -> Any:
        """Fetches the batch of a step."""
        self.asked.append(time.perf_counter())
        found = super().get_batch_samples(*options, **more)
        self.inputs.append(time.perf_counter() - self.asked[-1])
        return found


if __name__ == "__main__":
    main()
