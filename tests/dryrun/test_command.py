import json
import sys

import pytest
from rich.console import Console

from tdro import cli
from tdro.errors import InputError
from tdro.mixture import Mixture
from tdro.recipe_file import load_recipe
from tdro.run.execute import execute


@pytest.fixture
def dry_run(tdro, tmp_path):
    """Runs `tdro run --dry-run` and returns its exit code, what it said and its problems."""

    def call(path, *words):
        before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
        code, shown, errors = tdro("run", path, "--dry-run", "-o", tmp_path / "out", *words)
        assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == before
        problems = [line for line in errors.splitlines() if line.startswith("tdro: ")]
        return code, shown, problems

    return call


def test_a_sound_recipe_is_a_table_and_nothing_is_written(dry_run, recipe):
    code, shown, problems = dry_run(recipe())
    assert (code, problems) == (0, [])
    for label in ("task alpha", "proxy encoder", "reference losses", "retriever learned"):
        assert label in shown
    assert "to be done" in shown
    assert "'tiny' has fewer rows to train on than reference.batch_size" in shown.replace("\n", " ")
    assert "Nothing would stop this run." in shown


def test_all_problems_are_told_not_the_first_one(dry_run, recipe, tmp_path, outside):
    (tmp_path / "other.json").write_text("[]")
    Mixture({"alpha": 1.0}).save(tmp_path / "mixture.json")
    broken = tmp_path / "broken"
    (broken / "qrels").mkdir(parents=True)
    (broken / "qrels" / "test.tsv").write_text("query\tdocument\n")
    (tmp_path / "empty.jsonl").write_text("not json\n")
    path = recipe(
        tasks=[
            {"name": "gone", "path": "gone.jsonl"},
            {"name": "empty", "path": "empty.jsonl"},
        ],
        benchmarks=[str(broken), str(outside), {"path": str(outside), "name": "outside"}],
        retrievers=["uniform", "mixture.json", "other.json"],
        report_to=["nobody"],
        metrics=["nDCG@ten"],
        model={"name_or_path": "nowhere.gguf"},
    )
    code, _, problems = dry_run(path)
    assert code == 2
    wanted = (
        *("'gone.jsonl', which does not exist", "first 1 rows of", "empty.jsonl"),
        *("qrels/test.tsv must begin with the columns", "are named 'outside'"),
        *("to task 'alpha'", "other.json", "report_to names 'nobody'", "nDCG@ten"),
        "'nowhere.gguf', which does not exist",
    )
    for words in wanted:
        assert sum(words in problem for problem in problems) >= 1, (words, problems)
    assert len(problems) == len(set(problems))


def test_all_wrong_values_of_a_recipe_are_told(dry_run, recipe):
    path = recipe(reference={"steps": 0}, learning={"stps": 3}, retrievers=["unifrom"])
    code, _, problems = dry_run(path)
    assert code == 2
    assert len(problems) == 3
    for words in ("'reference.steps'", "'learning.stps'", "'unifrom'"):
        assert sum(words in problem for problem in problems) == 1


@pytest.mark.parametrize(
    ("changes", "words", "devices"),
    [
        ({"reference": {"batch_size": 9}}, "reference.batch_size is 9: with 2 devices", "2"),
        (
            {"learning": {"batch_size": 8, "accumulation": 4}},
            "with 4 devices and an accumulation of 4 it must be a multiple of 16",
            "4",
        ),
        ({"training": {"batch_size": 8}}, "Task 'tiny' has 6 rows to train on, fewer than", "8"),
        ({"model": {"name_or_path": "TINY", "layers": 7}, "proxy": {}}, "layers: 7 is more", "1"),
        (
            {"model": {"name_or_path": "TINY", "kind": "static", "dimensions": 33}, "proxy": {}},
            "dimensions: 33 is more than the 32 of",
            "1",
        ),
        ({"holdout": 0, "benchmarks": []}, "There is nothing to judge on", "1"),
    ],
)
def test_what_would_stop_a_run_later_is_told_now(
    dry_run, recipe, tiny_llm, changes, words, devices
):
    if "model" in changes:
        changes["model"]["name_or_path"] = str(tiny_llm)
    code, _, problems = dry_run(recipe(**changes), "--devices", devices)
    assert code == 2
    assert any(words in problem for problem in problems), problems


