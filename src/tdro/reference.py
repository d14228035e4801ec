"""Reference losses: how hard each planned row is for the reference, computed once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from tdro.counting import counted_tokens, tokens_of, with_tokens
from tdro.encoder import autocast
from tdro.files import BY_TASK_FILE, WINDOWS, write_table
from tdro.plan import Plan, make_plan
from tdro.processes import Processes
from tdro.progress import Tick
from tdro.row_loss import row_losses
from tdro.similarity import Encoder, tokenised
from tdro.tasks.task import Task
from tdro.tasks.training import TrainingTask

LOSSES_FILE = "losses.parquet"
HELD_OUT_ROWS = 32
# Rows that the reference scores together.
WINDOW = 512


@dataclass(frozen=True)
class Share:
    """A part of a plan and the reference that scores it.

    Attributes:
        model: The reference.
        places: Places of the rows in the plan, shape ``(rows,)``.
    """

    model: Encoder
    places: NDArray[np.int64]


def score_plan(
    shares: Sequence[Share],
    plan: Plan,
    tasks: Sequence[Task],
    directory: Path,
    *,
    temperature: float,
    chunk_tokens: int,
    precision: str,
    tick: Tick,
    processes: Processes | None = None,
) -> int:
    """Writes the reference loss of every planned row to ``directory/losses.parquet``.

    Rows are scored task by task, so that a passage shown to many queries is embedded once a
    window. Each finished window is kept as a file of its own: a killed call goes on from there, and
    several processes share the windows out.

    Args:
        shares: Which reference scores which rows; together all rows of the plan.
        plan: What to score.
        tasks: The tasks, in the order of the plan.
        directory: An existing directory. The windows stay there.
        temperature: Divisor of the similarities.
        chunk_tokens: Bounds memory (see ``row_losses``).
        precision: See ``EncoderSettings``.
        tick: Called with rows done, rows in all and the window's mean loss.
        processes: The processes that score together; the first puts the windows together.

    Returns:
        Tokens that went through the references, in the windows of killed calls too.
    """
    processes = processes or Processes()
    done, total, turn = 0, len(plan.task_of), 0
    for number, share in enumerate(shares):
        share.model.eval()
        within = np.lexsort((plan.row_of[share.places], plan.task_of[share.places]))
        order = share.places[within]
        for start in range(0, len(order), WINDOW):
            places = order[start : start + WINDOW]
            done += len(places)
            mine = turn % processes.count == processes.rank
            turn += 1
            part = directory / f"window-{number}-{start:012d}.parquet"
            if not mine or part.is_file():
                continue
            with (
                torch.inference_mode(),
                autocast(share.model, precision),
                counted_tokens(share.model) as count,
            ):
                losses = _window_losses(share.model, plan, tasks, places, temperature, chunk_tokens)
            unfinished = part.with_suffix(".partial")
            table = pa.table({"place": places, "loss": losses})
            pq.write_table(with_tokens(table, count.take()), unfinished)
            unfinished.replace(part)
            tick(done, total, float(losses.mean()))
    processes.wait()
    return processes.once(lambda: _put_together(directory))


def _put_together(directory: Path) -> int:
    """Puts the losses of all windows in the order of the plan, and returns their tokens."""
    windows = [pq.read_table(part) for part in sorted(directory.glob(f"{WINDOWS}.parquet"))]
    tokens = sum(tokens_of(window) for window in windows)
    if windows:
        bare = [window.replace_schema_metadata(None) for window in windows]
        losses = pa.concat_tables(bare).sort_by("place").select(["loss"])
        write_table(directory / LOSSES_FILE, with_tokens(losses, tokens))
    return tokens


def _window_losses(
    model: Encoder,
    plan: Plan,
    tasks: Sequence[Task],
    places: NDArray[np.int64],
    temperature: float,
    chunk_tokens: int,
) -> NDArray[np.float32]:
    shown = plan.texts(tasks, places)
    tokens = tokenised(model, shown.queries, shown.passages)
    passage_of = shown.passage_of + len(shown.queries)
    losses = row_losses(
        model,
        tokens,
        shown.query_of,
        passage_of,
        temperature=temperature,
        chunk_tokens=chunk_tokens,
    )
    return losses.cpu().numpy()


def load_losses(directory: Path) -> NDArray[np.float64]:
    """Reads the reference loss of every planned row, shape ``(steps * batch_size,)``."""
    losses: NDArray[np.float64] = pq.read_table(directory / LOSSES_FILE)["loss"].to_numpy()
    return losses.astype(np.float64)


def held_out_plan(tasks: Sequence[TrainingTask], negatives: int, seed: int) -> Plan:
    """Plans 32 rows a task out of those held out, to see how the reference does on unseen rows.

    Args:
        tasks: The tasks; one that holds nothing out gets no rows.
        negatives: Hard negatives to a row.
        seed: Seed of the schedule.
    """
    held = [number for number, task in enumerate(tasks) if len(task.held_out)]
    swapped = [replace(tasks[number], rows=tasks[number].held_out) for number in held]
    plan = make_plan(
        swapped,
        steps=1,
        batch_size=HELD_OUT_ROWS * len(held),
        negatives=negatives,
        seed=seed,
    )
    names = tuple(task.name for task in tasks)
    return replace(plan, tasks=names, task_of=np.array(held, dtype=np.int64)[plan.task_of])


def write_by_task(
    directory: Path,
    plan: Plan,
    trained: Sequence[NDArray[np.int64]],
    held: Plan,
    held_directory: Path | None,
) -> None:
    """Writes each task's mean loss on rows the reference was trained on and on others.

    Args:
        directory: Holds the losses of the plan; gets ``by_task.parquet`` with the columns
            ``task``, ``trained_on_rows``, ``trained_on_loss``, ``unseen_rows``, ``unseen_loss``
            (losses in nats, null without rows).
        plan: The plan.
        trained: Rows of each task the reference was trained on; empty when every row was scored
            by a reference that had not seen it.
        held: Plan of held-out rows.
        held_directory: Holds their losses; None when they were not scored.
    """
    losses = load_losses(directory)
    seen = np.zeros(len(losses), dtype=np.bool_)
    for number, rows in enumerate(trained):
        mine = plan.task_of == number
        seen[mine] = np.isin(plan.row_of[mine], rows)
    task_of = plan.task_of
    if held_directory is not None and len(held.task_of):
        losses = np.concatenate([losses, load_losses(held_directory)])
        task_of = np.concatenate([task_of, held.task_of])
        seen = np.concatenate([seen, np.zeros(len(held.task_of), dtype=np.bool_)])
    columns: dict[str, list[Any]] = {"task": list(plan.tasks)}
    for name, chosen in (("trained_on", seen), ("unseen", ~seen)):
        parts = [losses[chosen & (task_of == number)] for number in range(len(plan.tasks))]
        columns[f"{name}_rows"] = [len(part) for part in parts]
        columns[f"{name}_loss"] = [float(part.mean()) if len(part) else None for part in parts]
    types = {"task": pa.string(), "trained_on_loss": pa.float64(), "unseen_loss": pa.float64()}
    table = pa.table({key: pa.array(value, types.get(key)) for key, value in columns.items()})
    pq.write_table(table, directory / BY_TASK_FILE)
