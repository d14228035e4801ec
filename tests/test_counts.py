"""What a fixed small run costs, counted and not timed: texts encoded, padding, texts read.

A change that makes a stage encode, pad or read more than its design asks for fails here on any
machine. Counts of texts and tokens are exact and derived from the plan and the settings: after a
change that is meant to alter one, change its derivation. Bounds on padding and on texts a pass have
the measured figure beside them: after a change that betters it, tighten the bound too
(``python -m pytest tests/test_counts.py -s`` prints all figures).
"""

import json
import math
import shutil
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
import yaml
from datasets import Dataset
from rich.console import Console
from sentence_transformers.sentence_transformer.modules import Transformer
from torch.nn.modules.module import register_module_forward_pre_hook
from transformers import AutoTokenizer

from tdro.evaluation.benchmark import load_benchmark
from tdro.plan import Plan
from tdro.prompts import query_prompt
from tdro.recipe_file import load_recipe
from tdro.reference import held_out_plan
from tdro.run.context import open_context
from tdro.run.execute import execute
from tdro.stages import RunDirectory
from tests.conftest import synthetic_rows, write_task

pytestmark = pytest.mark.slow

STEPS, ROWS, NEGATIVES = 5, 24, 3
TRAINING_STEPS, TRAINING_ROWS = 4, 16
# The anchor, the positive and one hard negative of a row.
TRAINING_TEXTS = 3
ENCODE_BATCH = 64
# When a model is saved sentence-transformers encodes three examples for its model card.
CARD_TEXTS = 3


@dataclass
class Passes:
    """Forward passes, and what went through them: texts, real tokens, tokens with padding."""

    passes: int = 0
    texts: int = 0
    tokens: int = 0
    padded: int = 0

    @property
    def padding(self):
        """Share of the encoded tokens that is padding."""
        return 1 - self.tokens / self.padded

    def __str__(self):
        share = f", {self.padding:.4f} of them padding" if self.padded else ""
        return f"{self.passes} passes, {self.texts} texts, {self.tokens} + padding tokens{share}"


@dataclass
class Counts:
    """What one stage did; ``read`` counts texts read from the Arrow tables of the tasks."""

    trained: Passes = field(default_factory=Passes)
    inferred: Passes = field(default_factory=Passes)
    read: int = 0

    @property
    def encodes(self):
        return bool(self.trained.passes or self.inferred.passes)


def tokens_told(output, place):
    """Returns the tokens that the manifest of a stage tells."""
    return json.loads((output / place / "manifest.json").read_text())["facts"]["tokens"]


@contextmanager
def counting():
    """Counts by the label of a stage, from outside the product; "" is what belongs to none."""
    counts, label = defaultdict(Counts), [""]
    complete, get = RunDirectory.complete, Dataset.__getitem__

    def count_pass(module, arguments):
        if isinstance(module, Transformer):
            mask = arguments[0]["attention_mask"]
            mine = counts[label[0]]
            passes = mine.trained if torch.is_grad_enabled() else mine.inferred
            passes.passes += 1
            passes.texts += len(mask)
            passes.tokens += int(mask.sum())
            passes.padded += mask.numel()

    def labelled_complete(self, stage):
        label[0] = stage.label
        try:
            return complete(self, stage)
        finally:
            label[0] = ""

    def counted_get(self, key):
        found = get(self, key)
        # Only the queries and passages of a task have this one column.
        if self.column_names == ["text"]:
            counts[label[0]].read += 1 if isinstance(found["text"], str) else len(found["text"])
        return found

    hook = register_module_forward_pre_hook(count_pass)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(RunDirectory, "complete", labelled_complete)
            patch.setattr(Dataset, "__getitem__", counted_get)
            yield counts
    finally:
        hook.remove()


def run(recipe_file, output, overrides=()):
    with counting() as counts:
        execute(load_recipe(recipe_file, overrides), output, Console(quiet=True))
    for label, mine in counts.items():
        print(f"\n{label or 'no stage'}: {mine.read} texts read")
        print(f"  with gradient: {mine.trained}\n  without: {mine.inferred}")
    return counts


@pytest.fixture(scope="module")
def uneven_tasks(tmp_path_factory):
    """Three tasks whose passages are one to eight lines long, so that sorting tells."""
    folder = tmp_path_factory.mktemp("data")
    sizes = {"alpha": 120, "beta": 80, "tiny": 7}
    for place, (name, size) in enumerate(sizes.items()):
        rows = synthetic_rows(size, place)
        for number, row in enumerate(rows):
            row["pos"] = [" ".join(row["pos"] * (1 + number % 8))]
        write_task(folder / "tasks" / f"{name}.jsonl.gz", rows)
    instructions = {name: {"instruction": f"Find the {name} lines"} for name in sizes}
    (folder / "tasks.json").write_text(json.dumps(instructions))
    return folder


