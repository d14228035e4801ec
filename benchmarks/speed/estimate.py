"""Estimates: what `tdro estimate` tells against what a run takes, stage by stage.

Trains small random models on made-up rows in the ways a recipe knows. Every stage is done by a
process of its own: its memory is the most it holds (VmHWM) above what it held before the stage,
with the libraries loaded and warm; its operations are those that PyTorch's FlopCounterMode counts
in another process that does the stage again. Goal: within 20 %.
"""

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

GOAL = 0.2
WORDS = 8000
KINDS = ("training", "losses", "learning")
# Every allocation of some size is then given back to the system when it is freed.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}

TRAINING = {"steps": 2, "batch_size": 8, "negatives": 2, "save_every": 1000}
LEARNING = {"steps": 2, "batch_size": 12, "negatives": 3, "chunk_tokens": 2048}
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "plain, bf16": {"model": {"precision": "bf16"}},
    "gradient checkpointing": {"reference": {"gradient_checkpointing": True}},
    "GradCache": {"reference": {"mini_batch_size": 4}},
    "GradCache and checkpointing": {
        "reference": {"mini_batch_size": 4, "gradient_checkpointing": True}
    },
    "LoRA": {"reference": {"lora": {"rank": 8, "dropout": 0.1}, "save_adapter": True}},
    "LoRA and checkpointing": {
        "reference": {"lora": {"rank": 8}, "save_adapter": True, "gradient_checkpointing": True}
    },
    "6 of 12 layers": {"model": {"layers": 6}},
    "static": {"model": {"kind": "static"}},
    "learning": {"retrievers": []},
    "learning, bf16": {"retrievers": [], "model": {"precision": "bf16"}},
    "learning, checkpointing": {
        "retrievers": [],
        "learning": {"gradient_checkpointing": True},
    },
    "learning, LoRA, small chunks": {
        "retrievers": [],
        "learning": {"lora": {"rank": 8}, "chunk_tokens": 512},
    },
}


def main() -> None:
    """Does every case and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--architectures", nargs="*", default=["qwen2"])
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    parser.add_argument("--count-flops", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--recipe", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stage:
        print(json.dumps(do_one_stage(options.recipe, options.count_flops)))
        return
    lines = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_tasks(folder / "data")
        for architecture in options.architectures:
            write_model(folder / architecture, architecture, options.width, options.layers)
            for case in options.cases:
                found = compared(folder, architecture, case)
                lines += found
                for line in found:
                    print(shown(line), flush=True)
    worst = max(
        (abs(line[f"{what}_ratio"] - 1), line["case"], line["stage"], what)
        for line in lines
        for what in ("memory", "flops")
        if line[f"{what}_ratio"]
    )
    print(
        f"Farthest off: {worst[0]:.1%}, {worst[3]} of {worst[2]!r} ({worst[1]}); goal {GOAL:.0%}."
    )
    if options.json:
        options.json.write_text(json.dumps({"lines": lines, "goal": GOAL}, indent=1))


def shown(line: dict[str, Any]) -> str:
    """Returns a line of the table of docs/estimating.md."""
    cells = [line["architecture"], line["case"], line["stage"]]
    for what, unit in (("memory", 1e6), ("flops", 1e9)):
        estimated, measured = line[f"{what}_estimated"] / unit, line[f"{what}_measured"] / unit
        ratio = f"{line[f'{what}_ratio']:.2f}" if line[f"{what}_ratio"] else "-"
        cells += [f"{estimated:,.0f}", f"{measured:,.0f}", ratio]
    return "| " + " | ".join(cells) + " |"


def compared(folder: Path, architecture: str, case: str) -> list[dict[str, Any]]:
    """Estimates a run, does it, and returns both for each stage that has a model at work."""
    place = folder / f"{architecture} {case}".replace(" ", "-").replace(",", "")
    place.mkdir()
    recipe = place / "recipe.yaml"
    recipe.write_text(json.dumps(recipe_of(folder, architecture, case)))
    told = place / "estimate.json"
    call("-m", "tdro", "estimate", str(recipe), "--json", str(told), "-o", str(place / "run"))
    estimates = {one["place"]: one for one in json.loads(told.read_text())["stages"]}
    wanted = [one["place"] for one in estimates.values() if one["kind"] in KINDS]
    lines = []
    measured = stages_of(recipe, wanted, count_flops=False)
    counted = stages_of(recipe, wanted, count_flops=True)
    for name, found in measured.items():
        one = estimates[name]
        flops = one["flops"] + one["flops_of_padding"]
        line = {
            "architecture": architecture,
            "case": case,
            "stage": one["stage"],
            "memory_estimated": one["memory"]["peak"],
            "memory_measured": found["bytes"],
            "flops_estimated": flops,
            "flops_measured": counted[name]["flops"],
            "tokens_estimated": one["tokens"],
            "tokens_measured": found["tokens"],
        }
        for what in ("memory", "flops", "tokens"):
            # The additions of a bag of embeddings are no products, which alone are counted.
            known = line[f"{what}_measured"] if (case, what) != ("static", "flops") else 0
            line[f"{what}_ratio"] = line[f"{what}_estimated"] / known if known else None
        lines.append(line)
    return lines


def stages_of(recipe: Path, wanted: list[str], *, count_flops: bool) -> dict[str, dict[str, Any]]:
    """Does the wanted stages of a run, each in a process of its own, and returns what each took."""
    found: dict[str, dict[str, Any]] = {}
    more = ["--count-flops"] if count_flops else []
    while set(wanted) - set(found):
        answer = call(__file__, "--stage", "next", "--recipe", str(recipe), *more)
        done = json.loads(answer.splitlines()[-1])
        found[done.pop("place")] = done
    return {place: found[place] for place in wanted}


def call(*words: str) -> str:
    """Runs Python in a fresh process and returns what it printed."""
    environment = {**os.environ, **MALLOC, "MALLOC_ARENA_MAX": "1"}
    ended = subprocess.run(
        [sys.executable, *words], env=environment, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        raise SystemExit(f"{' '.join(words)}: {ended.stderr[-3000:]}")
    return ended.stdout


class StageDoneError(Exception):
    """The one stage of this process is done."""


def do_one_stage(recipe: Path, count_flops: bool) -> dict[str, Any]:
    """Does the next stage of a run that has a model at work, with all cheap ones before it.

    Returns:
        Its place, its peak of memory in bytes above what was there before, its operations and
        tokens; nothing when the run is done.
    """
    from rich.console import Console

    import tdro.run.work  # noqa: F401 - loaded before memory is measured
    from tdro.recipe_file import load_recipe
    from tdro.run.execute import execute
    from tdro.stages import RunDirectory

    warm_up()
    told: dict[str, Any] = {}
    work = RunDirectory._work

    def measured(self: Any, stage: Any, partial: Path, tick: Any) -> dict[str, Any]:
        if told:
            raise StageDoneError
        if not stage.together:
            return work(self, stage, partial, tick)
        import gc

        from torch.utils.flop_counter import FlopCounterMode

        gc.collect()
        before = status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
        counter = FlopCounterMode(display=False)

        def watched(done: int, total: int, loss: float | None) -> None:
            told["bytes"] = status("VmHWM") - before

        told["place"] = stage.directory
        if count_flops:
            with counter:
                facts = stage.work(partial, watched)
        else:
            facts = stage.work(partial, watched)
        told["bytes_with_saving"] = status("VmHWM") - before
        told["flops"] = counter.get_total_flops()
        told["tokens"] = facts.get("tokens", 0)
        return facts

    RunDirectory._work = measured  # type: ignore[method-assign]
    output = recipe.parent / ("counted" if count_flops else "run")
    with contextlib.suppress(StageDoneError):
        execute(load_recipe(recipe), output, Console(quiet=True))
    return told


def status(name: str) -> int:
    """Returns a figure of this process's memory in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc/self/status has no {name}: this needs Linux.")


