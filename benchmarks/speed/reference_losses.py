"""Reference losses of planned rows: `score_plan` against encoding row by row of the plan.

The plain form takes the batches of the plan in turn and encodes every text of their rows as often
as it is shown, padded to the longest, without gradients. `score_plan` embeds each text once a
window, sorted by length. Compared are rows a second; the plain form, whose time does not depend on
how many batches there are, is timed on the first few. Goal: ours scores twice as many or more.

Usage: python benchmarks/speed/reference_losses.py DATA MODEL [--layers N] [--json FILE], where DATA
is a folder with tasks.json and tasks/*.jsonl.gz and MODEL a GGUF file or a folder (`make demo`
fetches both).
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from timing import arguments, interleaved, ratios, report, shown, spread
from workload import Workload, agreement, encoder, plain_rows, score, workload

GOAL = 2.0


def parsed() -> argparse.Namespace:
    """Reads the command line."""
    parser = arguments(__doc__, runs=5)
    parser.add_argument("data", type=Path, help="folder with tasks.json and tasks/*.jsonl.gz")
    parser.add_argument("model", help="GGUF file or folder of a pretrained model")
    parser.add_argument("--layers", type=int, default=2, help="first layers of MODEL, 2 if absent")
    parser.add_argument("--rows", type=int, help="first rows of each task only")
    parser.add_argument("--batch-size", type=int, default=32, help="rows of a step, 32 if absent")
    parser.add_argument("--steps", type=int, default=16, help="steps of the plan, 16 if absent")
    parser.add_argument("--plain-steps", type=int, default=1, help="of them by the plain form")
    return parser.parse_args()


def plain(model: SentenceTransformer, work: Workload, steps: int) -> np.ndarray:
    """Scores the rows of the first steps in the plain form."""
    with torch.inference_mode():
        batches = [
            plain_rows(model, work, work.places(step)).losses(model) for step in range(steps)
        ]
    return torch.cat(batches).numpy()


def compare(options: argparse.Namespace, folder: Path) -> tuple[dict[str, list[float]], float]:
    """Returns the rows a second of both sides, and how far their losses are apart."""
    work = workload(
        options.data,
        folder / "tasks",
        rows=options.rows,
        steps=options.steps,
        batch_size=options.batch_size,
    )
    model = encoder(options.model, options.layers).eval()
    everything = np.arange(len(work.plan.task_of))
    wanted = plain(model, work, options.plain_steps)
    found = score(model, work, everything, folder / "losses")
    difference = agreement(found[: len(wanted)], wanted)
    sides = {
        "plain": lambda: plain(model, work, options.plain_steps),
        "score_plan": lambda: score(model, work, everything, folder / "losses"),
    }
    seconds = interleaved(sides, options.runs, warmup=0)
    rows = {"plain": len(wanted), "score_plan": len(everything)}
    rates = {name: [rows[name] / run for run in runs] for name, runs in seconds.items()}
    return rates, difference


def main() -> None:
    """Measures and reports."""
    options = parsed()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        rates, difference = compare(options, Path(folder))
    ratio = ratios(rates["score_plan"], rates["plain"])
    lines = [(name, shown(spread(runs), " rows/s")) for name, runs in rates.items()]
    lines.append((f"score_plan / plain (goal {GOAL})", shown(ratio)))
    lines.append(("largest difference of a row loss", f"{difference:.1e} nats"))
    content = {"rows_per_second": rates, "ratio": ratio, "goal": GOAL, "difference": difference}
    rows = options.steps * options.batch_size
    report(f"Reference losses, {rows} rows, {options.layers} layers", lines, content, options.json)


if __name__ == "__main__":
    main()