def test_a_task_with_fewer_rows_than_devices_is_told_once(dry_run, recipe):
    _, _, problems = dry_run(recipe(), "--devices", "8")
    assert len(problems) == 1
    assert "Task 'tiny' has 6 rows to train on, fewer than the 8 devices" in problems[0]


def test_rows_that_share_their_positives_are_told_to_fill_no_batch(dry_run, recipe, tmp_path):
    rows = [{"query": f"q{n}", "pos": [f"p{n % 3}"], "neg": ["other"]} for n in range(40)]
    (tmp_path / "few.jsonl").write_text("\n".join(map(json.dumps, rows)))
    path = recipe(tasks=[{"name": "few", "path": "few.jsonl"}])
    code, _, problems = dry_run(path, "--devices", "4")
    assert code == 2
    assert len(problems) == 1
    assert "Task 'few' fills batches of 3 rows at most" in problems[0]
    assert dry_run(path, "--devices", "2")[0] == 0


@pytest.mark.parametrize("method", ["merge-search", "learning-curve", "regression"])
def test_tasks_too_small_for_rows_of_their_own_to_score_on_are_told(
    dry_run, recipe, tmp_path, method
):
    for name, rows in (("small", 4), ("least", 5)):
        lines = [{"query": f"q{n}", "pos": [f"p{n}"], "neg": ["no"]} for n in range(rows)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    tasks = [{"name": name, "path": f"{name}.jsonl"} for name in ("small", "least")]
    changes = {"learning": {"method": method}, "retrievers": ["learned"], "holdout": 0}
    path, root = recipe(tasks=tasks[:1], **changes), tmp_path / "run"
    code, _, problems = dry_run(path)
    assert code == 2
    assert len(problems) == 1
    assert "No task has rows that can be set apart" in problems[0]
    with pytest.raises(InputError, match="No task has rows that can be set apart"):
        execute(load_recipe(path), root, Console(quiet=True))
    assert not list(root.glob("**/model"))
    assert dry_run(recipe(tasks=tasks, **changes))[0] == 0
    # A method in a loop scores no model.
    changes["learning"] = {"method": "tdro"}
    assert dry_run(recipe(tasks=tasks[:1], **changes))[0] == 0


@pytest.mark.slow
def test_a_stage_that_does_not_fit_is_told_with_a_remedy(dry_run, recipe):
    code, _, problems = dry_run(recipe(), "--memory", "2MB")
    assert code == 2
    (found,) = [one for one in problems if "reference" in one and "not fit" in one]
    assert "set reference.gradient_checkpointing to true" in found
    assert dry_run(recipe(), "--memory", "1GB")[0] == 0


def test_a_model_of_the_hub_is_not_looked_up(dry_run, recipe):
    changes = {"model": {"name_or_path": "nobody/nothing"}, "proxy": {}}
    code, shown, problems = dry_run(recipe(**changes), "--memory", "1GB")
    assert (code, problems) == (0, [])
    assert "nobody/nothing is not on this machine" in shown.replace("\n", " ")


def test_a_file_for_a_run_directory_is_told(dry_run, recipe, tmp_path):
    (tmp_path / "out").write_text("")
    code, _, problems = dry_run(recipe())
    assert code == 2
    assert "is a file: use another --output" in problems[0]


def test_devices_without_a_dry_run_are_refused(monkeypatch, capsys, recipe):
    monkeypatch.setattr(sys, "argv", ["tdro", "run", str(recipe()), "--devices", "2"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "read with --dry-run only" in capsys.readouterr().err


def test_the_remark_of_tasks_json_is_no_problem(dry_run, recipe, task_folder, tmp_path):
    folder = tmp_path / "data"
    (folder / "tasks").mkdir(parents=True)
    (folder / "tasks" / "beta.jsonl.gz").symlink_to(task_folder / "tasks" / "beta.jsonl.gz")
    (folder / "tasks.json").write_text(json.dumps({"beta": {"instruction": "x", "remark": "y"}}))
    assert dry_run(recipe(tasks={"folder": str(folder)}))[0] == 0
