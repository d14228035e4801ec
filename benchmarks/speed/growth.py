"""Growth: time and memory of what is not the model, against the number of tasks and of rows.

Measures the quotas, the plan, the draws of a task, the batch sampler, the updates of a mixture,
their record on disk and the report, each in a process of its own: seconds of processor time, which
a busy machine leaves alone, and peak memory over what the process began with. The slope is that of
a line through log time against log size. Goal: nothing grows faster than linearly (slope at most
1.1). A measurement that takes longer than ``--patience`` seconds is not repeated.
"""

import json
import math
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from rich.console import Console
from rich.table import Table
from timing import LEAST_RUNS, arguments, machine
from torch.utils.data import BatchSampler, ConcatDataset, SequentialSampler

from tdro.draws import TaskDraws, distinct_batches, quota_sequence
from tdro.files import write_json
from tdro.learning.losses import RowLosses
from tdro.learning.method import method_of
from tdro.learning.record import RECORD_FILE, LossRecord
from tdro.learning.trajectory import Trajectory
from tdro.mixture import Mixture
from tdro.plan import Plan, make_plan
from tdro.report.page import write_report
from tdro.sampling import MixtureBatchSampler
from tdro.settings import LearningSettings
from tdro.tasks.mapped import PassageLists
from tdro.tasks.training import TrainingTask

FEW_TASKS = 100
FEW_ROWS = 100_000
BATCH = 32
STEP_ROWS = 256
NEGATIVES = 4

Work = Callable[[], Any]


