"""How much of what the machine can do a learning step reaches.

A step (forward, backward, optimizer; rows tokenised before) counted in real tokens of distinct
texts, so that padding and whatever is done twice is lost, against nothing but the model's matrix
products: for each linear layer the product of forward and the two of backward, on as many tokens at
once, in the same run. FLOPs: 6 a token and parameter of the linear layers, and those of causal
attention. Goal: 60 % of the FLOP/s of the products alone. What takes the rest is in the ten
heaviest operators of a step.

Usage: python benchmarks/speed/limit.py DATA MODEL [--layers 2 6] [--json FILE], where DATA is a
folder with tasks.json and tasks/*.jsonl.gz and MODEL a GGUF file or a folder (`make demo` fetches
both).
"""

import argparse
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from timing import arguments, interleaved, ratios, report, shown, spread
from torch.profiler import ProfilerActivity, profile
from workload import Workload, encoder, optimizer_of, trainer_of, workload

GOAL = 0.6
HEAVIEST = 10
Shape = tuple[int, int]


def parsed() -> argparse.Namespace:
    """Reads the command line."""
    parser = arguments(__doc__, runs=5)
    parser.add_argument("data", type=Path, help="folder with tasks.json and tasks/*.jsonl.gz")
    parser.add_argument("model", help="GGUF file or folder of a pretrained model")
    parser.add_argument("--layers", type=int, nargs="+", default=[2, 6], help="2 and 6 if absent")
    parser.add_argument("--rows", type=int, help="first rows of each task only")
    parser.add_argument("--batch-size", type=int, default=32, help="rows of a step, 32 if absent")
    return parser.parse_args()


def linear_shapes(model: torch.nn.Module) -> Counter[Shape]:
    """Returns how often each shape of a linear layer's weight, (out, in), occurs."""
    linear = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    return Counter((layer.out_features, layer.in_features) for layer in linear)


def attention_flops(model: SentenceTransformer, lengths: np.ndarray) -> float:
    """Returns the FLOPs of causal attention, forward and twice that backward."""
    config = model[0].auto_model.config
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    width = head * config.num_attention_heads
    # Scores and weighted values, 2 FLOPs each, of half of the pairs.
    return 3.0 * config.num_hidden_layers * 2 * width * float((lengths**2).sum())


def products(shape: Shape, tokens: int) -> Callable[[], Any]:
    """Returns the three matrix products of one linear layer."""
    out, into = shape
    weight, inputs, gradient = (
        torch.randn(size) for size in (shape, (tokens, into), (tokens, out))
    )

    def run() -> None:
        torch.mm(inputs, weight.T)
        torch.mm(gradient, weight)
        torch.mm(gradient.T, inputs)

    return run


def learning_step(
    model: SentenceTransformer, work: Workload, folder: Path
) -> tuple[Callable[[], Any], np.ndarray]:
    """Returns a step of the product's trainer on rows read before, and their texts' lengths."""
    trainer = trainer_of(model, work, np.ones(len(work.plan.task_of)), folder)
    inputs = trainer.data_collator([{"place": place} for place in work.places(0)])
    optimizer = optimizer_of(model)

    def run() -> None:
        trainer.training_step(model, inputs)
        optimizer.step()
        optimizer.zero_grad()

    return run, inputs["rows"].tokens.lengths


def heaviest(run: Callable[[], Any]) -> list[tuple[str, float, int]]:
    """Returns name, share of the time and calls of the operators that take most of one step."""
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        run()
    events = sorted(recorded.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    return [
        (event.key, event.self_cpu_time_total / total, event.count) for event in events[:HEAVIEST]
    ]


def measure(
    options: argparse.Namespace, layers: int, work: Workload, folder: Path
) -> dict[str, Any]:
    """Returns the figures of a model of so many layers."""
    model = encoder(options.model, layers)
    run, lengths = learning_step(model, work, folder)
    tokens, shapes = int(lengths.sum()), linear_shapes(model)
    sides = {"step": run} | {str(shape): products(shape, tokens) for shape in shapes}
    seconds = interleaved(sides, options.runs)
    alone = [
        sum(count * seconds[str(shape)][number] for shape, count in shapes.items())
        for number in range(options.runs)
    ]
    linear = 6.0 * tokens * sum(out * into * count for (out, into), count in shapes.items())
    flops = linear + attention_flops(model, lengths)
    ours = [flops / one for one in seconds["step"]]
    reachable = [linear / one for one in alone]
    return {
        "tokens_per_second": spread([tokens / one for one in seconds["step"]]),
        "step_gflops": spread([one / 1e9 for one in ours]),
        "matmul_gflops": spread([one / 1e9 for one in reachable]),
        "share": ratios(ours, reachable),
        "heaviest": heaviest(run),
    }


def lines_of(figures: dict[str, Any]) -> list[tuple[str, str]]:
    """Returns the lines of the table."""
    lines = [
        ("real tokens", shown(figures["tokens_per_second"], " tokens/s")),
        ("learning step", shown(figures["step_gflops"], " GFLOP/s")),
        ("its matrix products alone", shown(figures["matmul_gflops"], " GFLOP/s")),
        (f"share (goal {GOAL:.0%})", shown(figures["share"])),
    ]
    lines += [
        (f"  {name}", f"{share:.1%} of a step, {count} calls")
        for name, share, count in figures["heaviest"]
    ]
    return lines


def main() -> None:
    """Measures and reports."""
    options = parsed()
    torch.set_num_threads(options.threads)
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = options.batch_size
        work = workload(options.data, folder / "tasks", rows=options.rows, steps=1, batch_size=size)
        for layers in options.layers:
            found[str(layers)] = measure(options, layers, work, folder)
    lines = [
        (f"{layers} layers: {name}", values)
        for layers, figures in found.items()
        for name, values in lines_of(figures)
    ]
    content = {"by_layers": found, "goal": GOAL}
    report(f"The limit, a step of {size} rows", lines, content, options.json)


if __name__ == "__main__":
    main()
