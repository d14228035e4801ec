"""The same plan learned by one process and by two real ones (gloo)."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tdro.encoder import build_encoder
from tdro.learning.trainer import Learned
from tdro.settings import EncoderSettings
from tdro.tasks.prepare import prepare_tasks
from tests.conftest import synthetic_rows, write_task

pytestmark = pytest.mark.slow

DRIVER = Path(__file__).with_name("gloo_driver.py")
OPTIONS = {
    "steps": 6,
    "batch_size": 8,
    "negatives": 2,
    "learning_rate": 1e-3,
    "temperature": 0.05,
    "eta": 0.5,
    "save_every": 2,
}


RUNS = {
    "plain": (True, {}),
    "cut": (True, {"accumulation": 2, "chunk_tokens": 100}),
    "float32": (False, {}),
    "released": (True, {"method": "tdro-released"}),
    "released-cut": (True, {"method": "tdro-released", "accumulation": 2}),
}


@pytest.fixture(scope="module")
def learned(task_folder, tiny_llm, tmp_path_factory):
    """What one process and what two processes learned, by number of processes and name of run."""
    folder = tmp_path_factory.mktemp("processes")
    prepare_tasks(task_folder, folder / "tasks")
    # Longer texts than the others', so that processes cut their rows differently.
    long = [{**row, "pos": [" ".join(row["pos"] * 4)]} for row in synthetic_rows(60, 9)]
    write_task(folder / "long.jsonl.gz", long)
    prepare_tasks(folder / "long.jsonl.gz", folder / "tasks")
    settings = EncoderSettings(name_or_path=str(tiny_llm), layers=2, precision="fp32")
    build_encoder(settings).save(str(folder / "model"))
    found = {}
    for processes in (1, 2):
        output = folder / str(processes)
        output.mkdir()
        spec = {
            "tasks": sorted(str(path.parent) for path in folder.glob("tasks/*/task.json")),
            "model": str(folder / "model"),
            "output": str(output),
            "runs": [(name, double, OPTIONS | more) for name, (double, more) in RUNS.items()],
        }
        (output / "spec.json").write_text(json.dumps(spec))
        launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        ended = subprocess.run(
            [sys.executable, "-m", *launcher, str(DRIVER), str(output / "spec.json")],
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert ended.returncode == 0, ended.stderr[-3000:]
        for name in RUNS:
            assert (output / name / "processes").read_text() == str(processes)
            found[processes, name] = Learned.load(output / name)
        if processes == 2:
            cut = [json.loads((output / "cut" / f"chunks-{rank}").read_text()) for rank in (0, 1)]
            assert any(one != other for one, other in zip(*cut, strict=True)), "or nothing is shown"
    return found


def difference(one, two):
    weights = [np.stack([step.weight for step in each.trajectory.steps]) for each in (one, two)]
    return np.abs(weights[0] - weights[1]).max()


def test_two_processes_learn_what_one_does(learned):
    assert difference(learned[1, "plain"], learned[2, "plain"]) < 1e-6
    assert difference(learned[1, "plain"], learned[2, "cut"]) < 1e-6


def test_in_float32_they_differ_by_rounding_only(learned):
    assert difference(learned[1, "float32"], learned[2, "float32"]) < 1e-4


def test_every_row_of_the_plan_is_learned_on_once_whoever_takes_it(learned):
    for processes in (1, 2):
        rows = [len(part.proxy) for part in learned[processes, "cut"].record.micro_batches]
        assert rows == [4] * 12


def test_the_released_form_visibly_depends_on_how_a_step_is_cut(learned):
    for processes in (1, 2):
        whole, cut = learned[processes, "released"], learned[processes, "released-cut"]
        assert difference(whole, cut) > 1e-3
