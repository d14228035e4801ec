"""Large data: 1,000 tasks of 10,000 rows, from Parquet to the first batches of a training.

Makes the files, prepares them once (both kept in FOLDER and found again), and then, in a fresh
process each time, does what a run does before its first step: reads the recipe, opens every task,
plans the rows a mixture is learned on, draws those of a training. Then it reads batches as the
trainer gets them, tokenised. Tells seconds of each and memory over what importing torch takes: that
of the process alone, and with the pages of mapped files that the kernel drops when it needs room.
Goals: start within 30 s and 1.5 GiB.
"""

import argparse
import itertools
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console
from timing import arguments, report, shown, spread

from tdro.files import write_text
from tdro.settings import EncoderSettings

WORDS = 5000
QUERY, PASSAGE = 6, 12
NEGATIVES = 2
GOALS = "goals: 30 s, 1,536 MiB"


def main() -> None:
    """Makes the data, measures and prints a table."""
    parser = arguments(__doc__, runs=5, threads=1)
    parser.add_argument("model", type=Path, help="a GGUF file or a folder; its tokenizer reads")
    parser.add_argument("--folder", type=Path, default=Path("runs/large"))
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=10_000, help="of a task")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=2048)
    parser.add_argument("--read", type=int, default=20, help="batches to read")
    options = parser.parse_args()
    made = make(options)
    apart(build, options)
    prepared = apart(prepare, options)
    runs = [apart(begin, options) for _ in range(options.runs)]
    names = list(runs[0])
    found = {name: [run[name] for run in runs] for name in names}
    rows = options.tasks * options.rows
    lines = [(f"making {rows:,} rows, s", f"{made:.3g}" if made else "found")]
    lines += [(f"preparing, {name}", f"{value:.4g}") for name, value in prepared.items()]
    lines += [(name, shown(spread(values))) for name, values in found.items()]
    content = {"sizes": vars(options) | {"model": None, "folder": None, "json": None}}
    content |= {"preparing": prepared, "runs": found}
    report(f"{options.tasks:,} tasks, {rows:,} rows ({GOALS})", lines, content, options.json)


def make(options: argparse.Namespace) -> float | None:
    """Writes a Parquet file a task and the recipe; returns the seconds, None where it was done."""
    recipe = options.folder / "recipe.yaml"
    told = (
        "holdout: 20\n"
        "tasks: {folder: data}\n"
        f"model: {{name_or_path: {options.model.resolve()}, layers: 1}}\n"
        f"learning: {{steps: {options.steps}, batch_size: {options.batch_size}, negatives: 2}}\n"
        f"training: {{steps: {options.steps}, batch_size: {options.batch_size}}}\n"
    )
    data = options.folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    if len(list(data.glob("*.parquet"))) == options.tasks:
        write_text(recipe, told)
        return None
    start = time.perf_counter()
    vocabulary = pa.array([f"word{number}" for number in range(WORDS)])
    for number in range(options.tasks):
        pq.write_table(task_table(vocabulary, number, options.rows), data / f"t{number:04}.parquet")
    write_text(recipe, told)
    return time.perf_counter() - start


def task_table(vocabulary: pa.Array, task: int, rows: int) -> pa.Table:
    """Returns random rows of a task, no two queries or passages alike."""
    draw = np.random.default_rng(task)

    def texts(words: int, kind: str) -> pa.Array:
        marks = pa.array([f"{kind}{task}x{row}" for row in range(rows)])
        columns = [vocabulary.take(pa.array(draw.integers(WORDS, size=rows))) for _ in range(words)]
        return pc.binary_join_element_wise(marks, *columns, " ")

    columns = {"anchor": texts(QUERY, "q"), "positive": texts(PASSAGE, "p")}
    columns |= {f"negative_{n}": texts(PASSAGE, f"n{n}") for n in range(1, NEGATIVES + 1)}
    return pa.table(columns)


def apart(work: Any, options: argparse.Namespace) -> dict[str, float]:
    """Does something in a fresh process and returns what it measured."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        found: dict[str, float] = pool.apply(work, (options,))
    return found


def memory(kind: str) -> float:
    """Returns MiB that this process holds now: ``RssAnon``, or ``VmHWM`` at most so far."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return int(line.split()[1]) / 1024
    raise SystemExit(f"There is no {kind} in /proc/self/status.")


def opened(options: argparse.Namespace) -> Any:
    """Opens the tasks of the recipe as a run does, preparing what is not prepared."""
    from tdro.recipe_file import load_recipe
    from tdro.run.context import open_context
    from tdro.stages import RunDirectory

    recipe = load_recipe(options.folder / "recipe.yaml")
    with Path(os.devnull).open("w") as nowhere:
        console = Console(file=nowhere)
        return open_context(recipe, RunDirectory(options.folder / "run", console))


