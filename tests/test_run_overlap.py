"""A run warns of benchmarks that are trained on, and of tasks that lie in each other."""

import json
from types import SimpleNamespace

import pytest
from rich.console import Console

from tdro.evaluation.benchmark import load_benchmark, write_benchmark
from tdro.run.evaluation import Judge
from tdro.run.overlap import warn_of_overlaps
from tdro.stages import RunDirectory
from tdro.tasks.prepare import prepare_tasks
from tdro.tasks.training import hold_out
from tests.tasks.helpers import row, write_jsonl


@pytest.fixture
def judge(tmp_path):
    write_benchmark(
        tmp_path / "outside",
        name="out[bold]side",
        instruction="",
        group="external",
        queries=[("q1", "Who is it?"), ("q2", "Where is it?")],
        documents=[("d1", "It is here."), ("d2", "not relevant")],
        qrels=[("q1", "d1", 1), ("q1", "d2", 0), ("q2", "d1", 1)],
    )
    return Judge(load_benchmark(tmp_path / "outside"), {"files": "1"})


def warnings(tmp_path, tasks, judges, holdout=0, excluded=()):
    """Returns what is said of tasks in a run directory that may be there already."""
    for name, rows in tasks.items():
        (tmp_path / "data").mkdir(exist_ok=True)
        write_jsonl(tmp_path / "data" / f"{name}.jsonl", rows)
    prepared = prepare_tasks(tmp_path / "data", tmp_path / "prepared")
    console = Console(record=True, width=500, file=(tmp_path / "said.txt").open("w"))
    context = SimpleNamespace(
        tasks=tuple(hold_out(task, holdout, 0) for task in prepared if task.name not in excluded),
        excluded=tuple(hold_out(task, 5, 0) for task in prepared if task.name in excluded),
        identity={"tasks": {task.name: task.content for task in prepared}},
        directory=RunDirectory(tmp_path / "run", console),
    )
    warn_of_overlaps(context, judges)
    lines = console.export_text().splitlines()
    return lines, [line.removeprefix("warning: ") for line in lines if "warning" in line]


def test_task_benchmark_and_share_are_named(tmp_path, judge):
    tasks = {
        "leaky": [row("who is it", "it is here", neg=["x"]), row("other", "y")],
        "clean": [row("not relevant", "z", neg=["It is here."])],
    }
    _, told = warnings(tmp_path, tasks, [judge])
    assert told == [
        "The training rows of task 'leaky' hold 1 of the 2 queries (50.0%) and 1 of the 1 relevant "
        "passages (100.0%) of benchmark 'out[bold]side': scores on it are too good; `tdro tasks "
        "decontaminate` takes them out."
    ]
    found = json.loads((tmp_path / "run" / "overlaps" / "benchmarks" / "overlaps.json").read_text())
    assert [line["task"] for line in found] == ["leaky"]


def test_a_task_inside_another_is_told_and_not_the_other_way_round(tmp_path):
    many = [row(f"query {number}", f"passage {number}") for number in range(10)]
    _, told = warnings(tmp_path, {"small": many[:3], "big": many}, [])
    assert told == [
        "Task 'small' lies in task 'big': 3 of its 3 queries (100.0%) are there, too, so their "
        "weights cannot be told apart; leave one of them out."
    ]


def test_tasks_apart_are_not_warned_of(tmp_path, judge):
    tasks = {"a": [row("one", "x")], "b": [row("two", "x")]}
    assert warnings(tmp_path, tasks, [judge])[1] == []


def test_an_excluded_task_whose_held_out_rows_are_trained_on_is_told(tmp_path):
    many = [row(f"query {number}", f"passage {number}") for number in range(25)]
    tasks = {"held": many, "copy": many, "other": [row("one", "x")]}
    _, told = warnings(tmp_path, tasks, [], excluded=["held"])
    assert told == [
        "The training rows of task 'copy' hold 5 of the 5 queries (100.0%) and 5 of the 5 relevant "
        "passages (100.0%) that task 'held' is judged by, which is meant not to be trained on: "
        "scores on it are too good; leave one of the tasks out of the recipe."
    ]


def test_rows_that_are_held_out_do_not_count(tmp_path, judge):
    rows = [row("who is it", "x"), *(row(f"q{number}", "x") for number in range(4))]
    lengths = [len(hold_out_told(tmp_path, rows, judge, name)) for name in "abcdefgh"]
    assert set(lengths) == {0, 1}, "held out of some tasks, trained on in others"


def hold_out_told(tmp_path, rows, judge, name):
    """The one row that is held out depends on the task's name."""
    place = tmp_path / name
    place.mkdir()
    return warnings(place, {name: rows}, [judge], holdout=1)[1]


def test_a_second_run_warns_again_without_reading_texts(tmp_path, judge):
    tasks = {"leaky": [row("who is it", "x")]}
    before, told = warnings(tmp_path, tasks, [judge])
    lines, again = warnings(tmp_path, tasks, [judge])
    assert told == again != []
    assert "overlaps with benchmarks: done before" in lines
    assert "overlaps with benchmarks: to be done" in before


def test_at_most_ten_warnings_of_a_kind_and_where_the_others_are(tmp_path):
    tasks = {f"t{number:02}": [row("the same", "x")] for number in range(5)}
    _, told = warnings(tmp_path, tasks, [])
    assert len(told) == 11
    assert told[-1].startswith("10 more like this: see ")