@pytest.fixture(scope="module")
def recipe_file(uneven_tasks, tiny_llm, tmp_path_factory):
    training = {
        "steps": TRAINING_STEPS,
        "batch_size": TRAINING_ROWS,
        "negatives": TRAINING_TEXTS - 2,
        "learning_rate": 1e-3,
    }
    learning = {
        "steps": STEPS,
        "batch_size": ROWS,
        "negatives": NEGATIVES,
        # A step fits one backward pass, and takes several forward passes.
        "chunk_tokens": 8192,
    }
    recipe = {
        "tasks": {"folder": str(uneven_tasks)},
        "holdout": 10,
        "model": {"name_or_path": str(tiny_llm), "layers": 1},
        "reference": training,
        "learning": learning,
        # Trained otherwise than the reference, or the uniform retriever would be a copy of it.
        "training": {**training, "weight_decay": 0.05},
        "retrievers": ["uniform", "learned"],
    }
    path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


@pytest.fixture(scope="module")
def finished(recipe_file, tmp_path_factory):
    """A run directory and what it took to fill it."""
    output = tmp_path_factory.mktemp("finished") / "run"
    return output, run(recipe_file, output)


@pytest.fixture(scope="module")
def distinct(recipe_file, finished):
    """Returns a function that counts the distinct texts of some planned rows, and their tokens."""
    output, _ = finished
    tasks = open_context(load_recipe(recipe_file), RunDirectory(output, Console(quiet=True))).tasks
    tokenizer = AutoTokenizer.from_pretrained(output / "reference" / "model")

    def count(plan, places):
        texts = set()
        for place in places:
            task = tasks[plan.task_of[place]].task
            query = task.queries[int(plan.row_of[place])]["text"]
            texts.add((task.name, "query", query_prompt(task.instruction) + query))
            passages = task.passages[plan.passages[place].tolist()]["text"]
            texts |= {(task.name, "passage", passage) for passage in passages}
        return np.array([len(texts), sum(len(tokenizer(text)["input_ids"]) for *_, text in texts)])

    count.tasks = tasks
    return count


def micro_batches(plan, accumulation=1):
    """Returns the places of the rows of each micro-batch of each step."""
    steps = np.arange(len(plan.task_of)).reshape(plan.steps, plan.batch_size)
    return [np.array_split(step, accumulation) for step in steps]


def test_reference_losses_encode_each_text_once(finished, distinct):
    output, counts = finished
    mine = counts["reference losses"]
    plan = Plan.load(output / "plan")
    held = held_out_plan(distinct.tasks, NEGATIVES, seed=0)
    # All rows of the plan fit a window; the rows held out are scored after them.
    texts, tokens = sum(distinct(one, range(len(one.task_of))) for one in (plan, held))
    shown = (len(plan.task_of) + len(held.task_of)) * (2 + NEGATIVES)
    assert texts < shown / 2, "too few texts are shown twice for this test to mean something"
    assert (mine.inferred.texts, mine.inferred.tokens, mine.read) == (texts, tokens, texts)
    assert tokens_told(output, "reference_losses") == tokens
    assert mine.trained.texts == 0
    # Sorted by length and cut where padding costs least: measured 0.023.
    assert mine.inferred.padding < 0.04
    # Measured 401 texts in 27 passes.
    assert mine.inferred.texts / mine.inferred.passes > 12


def test_learning_encodes_each_text_of_a_step_once_and_no_reference(finished, distinct):
    output, counts = finished
    mine = counts["mixture"]
    plan = Plan.load(output / "plan")
    texts, tokens = sum(distinct(plan, step) for (step,) in micro_batches(plan))
    assert (mine.trained.texts, mine.trained.tokens, mine.read) == (texts, tokens, texts)
    assert tokens_told(output, "mixture") == tokens
    # One checkpoint is saved, with its model card.
    assert mine.inferred.texts <= CARD_TEXTS
    # Fewer texts are sorted at a time, so there is more padding: measured 0.054.
    assert mine.trained.padding < 0.08
    # Measured 415 texts in 38 passes: a pass counts as 64 tokens of padding saved.
    assert mine.trained.texts / mine.trained.passes > 8