def build(options: argparse.Namespace) -> dict[str, float]:
    """Writes the first layer of the model, whose tokenizer reads."""
    from tdro.encoder import build_encoder
    from tdro.training import quiet_libraries

    quiet_libraries()
    model = build_encoder(EncoderSettings(name_or_path=str(options.model), layers=1))
    model.save(str(options.folder / "encoder"))
    return {}


def prepare(options: argparse.Namespace) -> dict[str, float]:
    """Prepares every task, where that is not done."""
    import torch  # noqa: F401

    before, start = memory("VmHWM"), time.perf_counter()
    opened(options)
    seconds = time.perf_counter() - start
    rows = options.tasks * options.rows
    return {
        "seconds": seconds,
        "rows a second": rows / seconds,
        "MiB at most": memory("VmHWM") - before,
    }


def begin(options: argparse.Namespace) -> dict[str, float]:
    """Does what comes before the first step of a learning and of a training."""
    import torch
    from datasets import DatasetDict
    from sentence_transformers import SentenceTransformer

    from tdro.draws import quota_sequence
    from tdro.mixture import Mixture
    from tdro.model_card import TaskCard
    from tdro.plan import make_plan
    from tdro.training import drawn_rows, quiet_libraries

    torch.set_num_threads(options.threads)
    quiet_libraries()
    # The model is no data: it is there before anything is measured.
    card = TaskCard(generate_widget_examples=False)
    model = SentenceTransformer(str(options.folder / "encoder"), model_card_data=card)
    anonymous, peak = memory("RssAnon"), memory("VmHWM")
    found: dict[str, float] = {}

    def timed(name: str, start: float) -> None:
        found[f"{name}, s"] = time.perf_counter() - start
        found[f"{name}, MiB"] = memory("RssAnon") - anonymous

    start = time.perf_counter()
    context = opened(options)
    timed("opening", start)
    start = time.perf_counter()
    recipe = context.recipe
    plan = make_plan(
        context.tasks,
        steps=options.steps,
        batch_size=options.batch_size,
        negatives=recipe.learning.negatives,
        seed=0,
    )
    timed("planning", start)
    del plan
    start = time.perf_counter()
    mixture = Mixture.proportional(context.sizes, 0.5)
    turns = quota_sequence(list(mixture.weights.values()), options.steps, 0)
    counts = np.bincount(turns, minlength=len(context.tasks)).tolist()
    data = DatasetDict(
        {
            task.name: drawn_rows(task, max(1, count), recipe.training, 0)
            for task, count in zip(context.tasks, counts, strict=True)
        }
    )
    timed("drawing", start)
    start = time.perf_counter()
    reader = loader(model, mixture, data, options)
    batches = iter(reader)
    next(batches)
    timed("trainer and first batch", start)
    start = time.perf_counter()
    numbers = list(itertools.islice(reader.batch_sampler, options.read))
    for batch in numbers:
        reader.dataset.__getitems__(batch)
    found["rows read a second"] = sum(map(len, numbers)) / (time.perf_counter() - start)
    start = time.perf_counter()
    texts = sum(len(batch["anchor_input_ids"]) for batch in itertools.islice(batches, options.read))
    found["rows read and tokenised a second"] = texts / (time.perf_counter() - start)
    parts = ("opening", "planning", "drawing", "trainer and first batch")
    found["start in all, s"] = sum(found[f"{part}, s"] for part in parts)
    found["at most with mapped pages, MiB"] = memory("VmHWM") - peak
    return found


def loader(model: Any, mixture: Any, data: Any, options: argparse.Namespace) -> Any:
    """Returns the loader of a trainer with our samplers."""
    from sentence_transformers import (
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    from tdro.sampling import BlockBatchSampler

    settings = SentenceTransformerTrainingArguments(
        output_dir=str(options.folder / "trainer"),
        max_steps=options.steps,
        per_device_train_batch_size=options.batch_size,
        use_cpu=True,
        dataloader_pin_memory=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        batch_sampler=BlockBatchSampler,
        multi_dataset_batch_sampler=mixture.batch_sampler(data, batches=options.steps),
    )
    trainer = SentenceTransformerTrainer(
        model=model, args=settings, train_dataset=data, loss=MultipleNegativesRankingLoss(model)
    )
    return trainer.get_train_dataloader()


if __name__ == "__main__":
    main()
