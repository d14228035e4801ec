"""``tdro run --profile``: a trace and a table a stage, and the same bits."""

import gzip
import json
import sys

import pytest
import torch
import yaml
from rich.console import Console

from tdro import cli
from tdro.profile import profiled
from tdro.recipe_file import load_recipe
from tdro.run.execute import execute


def read_trace(path):
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return json.load(file)["traceEvents"]


def ops(path):
    return [event for event in read_trace(path) if event.get("cat") == "cpu_op"]


def quiet_tick(done, total, loss):
    pass


@pytest.mark.parametrize(
    ("ticks", "units"),
    [
        # Without a tick all is recorded; with one or two, only up to the first; then from the
        # second on, at most three.
        (0, [0]),
        (1, [0]),
        (2, [0]),
        (3, [2, 3]),
        (4, [2, 3, 4]),
        (9, [2, 3, 4]),
    ],
)
def test_a_few_units_are_recorded_after_a_warm_up(tmp_path, ticks, units):
    said = Console(record=True, width=100, file=(tmp_path / "said.txt").open("w"))
    heard = []
    path = tmp_path / "profile" / "stage.json.gz"
    with profiled("a [stage]", path, lambda *told: heard.append(told), said) as tick:
        for unit in range(ticks + 1):
            for _ in range(unit + 1):
                torch.ones(2).cumsum(0)
            if unit < ticks:
                tick(unit + 1, ticks, 0.5)
    assert heard == [(unit + 1, ticks, 0.5) for unit in range(ticks)]
    sums = [event for event in ops(path) if event["name"] == "aten::cumsum"]
    assert len(sums) == sum(unit + 1 for unit in units)
    text = said.export_text()
    assert "a [stage]" in text
    assert "aten::cumsum" in text
    assert str(path) in text.replace("\n", "")
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_large_units_shorten_the_recording(tmp_path, monkeypatch):
    monkeypatch.setattr("tdro.profile._MOST_EVENTS", 20)
    path = tmp_path / "stage.json.gz"
    with profiled("stage", path, quiet_tick, Console(quiet=True)) as tick:
        for unit in range(8):
            for _ in range(30):
                torch.ones(2).cumsum(0)
            tick(unit + 1, 8, None)
    assert len([event for event in ops(path) if event["name"] == "aten::cumsum"]) == 30


def fail_while_profiled(path, console):
    with profiled("stage", path, quiet_tick, console) as tick:
        tick(1, 2, None)
        tick(2, 2, None)
        torch.ones(2).cumsum(0)
        raise ZeroDivisionError


def test_a_stage_without_a_torch_op_and_one_that_fails_leave_no_trace(tmp_path):
    path = tmp_path / "stage.json.gz"
    console = Console(quiet=True)
    with profiled("stage", path, quiet_tick, console) as tick:
        tick(1, 1, None)
    with pytest.raises(ZeroDivisionError):
        fail_while_profiled(path, console)
    assert not path.exists()
    # The profiler was stopped and can be started again.
    with profiled("stage", path, quiet_tick, console):
        torch.ones(2).cumsum(0)
    assert path.exists()


@pytest.fixture(scope="module")
def recipe_file(task_folder, tiny_llm, tmp_path_factory):
    training = {"steps": 4, "batch_size": 8, "learning_rate": 1e-3}
    recipe = {
        "tasks": {"folder": str(task_folder)},
        "holdout": 5,
        "model": {"name_or_path": str(tiny_llm), "layers": 2, "max_query_length": 32},
        "proxy": {"layers": 1},
        "reference": training,
        "learning": {"steps": 4, "batch_size": 8, "negatives": 2, "eta": 0.5},
        "training": training,
        "retrievers": ["learned"],
    }
    path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


STAGES = {
    "reference": "reference",
    "reference_losses": "reference losses",
    "mixture": "mixture",
    "retrievers/learned": "retriever learned",
    "runs/learned": "scores of learned",
}


@pytest.mark.slow
def test_a_profiled_run_leaves_traces_and_ends_with_the_same_bits(
    recipe_file, tmp_path, monkeypatch, capsys
):
    plain, output = tmp_path / "plain", tmp_path / "profiled"
    execute(load_recipe(recipe_file), plain, Console(quiet=True))

    def run_profiled():
        words = ["tdro", "run", str(recipe_file), "--profile", "--output", str(output)]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
        return capsys.readouterr().out

    said = run_profiled()
    for place, label in STAGES.items():
        found = ops(output / "profile" / f"{place}.json.gz")
        assert any(event["name"].startswith("aten::") for event in found), place
        after = said[said.index(f"\n{label} ") :]
        lines = after[: after.index("\nTrace:")].splitlines()
        assert sum(line.rstrip().endswith("% │") for line in lines) == 10, place
    traces = {path.name for path in (output / "profile").rglob("*.json.gz")}
    assert not {"plan.json.gz", "alpha.json.gz", "holdouts.json.gz"} & traces
    for name in ("mixture/last.json", "mixture/trajectory.parquet", "mixture/row_losses.parquet"):
        assert (output / name).read_bytes() == (plain / name).read_bytes(), name
    for name in ("reference", "retrievers/learned"):
        weights = f"{name}/model/model.safetensors"
        assert (output / weights).read_bytes() == (plain / weights).read_bytes(), name

    before = {path: path.stat().st_mtime_ns for path in (output / "profile").rglob("*.gz")}
    said = run_profiled()
    assert "Trace:" not in said
    after = {path: path.stat().st_mtime_ns for path in (output / "profile").rglob("*.gz")}
    assert before == after
    # Asked for or not, a profile is no input of a stage.
    again = Console(record=True, width=200, file=(tmp_path / "said.txt").open("w"))
    execute(load_recipe(recipe_file), output, again)
    assert "to be done" not in again.export_text()
