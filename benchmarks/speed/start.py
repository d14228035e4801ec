"""Start: how long a command takes that has next to nothing to do.

Times whole processes: ``tdro --help``, ``tdro mixture show FILE``, ``python -c "import tdro"``
(which must not import torch) and ``tdro run`` on a run directory that is finished, of a tiny
random model and synthetic tasks that the script makes first. Goals: 0.4, 0.6, 0.15 and 3 seconds.
Seconds of processor time stand beside those of the clock: what the clock adds is the machine's.
"""

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from timing import arguments, interleaved, report, shown, spread

GOALS = {"tdro --help": 0.4, "tdro mixture show": 0.6, "import tdro": 0.15, "tdro run, done": 3.0}
WORDS = [f"{a}{b}{c}" for a in "bdfgklmn" for b in "aeiou" for c in "lnrst"]


def main() -> None:
    """Makes a finished run, times the four commands in turn and prints the figures."""
    options = arguments(__doc__, runs=7).parse_args()
    os.environ.update(OMP_NUM_THREADS=str(options.threads), HF_HUB_OFFLINE="1")
    with tempfile.TemporaryDirectory() as temporary:
        recipe, finished = finished_run(Path(temporary))
        run = ["run", str(recipe), "--output", str(finished)]
        kept = str(finished / "mixture" / "ema.json")
        check = "import tdro, sys; sys.exit('torch' in sys.modules)"
        sides = {
            "tdro --help": lambda: tdro("--help"),
            "tdro mixture show": lambda: tdro("mixture", "show", kept),
            "import tdro": lambda: python("-c", check),
            "tdro run, done": lambda: tdro(*run),
        }
        assert "done before" in tdro(*run)
        processor: dict[str, list[float]] = {name: [] for name in sides}
        timed = {name: counted(side, processor[name]) for name, side in sides.items()}
        seconds = interleaved(timed, options.runs)
    # The first run of each was the warm-up.
    processor = {name: values[1:] for name, values in processor.items()}
    lines = [
        (f"{name}, {what} (goal: {GOALS[name]})", shown(spread(values[name])))
        for name in sides
        for what, values in (("seconds", seconds), ("processor seconds", processor))
    ]
    content = {"seconds": seconds, "processor_seconds": processor, "goals": GOALS}
    report("Start", lines, content, options.json)


def counted(side: Callable[[], Any], kept: list[float]) -> Callable[[], None]:
    """Returns the side, noting the processor time of the processes it starts."""

    def work() -> None:
        before = children_seconds()
        side()
        kept.append(children_seconds() - before)

    return work


def children_seconds() -> float:
    """Returns the processor time of all processes started here that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def python(*words: str) -> str:
    """Runs a Python process to its end and returns what it printed."""
    ended = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    if ended.returncode:
        raise SystemExit(f"python {' '.join(words)} failed:\n{ended.stderr[-2000:]}")
    return ended.stdout


def tdro(*words: str) -> str:
    """Runs the command line."""
    return python("-m", "tdro", *words)


def finished_run(folder: Path) -> tuple[Path, Path]:
    """Makes a recipe and does its run.

    Returns:
        The recipe and the run directory.
    """
    sizes = {"alpha": 120, "beta": 80, "gamma": 60, "delta": 40}
    (folder / "tasks").mkdir()
    for place, (name, rows) in enumerate(sizes.items()):
        write_task(folder / "tasks" / f"{name}.jsonl", rows, place)
    save_model(folder / "model")
    training = {"steps": 3, "batch_size": 8, "learning_rate": 1e-3}
    recipe = {
        "tasks": {"folder": str(folder / "tasks")},
        "holdout": 10,
        "model": {"name_or_path": str(folder / "model"), "layers": 2},
        "reference": training,
        "learning": {"steps": 3, "batch_size": 8, "negatives": 2},
        "training": training,
        "retrievers": ["uniform", "learned"],
    }
    path, finished = folder / "recipe.yaml", folder / "run"
    path.write_text(json.dumps(recipe))
    tdro("run", str(path), "--output", str(finished))
    return path, finished


def write_task(path: Path, rows: int, seed: int) -> None:
    """Writes queries that share words with their positive."""
    draw = random.Random(seed)
    with path.open("w") as file:
        for number in range(rows):
            words = draw.sample(WORDS, 6)
            text = f"{' '.join(words)} {number}"
            row = {"query": f"{words[0]} {words[1]} {number}", "pos": [text], "neg": []}
            file.write(json.dumps(row) + "\n")


def save_model(folder: Path) -> None:
    """Saves a random decoder of two small layers with a byte-level tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast, set_seed

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<end>", "<pad>"], initial_alphabet=alphabet
    )
    backend.train_from_iterator([" ".join(WORDS)] * 3, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<end>", pad_token="<pad>"
    )
    set_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    main()
