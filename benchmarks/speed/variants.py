"""Accelerations that are known to pay somewhere: what each does to a learning step here.

A step as `step.py` times it, read and tokenised, changed in one thing at a time: bfloat16 autocast,
`torch.compile` with dynamic shapes, AdamW not fused, frozen token embeddings; and beside them the
part of the step that a loader worker could do meanwhile (reading and tokenising). Ratios are to the
step as it is; under 1 is faster. Without g++ nothing is compiled, and that line is missing.

Usage: python benchmarks/speed/variants.py DATA MODEL [--layers N] [--json FILE], where DATA is a
folder with tasks.json and tasks/*.jsonl.gz and MODEL a GGUF file or a folder (`make demo` fetches
both).
"""

import argparse
import copy
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from timing import arguments, interleaved, ratios, report, shown, spread
from workload import Workload, encoder, optimizer_of, trainer_of, workload

AS_IS = "as it is"


def parsed() -> argparse.Namespace:
    """Reads the command line."""
    parser = arguments(__doc__, runs=5)
    parser.add_argument("data", type=Path, help="folder with tasks.json and tasks/*.jsonl.gz")
    parser.add_argument("model", help="GGUF file or folder of a pretrained model")
    parser.add_argument("--layers", type=int, default=2, help="first layers of MODEL, 2 if absent")
    parser.add_argument("--rows", type=int, help="first rows of each task only")
    parser.add_argument("--batch-size", type=int, default=32, help="rows of a step, 32 if absent")
    return parser.parse_args()


def step_of(
    base: SentenceTransformer,
    work: Workload,
    folder: Path,
    *,
    precision: str = "fp32",
    fused: bool = True,
    frozen: bool = False,
    compiled: bool = False,
) -> Callable[[], None]:
    """Returns a step of a proxy of its own."""
    proxy = copy.deepcopy(base)
    if frozen:
        proxy[0].auto_model.get_input_embeddings().requires_grad_(False)
    optimizer = optimizer_of(proxy, fused)
    nothing = np.ones(len(work.plan.task_of))
    trainer = trainer_of(proxy, work, nothing, folder, precision)
    if compiled:
        proxy[0].auto_model = torch.compile(proxy[0].auto_model, dynamic=True)
    places = [{"place": place} for place in work.places(0)]

    def step() -> None:
        trainer.training_step(proxy, trainer.data_collator(places))
        optimizer.step()
        optimizer.zero_grad()

    return step


def reading_of(base: SentenceTransformer, work: Workload, folder: Path) -> Callable[[], None]:
    """Returns what comes before a step: its rows read and tokenised."""
    trainer = trainer_of(copy.deepcopy(base), work, np.ones(len(work.plan.task_of)), folder)
    places = [{"place": place} for place in work.places(0)]
    return lambda: trainer.data_collator(places)


def main() -> None:
    """Measures and reports."""
    options = parsed()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        size = {"rows": options.rows, "steps": 1, "batch_size": options.batch_size}
        work = workload(options.data, folder / "tasks", **size)
        base = encoder(options.model, options.layers)
        sides = {
            AS_IS: step_of(base, work, folder / "1"),
            "bfloat16 autocast": step_of(base, work, folder / "2", precision="bf16"),
            "AdamW not fused": step_of(base, work, folder / "4", fused=False),
            "frozen embeddings": step_of(base, work, folder / "5", frozen=True),
            "reading alone": reading_of(base, work, folder / "6"),
        }
        if shutil.which("g++"):
            sides["torch.compile"] = step_of(base, work, folder / "3", compiled=True)
        seconds = interleaved(sides, options.runs, warmup=2)
    found = {name: ratios(runs, seconds[AS_IS]) for name, runs in seconds.items() if name != AS_IS}
    lines = [(f"{AS_IS}, seconds", shown(spread(seconds[AS_IS])))]
    lines += [(f"{name} / {AS_IS}", shown(figures)) for name, figures in found.items()]
    content = {"seconds": seconds, "ratios": found}
    report(f"A step of {options.batch_size} rows, changed", lines, content, options.json)


if __name__ == "__main__":
    main()
