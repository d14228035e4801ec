"""Reference losses: how hard each planned row is for the reference, computed once."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from tdro.encoder import TokenBatch, autocast
from tdro.plan import Plan
from tdro.progress import Tick
from tdro.row_loss import row_losses
from tdro.tasks.task import Task

LOSSES_FILE = "losses.parquet"
_WINDOW = 512


def score_plan(
    model: SentenceTransformer,
    plan: Plan,
    tasks: Sequence[Task],
    directory: Path,
    *,
    temperature: float,
    chunk_tokens: int,
    precision: str,
    tick: Tick,
) -> None:
    """Writes the reference loss of every planned row to ``directory/losses.parquet``.

    Rows are scored task by task, so that a passage shown to many queries is embedded once a
    window. Each finished window is kept as a file of its own: a killed call goes on from there.

    Args:
        model: The reference.
        plan: What to score.
        tasks: The tasks, in the order of the plan.
        directory: An existing directory.
        temperature: Divisor of the cosine similarities.
        chunk_tokens: Bounds memory (see ``row_losses``).
        precision: See ``EncoderSettings``.
        tick: Called with rows done, rows in all and the window's mean loss.
    """
    model.eval()
    order = np.lexsort((plan.row_of, plan.task_of))
    starts = range(0, len(order), _WINDOW)
    for start in starts:
        part = directory / f"window-{start:012d}.parquet"
        if part.is_file():
            continue
        places = order[start : start + _WINDOW]
        with torch.inference_mode(), autocast(model, precision):
            losses = _window_losses(model, plan, tasks, places, temperature, chunk_tokens)
        unfinished = part.with_suffix(".partial")
        pq.write_table(pa.table({"place": places, "loss": losses}), unfinished)
        unfinished.replace(part)
        tick(min(start + _WINDOW, len(order)), len(order), float(losses.mean()))
    parts = sorted(directory.glob("window-*.parquet"))
    table = pa.concat_tables([pq.read_table(part) for part in parts]).sort_by("place")
    pq.write_table(table.select(["loss"]), directory / LOSSES_FILE)
    for part in parts:
        part.unlink()


def _window_losses(
    model: SentenceTransformer,
    plan: Plan,
    tasks: Sequence[Task],
    places: NDArray[np.int64],
    temperature: float,
    chunk_tokens: int,
) -> NDArray[np.float32]:
    shown = plan.texts(tasks, places)
    tokens = TokenBatch(model, shown.queries, shown.passages)
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