def test_the_released_form_encodes_only_the_last_micro_batch_twice(
    recipe_file, finished, distinct, tmp_path
):
    output = tmp_path / "run"
    shutil.copytree(finished[0], output)
    changes = ["learning.method=tdro-released", "learning.accumulation=2", "retrievers=[]"]
    mine = run(recipe_file, output, changes)["mixture"]
    plan = Plan.load(output / "plan")
    cut = micro_batches(plan, accumulation=2)
    texts, tokens = sum(distinct(plan, micro) for step in cut for micro in step)
    assert (mine.trained.texts, mine.trained.tokens) == (texts, tokens)
    last, again = sum(distinct(plan, step[-1]) for step in cut)
    assert tokens_told(output, "mixture") == tokens + again
    assert last <= mine.inferred.texts <= last + CARD_TEXTS
    # Both micro-batches of a step are read and tokenised together.
    assert mine.read == sum(distinct(plan, np.concatenate(step))[0] for step in cut)


@pytest.mark.parametrize(
    ("label", "place"),
    [
        ("reference", "reference"),
        ("retriever uniform", "retrievers/uniform"),
        ("retriever learned", "retrievers/learned"),
    ],
)
def test_training_encodes_each_row_once(finished, label, place):
    output, counts = finished
    mine = counts[label]
    sampled = json.loads((output / place / "sampling.json").read_text())
    assert sum(sampled["batches"]) == TRAINING_STEPS
    texts = sum(sampled["rows"]) * TRAINING_TEXTS
    assert mine.trained.texts == texts
    assert tokens_told(output, place) == mine.trained.tokens
    # Measured two a step: queries, and the positives and negatives together.
    assert mine.trained.passes <= TRAINING_STEPS * TRAINING_TEXTS
    # Measured 0.373: the batch is the unit of in-batch negatives and is encoded in one pass a side.
    assert mine.trained.padding < 0.45
    # A checkpoint and the model are saved, each with its model card.
    assert mine.inferred.texts <= 2 * CARD_TEXTS
    # Read for its batch; then, for the model card, for the statistics of each column, among the
    # examples, and at most a dozen times some single row of a task. Measured 693, 126 for batches.
    card = (TRAINING_TEXTS + 1) * texts + 12 * TRAINING_TEXTS * len(sampled["tasks"])
    assert texts <= mine.read <= texts + card


def test_judging_encodes_each_query_and_document_once(finished, tmp_path):
    output, counts = finished
    folders = sorted(path.parent for path in (output / "holdouts").glob("*/corpus.jsonl*"))
    assert len(folders) == 3
    benchmarks = [load_benchmark(folder, cache=tmp_path) for folder in folders]
    sizes = [len(part) for one in benchmarks for part in (one.queries, one.documents)]
    for name in ("uniform", "learned"):
        mine = counts[f"scores of {name}"]
        assert mine.inferred.texts == sum(sizes)
        assert tokens_told(output, f"runs/{name}") == mine.inferred.tokens
        assert mine.inferred.passes <= sum(math.ceil(size / ENCODE_BATCH) for size in sizes)
        # sentence-transformers sorts by length and takes 64 at a time: measured 0.306.
        assert mine.inferred.padding < 0.35
        assert (mine.trained.texts, mine.read) == (0, 0)
    # What is written into a benchmark is read once.
    assert counts["hold-outs"].read == sum(sizes)


def test_nothing_else_encodes_or_reads(finished):
    _, counts = finished
    assert {label for label, mine in counts.items() if mine.encodes} == {
        *("model encoder", "reference", "reference losses", "mixture"),
        *("retriever uniform", "retriever learned", "scores of uniform", "scores of learned"),
    }
    assert counts["model encoder"].trained.texts == 0
    assert counts["model encoder"].inferred.texts <= CARD_TEXTS
    assert counts[""].read == 0


def test_a_second_run_encodes_and_reads_nothing(recipe_file, finished):
    output, _ = finished
    counts = run(recipe_file, output)
    assert {label for label, mine in counts.items() if mine.encodes or mine.read} == set()


def test_another_eta_costs_no_reference_and_no_reference_losses(recipe_file, finished, tmp_path):
    output = tmp_path / "run"
    shutil.copytree(finished[0], output)
    counts = run(recipe_file, output, ["learning.eta=0.9"])
    assert {label for label, mine in counts.items() if mine.encodes or mine.read} == {
        *("mixture", "retriever learned", "scores of learned"),
    }
