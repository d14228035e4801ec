"""When a prepared task has to be prepared again."""

import io

import pytest
from rich.console import Console

from tdro.files import MANIFEST_FILE, read_json
from tdro.recipe import Recipe
from tdro.run import context
from tdro.run.context import prepare_tasks
from tdro.stages import RunDirectory

from .tasks.helpers import row, write_jsonl


@pytest.fixture
def shards(tmp_path):
    folder = tmp_path / "shards"
    folder.mkdir()
    for name in ("a", "b"):
        rows = [{**row(f"{name} {n}", f"answer {name} {n}"), "lang": "en"} for n in range(6)]
        write_jsonl(folder / f"{name}.jsonl", rows)
    return folder


@pytest.fixture
def prepared(tmp_path):
    """Prepares one task and returns it and whether there was work to do."""

    def prepare(**entry):
        said = io.StringIO()
        recipe = Recipe.model_validate(
            {
                "tasks": [{"name": "cats", **entry}],
                "model": {"name_or_path": "m"},
                "proxy": {"name_or_path": "m"},
            }
        )
        directory = RunDirectory(tmp_path / "run", Console(file=said, width=300))
        (task,) = prepare_tasks(recipe, directory)
        return task, "done before" not in said.getvalue()

    return prepare


def test_a_plain_file_is_told_by_what_it_always_was(prepared, shards, tmp_path):
    prepared(path=shards / "a.jsonl", instruction="Find")
    inputs = read_json(tmp_path / "run" / "tasks" / "cats" / MANIFEST_FILE)["inputs"]
    assert set(inputs) == {"source", "name", "instruction", "max_rows", "seed", "rows"}
    assert set(inputs["source"]) == {"path", "bytes", "changed"}


def test_a_task_of_an_earlier_version_is_prepared_anew(prepared, shards, tmp_path, monkeypatch):
    with monkeypatch.context() as earlier:
        earlier.setattr(context, "ROWS_COLUMNS", ("positives", "negatives"))
        prepared(path=shards)
    task, worked = prepared(path=shards)
    assert worked
    assert len(task.own) == len(task)


@pytest.mark.parametrize(
    "change",
    [
        {"max_rows": 4},
        {"filter": {"max_query_words": 9}},
        {"filter": {"where": {"lang": "en"}}},
        {"columns": {"query": "query", "positive": "pos"}},
        {"instruction": "Find"},
    ],
)
def test_every_option_makes_a_task_stale(prepared, shards, change):
    assert prepared(path=shards)[1]
    assert not prepared(path=shards)[1]
    assert prepared(path=shards, **change)[1]
    assert not prepared(path=shards, **change)[1]
    assert prepared(path=shards)[1]


def test_every_shard_makes_a_task_stale(prepared, shards):
    assert len(prepared(path=shards)[0]) == 12
    write_jsonl(shards / "b.jsonl", [row("new", "answer")])
    task, worked = prepared(path=shards)
    assert (len(task), worked) == (7, True)
    write_jsonl(shards / "c.jsonl", [row("newer", "answer")])
    task, worked = prepared(path=shards)
    assert (len(task), worked) == (8, True)
    (shards / "card.md").write_text("no data")
    assert not prepared(path=shards)[1]


def test_the_limit_of_a_task_and_the_filter_hold(prepared, shards):
    task, _ = prepared(path=shards, max_rows=4)
    assert len(task) == 4
    task, _ = prepared(path=shards, filter={"max_query_words": 2}, max_rows=7)
    assert len(task) == 7