def main() -> None:
    """Measures everything at every size and prints a table for tasks and one for rows."""
    parser = arguments(__doc__, runs=LEAST_RUNS, threads=1)
    parser.add_argument("--tasks", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--rows", type=int, nargs="+", default=[10**4, 10**5, 10**6, 10**7])
    parser.add_argument("--patience", type=float, default=20.0, help="seconds")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    options = parser.parse_args()
    if options.runs < LEAST_RUNS:
        raise SystemExit(f"--runs {options.runs}: at least {LEAST_RUNS} are needed.")
    torch.set_num_threads(options.threads)
    by_tasks = [(tasks, min(FEW_ROWS, max(options.rows))) for tasks in options.tasks]
    by_rows = [(min(FEW_TASKS, max(options.tasks)), rows) for rows in options.rows]
    content: dict[str, Any] = {}
    for title, sizes, axis in (("tasks", by_tasks, options.tasks), ("rows", by_rows, options.rows)):
        found = measured(options.only, sizes, options.runs, options.patience)
        content[title] = show(title, axis, found)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        figures = {"machine": machine(), "figures": content}
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def measured(
    names: list[str], sizes: list[tuple[int, int]], runs: int, patience: float
) -> dict[str, list[list[tuple[float, float]]]]:
    """Returns (seconds, bytes) of each run, by case and size; all sizes in turn, then again."""
    found: dict[str, list[list[tuple[float, float]]]] = {
        name: [[] for _ in sizes] for name in names
    }
    for _ in range(runs):
        for name in names:
            for place, size in enumerate(sizes):
                before = found[name][place]
                if not before or before[0][0] < patience:
                    before.append(apart(CASES[name], *size))
    return found


def apart(case: Callable[[int, int, Path], Work], tasks: int, rows: int) -> tuple[float, float]:
    """Runs one case in a fresh copy of this process.

    Returns:
        Seconds of processor time and bytes of peak memory added, its preparation not counted.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def child() -> None:
        with tempfile.TemporaryDirectory() as folder:
            work = case(tasks, rows, Path(folder))
            before = peak_bytes()
            start = time.process_time()
            kept = work()
            sender.send((time.process_time() - start, max(peak_bytes() - before, 1)))
            del kept

    process = context.Process(target=child)
    process.start()
    sender.close()
    told: tuple[float, float] = receiver.recv()
    process.join()
    return told


def peak_bytes() -> int:
    """Returns the largest resident memory of this process so far, in bytes (Linux)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def show(
    title: str, axis: list[int], found: dict[str, list[list[tuple[float, float]]]]
) -> dict[str, Any]:
    """Prints medians and slopes, and returns them with every figure."""
    table = Table(title=f"Seconds (and MB) by {title}")
    table.add_column("")
    for size in axis:
        table.add_column(f"{size:,}", justify="right")
    table.add_column("slope", justify="right")
    table.add_column("last slope", justify="right")
    told = {}
    for name, by_size in found.items():
        seconds = [statistics.median(run[0] for run in runs) for runs in by_size]
        memory = [statistics.median(run[1] for run in runs) for runs in by_size]
        cells = [f"{a:.3g} ({b / 1e6:.0f})" for a, b in zip(seconds, memory, strict=True)]
        slopes = [slope(axis, seconds), slope(axis[-2:], seconds[-2:])]
        table.add_row(name, *cells, *(f"{value:.2f}" for value in slopes))
        told[name] = {
            "sizes": axis,
            "seconds": [[run[0] for run in runs] for runs in by_size],
            "bytes": [[run[1] for run in runs] for runs in by_size],
            "slope": slopes[0],
            "last_slope": slopes[1],
            "memory_slope": slope(axis, memory),
        }
    Console(width=120).print(table)
    return told


def slope(sizes: list[int], values: list[float]) -> float:
    """Returns the slope of a line through log value against log size."""
    if len(set(sizes)) < 2:
        return math.nan
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def task_names(count: int) -> list[str]:
    """Returns names of tasks."""
    return [f"task {number}" for number in range(count)]


def weights(tasks: int) -> list[float]:
    """Returns uneven weights, no two equal."""
    return np.random.default_rng(0).dirichlet(np.ones(tasks)).tolist()


def training_tasks(count: int, rows: int) -> list[TrainingTask]:
    """Returns tasks of numbers without texts, each row with a positive and its negatives."""
    draw = np.random.default_rng(0)
    tasks = []
    for name in task_names(count):
        own = max(1, rows // count)
        others = draw.integers(own, own + 16, (own, NEGATIVES), dtype=np.int32)
        lists = {"positives": np.arange(own, dtype=np.int32)[:, None], "negatives": others}
        columns = {name: PassageLists(list_column(values)) for name, values in lists.items()}
        none = np.full(own, -1, dtype=np.int32)
        task: Any = SimpleNamespace(name=name, passages=range(own + 16), own=none, **columns)
        tasks.append(TrainingTask(task, np.arange(own), np.arange(0)))
    return tasks


def list_column(values: np.ndarray) -> pa.ChunkedArray:
    """Returns a column of integer lists as a prepared task has it on disk."""
    ends = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    return pa.chunked_array([pa.ListArray.from_arrays(ends, values.ravel())])


def quotas(tasks: int, rows: int, folder: Path) -> Work:
    """Deals a turn a row."""
    return lambda: quota_sequence(weights(tasks), rows)


def plan(tasks: int, rows: int, folder: Path) -> Work:
    """Plans as many rows as the tasks have."""
    sources = training_tasks(tasks, rows)
    return lambda: make_plan(
        sources, steps=rows // STEP_ROWS + 1, batch_size=STEP_ROWS, negatives=NEGATIVES, seed=0
    )


def plan_file(tasks: int, rows: int, folder: Path) -> Work:
    """Writes a plan and reads it."""
    draw = np.random.default_rng(0)
    made = Plan(
        tuple(task_names(tasks)),
        1,
        rows,
        0,
        draw.integers(0, tasks, rows),
        draw.integers(0, rows, rows),
        draw.integers(0, rows, (rows, 1 + NEGATIVES)),
    )

    def work() -> Plan:
        made.save(folder)
        return Plan.load(folder)

    return work


def draws(tasks: int, rows: int, folder: Path) -> Work:
    """Draws a pass over one task in batches."""
    [source] = training_tasks(1, rows)
    batches = distinct_batches(TaskDraws(source, NEGATIVES, 0), BATCH)
    return lambda: sum(len(rows) for rows, _ in islice(batches, rows // BATCH))


def sampler(tasks: int, rows: int, folder: Path) -> Work:
    """Runs through an epoch of the batch sampler."""
    data = [range(max(BATCH, rows // tasks))] * tasks
    inner = [BatchSampler(SequentialSampler(part), BATCH, drop_last=False) for part in data]
    dealt = MixtureBatchSampler(
        ConcatDataset(data),
        inner,
        names=task_names(tasks),
        weights=weights(tasks),
        batches=rows // BATCH,
    )
    return lambda: sum(map(len, dealt))


def steps(tasks: int, rows: int) -> Iterator[RowLosses]:
    """Yields the row losses of every step."""
    draw = np.random.default_rng(0)
    for _ in range(max(1, rows // STEP_ROWS)):
        proxy, reference = draw.gamma(2.0, size=(2, STEP_ROWS))
        yield RowLosses(proxy, reference, draw.integers(0, tasks, STEP_ROWS), tasks)


def learned(tasks: int, rows: int) -> tuple[Trajectory, LossRecord]:
    """Updates a mixture step by step, as the trainer does."""
    method = method_of(LearningSettings(), np.ones(tasks))
    trajectory = Trajectory.start(task_names(tasks))
    record = LossRecord(trajectory.tasks, 1)
    for step in steps(tasks, rows):
        trajectory = trajectory.advanced(method, [step], 0.99)
        record = record.extended([step])
    return trajectory, record


def updates(tasks: int, rows: int, folder: Path) -> Work:
    """Updates a mixture over all rows."""
    return lambda: learned(tasks, rows)


def records(tasks: int, rows: int, folder: Path) -> Work:
    """Writes what was learned, as at every checkpoint, and reads it."""
    trajectory, record = learned(tasks, rows)

    def work() -> Any:
        trajectory.save(folder)
        record.save(folder / RECORD_FILE)
        return Trajectory.load(folder), LossRecord.load(folder / RECORD_FILE)

    return work


def page(tasks: int, rows: int, folder: Path) -> Work:
    """Writes the report of a run."""
    trajectory, _ = learned(tasks, rows)
    (folder / "mixture").mkdir()
    trajectory.save(folder / "mixture")
    names = task_names(tasks)
    Mixture(dict(zip(names, weights(tasks), strict=True)), dict.fromkeys(names, rows)).save(
        folder / "mixture" / "ema.json"
    )
    (folder / "retrievers" / "learned").mkdir(parents=True)
    sampling = {"retriever": "learned", "tasks": names, "weights": weights(tasks)}
    sampling["batches"] = [1] * tasks
    write_json(folder / "retrievers" / "learned" / "sampling.json", sampling)
    return lambda: write_report(folder)


CASES: dict[str, Callable[[int, int, Path], Work]] = {
    "quotas": quotas,
    "plan": plan,
    "plan-file": plan_file,
    "draws": draws,
    "sampler": sampler,
    "updates": updates,
    "records": records,
    "report": page,
}


if __name__ == "__main__":
    main()
