"""A step of learning a mixture against the plain form of it.

The plain form is that of the paper's code: the reference runs inside the loop without gradients,
then the proxy forward and backward, queries padded to their longest and passages to theirs, a
text as often as it is shown. Ours is what a run does: reference losses of all rows once
(`score_plan`), then the steps of `MixtureTrainer`. Both sides have the same rows (real ones, by a
plan), the same model, threads and optimizer step (fused AdamW), and both read and tokenise.

A run of a side is a window of steps, so that a text shown twice and sorting by length count as
they do in a run. Goals: ours is 0.5 of the plain form's time or less with the reference pass
counted, 0.35 or less when the reference losses are there already.

Usage: python benchmarks/speed/step.py DATA MODEL [--layers N] [--json FILE], where DATA is a folder
with tasks.json and tasks/*.jsonl.gz and MODEL a GGUF file or a folder (`make demo` fetches both).
Without --layers a random decoder of 4 million parameters is used with MODEL's tokenizer.
"""

import argparse
import copy
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from timing import arguments, interleaved, ratios, report, shown, spread
from workload import (
    Workload,
    agreement,
    encoder,
    optimizer_of,
    plain_rows,
    random_decoder,
    score,
    trainer_of,
    workload,
)

GOALS = {"reference counted": 0.5, "reference reused": 0.35}


def parsed() -> argparse.Namespace:
    """Reads the command line."""
    parser = arguments(__doc__, runs=5)
    parser.add_argument("data", type=Path, help="folder with tasks.json and tasks/*.jsonl.gz")
    parser.add_argument("model", help="GGUF file or folder of a pretrained model")
    parser.add_argument("--layers", type=int, help="first layers of MODEL, not a random decoder")
    parser.add_argument("--rows", type=int, help="first rows of each task only")
    parser.add_argument("--batch-size", type=int, default=32, help="rows of a step, 32 if absent")
    parser.add_argument("--window", type=int, default=4, help="steps of a run, 4 if absent")
    return parser.parse_args()


class Plain:
    """The plain form: both models in the loop, everything padded."""

    def __init__(self, reference: torch.nn.Module, work: Workload) -> None:
        self.reference, self.work = reference, work
        self.proxy = copy.deepcopy(reference).train()
        self.optimizer = optimizer_of(self.proxy)

    def step(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Does one step; returns the proxy's and the reference's row losses."""
        rows = plain_rows(self.reference, self.work, self.work.places(number))
        with torch.no_grad():
            expected = rows.losses(self.reference)
        losses = rows.losses(self.proxy)
        losses.mean().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return losses.detach().numpy(), expected.numpy()


class Ours:
    """What a run does, in two parts."""

    def __init__(self, reference: torch.nn.Module, work: Workload, folder: Path) -> None:
        self.reference, self.work, self.folder = reference, work, folder
        self.proxy = copy.deepcopy(reference)
        self.optimizer = optimizer_of(self.proxy)
        nothing = np.ones(len(work.plan.task_of))
        self.trainer = trainer_of(self.proxy, work, nothing, folder)

    def score(self) -> np.ndarray:
        """Scores the rows of the whole window with the reference."""
        everything = np.arange(len(self.work.plan.task_of))
        return score(self.reference, self.work, everything, self.folder / "losses")

    def step(self, number: int) -> np.ndarray:
        """Does one step; returns the proxy's row losses."""
        places = [{"place": place} for place in self.work.places(number)]
        self.trainer.training_step(self.proxy, self.trainer.data_collator(places))
        self.optimizer.step()
        self.optimizer.zero_grad()
        return self.trainer.learned.record.micro_batches[-1].proxy


def compare(options: argparse.Namespace, folder: Path) -> tuple[dict[str, list[float]], float]:
    """Times both sides and checks that their losses agree at the first step."""
    window, batch = options.window, options.batch_size
    work = workload(
        options.data, folder / "tasks", rows=options.rows, steps=window, batch_size=batch
    )
    if options.layers:
        reference = encoder(options.model, options.layers)
    else:
        reference = random_decoder(options.model, folder / "random")
    reference.eval()
    plain, ours = Plain(reference, work), Ours(reference, work, folder)
    proxy_losses, reference_losses = plain.step(0)
    difference = max(
        agreement(ours.step(0), proxy_losses), agreement(ours.score()[:batch], reference_losses)
    )
    sides = {
        "plain step": in_window(plain.step, window),
        "our step": in_window(ours.step, window),
        "reference pass": ours.score,
    }
    seconds = interleaved(sides, options.runs, warmup=0)
    return {name: [run / window for run in runs] for name, runs in seconds.items()}, difference


def in_window(step: Callable[[int], object], window: int) -> Callable[[], None]:
    """Returns a run of as many steps as the window has."""

    def run() -> None:
        for number in range(window):
            step(number)

    return run


def main() -> None:
    """Measures and reports."""
    options = parsed()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        seconds, difference = compare(options, Path(folder))
    pairs = zip(seconds["our step"], seconds["reference pass"], strict=True)
    counted = [step + scored for step, scored in pairs]
    found = {
        "reference counted": ratios(counted, seconds["plain step"]),
        "reference reused": ratios(seconds["our step"], seconds["plain step"]),
    }
    lines = [(f"{name}, a step", shown(spread(runs), " s")) for name, runs in seconds.items()]
    lines += [
        (f"ours / plain, {name} (goal {GOALS[name]})", shown(figures))
        for name, figures in found.items()
    ]
    lines.append(("largest difference of a row loss", f"{difference:.1e} nats"))
    content = {"seconds": seconds, "ratios": found, "goals": GOALS, "difference": difference}
    model = f"{options.layers} layers" if options.layers else "random decoder"
    report(f"A step of {options.batch_size} rows, {model}", lines, content, options.json)


if __name__ == "__main__":
    main()
