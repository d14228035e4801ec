"""A whole run by one process and by two real ones (gloo), started as a user would."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import yaml

from tdro.evaluation.benchmark import write_benchmark
from tdro.mixture import Mixture
from tdro.plan import Plan
from tdro.reference import load_losses

pytestmark = pytest.mark.slow

_ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
TRAINING = {"steps": 4, "batch_size": 8, "learning_rate": 1e-3, "save_every": 2}


@pytest.fixture(scope="module")
def recipe_file(task_folder, tiny_llm, tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipe")
    # More than a chunk, so that two processes both search.
    words = np.random.default_rng(0).integers(0, 30, (4400, 4))
    documents = [(f"d{n}", " ".join(f"w{word}" for word in line)) for n, line in enumerate(words)]
    write_benchmark(
        folder / "outside",
        name="outside",
        instruction="Find the line",
        group="external",
        queries=[(f"q{n}", documents[n][1]) for n in range(0, 4400, 400)],
        documents=documents,
        qrels=[(f"q{n}", f"d{n}", 1) for n in range(0, 4400, 400)],
    )
    recipe = {
        "tasks": {"folder": str(task_folder)},
        # Its batches are shorter than others, and two processes train on an even number of rows.
        "exclude_tasks": ["tiny"],
        "holdout": 10,
        "model": {"name_or_path": str(tiny_llm), "layers": 2, "precision": "fp32"},
        "reference": TRAINING,
        "learning": {"steps": 6, "batch_size": 8, "negatives": 2, "eta": 0.5, "save_every": 2},
        "training": TRAINING,
        "retrievers": ["uniform", "last"],
        "benchmarks": ["outside"],
        "compare": {"mixtures": ["uniform", "proportional"], "seeds": 2, "keep_models": False},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def _launcher(processes, *command):
    launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return [sys.executable, "-m", *launcher, "-m", "tdro", *map(str, command)]


def launched(processes, *command):
    """Runs a tdro command in processes that a launcher starts."""
    return subprocess.run(
        _launcher(processes, *command),
        capture_output=True,
        text=True,
        timeout=300,
        env=_ENVIRONMENT,
    )


@pytest.fixture(scope="module")
def finished(recipe_file, tmp_path_factory):
    """The run directories and what was said, by number of processes."""
    found = {}
    for processes in (1, 2):
        output = tmp_path_factory.mktemp(f"by-{processes}") / "run"
        ended = launched(processes, "run", recipe_file, "--output", output)
        assert ended.returncode == 0, ended.stderr[-3000:]
        found[processes] = output, ended.stdout
    return found


def test_two_processes_plan_and_draw_what_one_does(finished):
    one, two = (finished[count][0] for count in (1, 2))
    plans = [Plan.load(root / "plan") for root in (one, two)]
    assert np.array_equal(plans[0].row_of, plans[1].row_of)
    for place in ("reference", "retrievers/uniform"):
        drawn = [(root / place / "trained_rows.parquet").read_bytes() for root in (one, two)]
        assert drawn[0] == drawn[1]


def test_two_processes_train_learn_and_judge_as_one_does(finished):
    one, two = (finished[count][0] for count in (1, 2))
    losses = [load_losses(root / "reference_losses") for root in (one, two)]
    assert np.abs(losses[0] - losses[1]).max() < 1e-4
    weights = [Mixture.load(root / "mixture/last.json") for root in (one, two)]
    gap = weights[0].aligned(weights[1].weights) - np.array(list(weights[1].weights.values()))
    assert np.abs(gap).max() < 1e-4
    scores = [pq.read_table(root / "scores.parquet") for root in (one, two)]
    keys = ["retriever", "benchmark", "query"]
    assert scores[0].select(keys).equals(scores[1].select(keys))
    gaps = np.abs(np.subtract(*(table["nDCG@10"].to_numpy() for table in scores)))
    # Weights differ by rounding, which may swap two documents of nearly equal score.
    assert np.mean(gaps > 1e-6) < 0.05


def test_only_the_first_process_speaks_and_counts_what_all_did(finished):
    (one, _), (two, said) = finished[1], finished[2]
    assert said.count("Report:") == 1
    places = ("reference", "reference_losses", "mixture", "retrievers/last")
    counted = [
        {
            place: json.loads((root / place / "manifest.json").read_text())["facts"]
            for place in places
        }
        for root in (one, two)
    ]
    # A passage that rows of both processes show is embedded by both.
    assert counted[0]["mixture"].pop("tokens") <= counted[1]["mixture"].pop("tokens")
    assert counted[0] == counted[1]
    assert not list(two.glob("**/*.partial"))


def test_what_two_processes_left_one_finds_done(recipe_file, finished):
    ended = launched(1, "run", recipe_file, "--output", finished[2][0])
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert "to be done" not in ended.stdout
    assert "done before" in ended.stdout


def test_accelerate_launches_the_same_run_with_our_configuration(recipe_file, finished, tmp_path):
    config = Path(__file__).parents[1] / "configs/accelerate/ddp.yaml"
    launcher = ["accelerate.commands.launch", "--config_file", str(config), "--num_processes=2"]
    command = ["-m", "tdro", "run", str(recipe_file), "--output", str(tmp_path / "run")]
    ended = subprocess.run(
        [sys.executable, "-m", *launcher, *command],
        capture_output=True,
        text=True,
        timeout=300,
        env=_ENVIRONMENT,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    by_torchrun, _ = finished[2]
    for file in ("mixture/last.json", "scores.parquet"):
        assert (tmp_path / "run" / file).read_bytes() == (by_torchrun / file).read_bytes()


def test_two_machines_do_what_two_processes_of_one_do(recipe_file, finished, tmp_path):
    # Each agent takes itself for a machine of its own: two nodes, each with the local rank 0.
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    agents = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=1"),
                *("--nnodes=2", f"--node-rank={node}"),
                *("--master-addr=127.0.0.1", f"--master-port={port}"),
                *("-m", "tdro", "run", str(recipe_file), "--output", str(tmp_path / "run")),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=_ENVIRONMENT,
        )
        for node in (0, 1)
    ]
    told = [agent.communicate(timeout=300) for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], told[0][1][-3000:] + told[1][1][-3000:]
    assert "Report:" in told[0][0]
    assert not told[1][0].strip(), "the first process of the second machine is not the first of all"
    on_one_machine, _ = finished[2]
    for file in ("mixture/last.json", "scores.parquet"):
        assert (tmp_path / "run" / file).read_bytes() == (on_one_machine / file).read_bytes()


def test_the_same_model_gets_the_same_scores_from_two_processes(recipe_file, finished, tmp_path):
    model = finished[1][0] / "retrievers/uniform/model"
    place = recipe_file.with_name("outside")
    tables = []
    for processes in (1, 2):
        output = tmp_path / str(processes)
        options = ["--benchmark", place, "--output", output]
        ended = launched(processes, "evaluate", model, *options)
        assert ended.returncode == 0, ended.stderr[-3000:]
        tables.append(pq.read_table(output / "scores.parquet"))
    runs = [(tmp_path / str(processes) / "outside.trec").read_text() for processes in (1, 2)]
    assert runs[0] == runs[1]
    assert tables[0].equals(tables[1])


def test_killed_in_a_training_two_processes_go_on_to_the_same_model(
    recipe_file, finished, tmp_path
):
    output = tmp_path / "run"
    # All that comes before the training is there already.
    shutil.copytree(finished[2][0], output)
    shutil.rmtree(output / "retrievers/last")
    started = subprocess.Popen(
        _launcher(2, "run", recipe_file, "--output", output),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=_ENVIRONMENT,
    )
    mark = output / "retrievers/.last.partial/trainer/checkpoint-2/complete"
    deadline = time.monotonic() + 120
    while not mark.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    for process in [*psutil.Process(started.pid).children(recursive=True), started]:
        process.kill()
    started.wait()
    assert mark.exists()
    assert not (output / "retrievers/last").exists()
    ended = launched(2, "run", recipe_file, "--output", output)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert "going on where it stopped" in ended.stdout
    weights = [
        (root / "retrievers/last/model/model.safetensors").read_bytes()
        for root in (output, finished[2][0])
    ]
    assert weights[0] == weights[1]


def test_a_comparison_by_two_processes(recipe_file, tmp_path):
    ended = launched(2, "compare", recipe_file, "--output", tmp_path / "compared")
    assert ended.returncode == 0, ended.stderr[-3000:]
    table = (tmp_path / "compared/comparison.md").read_text()
    assert "proportional" in table
    assert not list((tmp_path / "compared").glob("**/retrievers/*/model"))


def test_bad_input_ends_all_processes_with_one_sentence(recipe_file, tmp_path):
    options = ["--set", "training.batch_size=9", "--output", tmp_path / "run"]
    ended = launched(2, "run", recipe_file, *options)
    assert ended.returncode != 0
    assert "tdro: The batch size of a training is 9: with 2 processes it must" in ended.stderr
    # The launcher's own traceback is there, none of ours.
    assert "tdro/run" not in ended.stderr
