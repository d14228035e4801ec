"""What the scripts of this folder share: interleaved runs, a table, and a JSON file."""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

LEAST_RUNS = 5


def arguments(description: str, **defaults: Any) -> argparse.ArgumentParser:
    """Returns a parser with what every script takes: ``--json``, ``--runs`` and ``--threads``."""
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument("--runs", type=int, default=defaults.pop("runs", 7))
    parser.add_argument("--threads", type=int, default=defaults.pop("threads", os.cpu_count()))
    parser.set_defaults(**defaults)
    return parser


def interleaved(
    sides: Mapping[str, Callable[[], Any]], runs: int, *, warmup: int = 1
) -> dict[str, list[float]]:
    """Times several sides in turn, A B A B ..., so that a machine that drifts is fair to all.

    Args:
        sides: What to time, by name.
        runs: Counted runs of each side, 5 or more.
        warmup: Runs before them that are not counted.

    Returns:
        Seconds of each counted run, by side.
    """
    if runs < LEAST_RUNS:
        raise SystemExit(f"--runs {runs}: a median of fewer than {LEAST_RUNS} runs says nothing.")
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(-warmup, runs):
        for name, work in sides.items():
            start = time.perf_counter()
            work()
            if number >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def spread(values: list[float]) -> dict[str, float]:
    """Returns the minimum, median and maximum."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def ratios(over: list[float], under: list[float]) -> dict[str, float]:
    """Returns the spread of the ratios run by run, which drift of the machine leaves alone."""
    return spread([one / other for one, other in zip(over, under, strict=True)])


def shown(figures: Mapping[str, float], unit: str = "") -> str:
    """Returns ``min / median / max`` in words."""
    return " / ".join(f"{figures[name]:.3g}" for name in ("min", "median", "max")) + unit


def report(title: str, lines: list[tuple[str, str]], content: Any, path: Path | None) -> None:
    """Prints figures by name, and writes ``content`` with a line about the machine as JSON."""
    table = Table(title=title)
    table.add_column("")
    table.add_column("min / median / max", justify="right")
    for name, values in lines:
        table.add_row(name, values)
    Console(width=120).print(table)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"machine": machine(), "figures": content}, indent=1) + "\n")


def machine() -> dict[str, Any]:
    """Returns what the figures were measured on."""
    import torch

    return {
        "processor": torch.cpu.get_capabilities().get("cpu_name", platform.processor()),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