def warm_up() -> None:
    """Has the libraries set up what they keep: threads, buffers, kernels."""
    import torch
    from transformers import Qwen2Config, Qwen2Model

    config = Qwen2Config(
        vocab_size=100,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    model = Qwen2Model(config)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    for bf16 in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            ids = torch.zeros(4, 32, dtype=torch.long)
            mask = torch.ones_like(ids)
            mask[0, 10:] = 0
            found = model(input_ids=ids, attention_mask=mask).last_hidden_state
        found.float().sum().backward()
        optimizer.step()


def recipe_of(folder: Path, architecture: str, case: str) -> dict[str, Any]:
    """Returns the recipe of a case."""
    content: dict[str, Any] = {
        "tasks": {"folder": str(folder / "data")},
        "holdout": 4,
        "holdout_passages": 8,
        "model": {
            "name_or_path": str(folder / architecture),
            "max_query_length": 32,
            "max_passage_length": 128,
            "precision": "fp32",
        },
        "reference": TRAINING,
        "learning": LEARNING,
        "retrievers": ["reference"],
    }
    for section, values in CASES[case].items():
        old = content.get(section)
        content[section] = {**old, **values} if isinstance(old, dict) else values
    return content


def write_tasks(folder: Path) -> None:
    """Writes three tasks of made-up words, their passages 10 to 150 words long."""
    draw = random.Random(0)
    folder.mkdir()
    for number, (shortest, longest) in enumerate(((10, 60), (30, 100), (60, 150))):
        rows = []
        for _ in range(300):
            texts = [
                " ".join(f"w{draw.randrange(WORDS)}" for _ in range(draw.randint(*sizes)))
                for sizes in ((4, 24), *[(shortest, longest)] * 5)
            ]
            rows.append({"query": texts[0], "pos": texts[1:2], "neg": texts[2:]})
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"task{number}.jsonl").write_text(text)


def write_model(folder: Path, architecture: str, width: int, layers: int) -> None:
    """Writes a random decoder or encoder."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast, set_seed

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<end>", "<pad>"]
    trainer = trainers.BpeTrainer(
        vocab_size=WORDS, special_tokens=special, initial_alphabet=alphabet
    )
    backend.train_from_iterator([" ".join(f"w{number}" for number in range(WORDS))] * 3, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<end>", pad_token="<pad>"
    )
    set_seed(0)
    config = AutoConfig.for_model(
        architecture,
        vocab_size=WORDS,
        hidden_size=width,
        intermediate_size=11 * width // 4,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=4,
        pad_token_id=1,
        eos_token_id=0,
    )
    AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    main()
