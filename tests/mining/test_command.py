import json
import re
import shlex
from pathlib import Path

import pytest

from ..conftest import synthetic_rows, write_task

PAGE = Path(__file__).parents[2] / "docs" / "mining.md"


def test_mine_writes_tasks_that_check_reads(tdro, task_folder, tmp_path):
    out = tmp_path / "out"
    code, shown, _ = tdro("tasks", "mine", task_folder, "-o", out, "--count", 2, "--append")
    assert code == 0
    for words in ("negatives of alpha", "near-", "judge", "alpha", "120"):
        assert words in shown
    code, shown, _ = tdro("tasks", "check", out, "--strict")
    assert code == 0
    assert "gamma" in shown
    assert json.loads((out / "tasks.json").read_text())["tiny"]["instruction"]
    code, shown, _ = tdro("tasks", "mine", task_folder, "-o", out, "--count", 2, "--append")
    assert code == 0
    assert shown.count("done before") == 4


def test_rows_and_limits_of_a_recipe_hold(tdro, tmp_path):
    write_task(tmp_path / "a.jsonl.gz", [*synthetic_rows(9, 0), {"query": ""}])
    recipe = {"tasks": [{"name": "x", "path": "a.jsonl.gz", "instruction": "Find"}], "max_rows": 5}
    recipe["model"] = {"name_or_path": "m"}
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    words = ("--to", "tevatron", "--format", "jsonl.gz")
    code, _, _ = tdro("tasks", "mine", tmp_path / "recipe.yaml", "-o", tmp_path / "out", *words)
    assert code == 0
    told = json.loads((tmp_path / "out" / "mined.json").read_text())["tasks"]["x"]
    assert told["rows"] == 5
    index = json.loads((tmp_path / "out" / "tasks.json").read_text())
    assert index == {"x": {"path": "tasks/x/rows.jsonl.gz", "instruction": "Find"}}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--model", "gone"), "The model 'gone' cannot be loaded"),
        (("--judge", "gone"), "The judge 'gone' cannot be loaded"),
        (("--ranks", "100-10"), "--ranks '100-10' is no range of ranks"),
        (("--ranks", "10"), "--ranks '10' is no range of ranks"),
        (("--ranks", "0-10"), "--count 16 is more than the 10 candidates"),
        (("--strict",), "a.jsonl.gz:4: "),
    ],
)
def test_bad_input_ends_with_code_2_and_one_sentence(tdro, tmp_path, words, said):
    write_task(tmp_path / "a.jsonl.gz", [*synthetic_rows(3, 0), {"query": ""}])
    code, _, errors = tdro("tasks", "mine", tmp_path / "a.jsonl.gz", "-o", tmp_path / "out", *words)
    assert code == 2
    assert errors.startswith("tdro: ")
    assert said in errors
    assert errors.count("\n") == 1


def test_the_pages_commands_run_as_they_stand(
    tdro, tmp_path, monkeypatch, static_model, judge_model
):
    (tmp_path / "model").symlink_to(static_model)
    (tmp_path / "judge").symlink_to(judge_model)
    write_task(tmp_path / "data" / "a.jsonl.gz", synthetic_rows(150, 0))
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    commands = [
        shlex.split(line, comments=True)
        for block in blocks
        for line in block.replace("\\\n", "").splitlines()
    ]
    assert len(commands) >= 4
    for name, *words in commands:
        assert name == "tdro"
        code, _, errors = tdro(*words)
        assert (code, errors) == (0, "")
    assert (
        "equal"
        in json.loads((tmp_path / "mined" / "mined.json").read_text())["tasks"]["a"]["shares"]
    )
