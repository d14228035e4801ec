"""Mining tasks by models, into a folder that a run reads."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from rich.console import Console
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import mine_hard_negatives

from tdro.errors import InputError
from tdro.mining import dense, task
from tdro.mining.command import mine_tasks
from tdro.mining.dense import CrossEncoderJudge, DenseRanker, prompt_for
from tdro.mining.settings import MiningSettings
from tdro.recipe_file import load_recipe
from tdro.tasks.prepare import prepare_tasks
from tdro.tasks.sources import find_sources

from ..conftest import synthetic_rows, write_task
from .conftest import cross_encoder

QUIET = Console(quiet=True)


def rows_of(folder, name):
    index = json.loads((folder / "tasks.json").read_text())
    lines = (folder / index[name]["path"]).read_text().splitlines()
    return [json.loads(line) for line in lines]


def shared_rows(count, seed=0):
    """Queries with two positives each, one of which answers the next query too."""
    rows = synthetic_rows(count, seed)
    for number, one in enumerate(rows):
        one["pos"].append(rows[(number + 1) % count]["pos"][0])
    return rows


def files(folder):
    """All that mining leaves, but for times."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "manifest.json":
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ranks": (5, 30)},
        {"margin": 0.1, "ranks": (0, 60)},
        {"relative_margin": 0.05, "ranks": (3, 60)},
        {"max_score": 0.6, "min_score": 0.3, "ranks": (0, 60)},
        {"margin": 0.02, "relative_margin": 0.04, "max_score": 0.7, "ranks": (1, 25)},
    ],
)
def test_options_mean_what_they_mean_in_mine_hard_negatives(static_model, tmp_path, options):
    """Rows have two positives each, so that the library searches as deep for one as for another."""
    rows = shared_rows(60)
    write_task(tmp_path / "a.jsonl.gz", rows)
    asked = {"ranks": (0, 20), "count": 4, **options}
    settings = MiningSettings(model=static_model, near=1.0, **asked)
    mine_tasks(find_sources(tmp_path / "a.jsonl.gz"), tmp_path / "out", settings, QUIET)
    pairs = [(one["query"], text) for one in rows for text in one["pos"]]
    mined = mine_hard_negatives(
        Dataset.from_dict(dict(zip(("query", "answer"), zip(*pairs, strict=True), strict=True))),
        SentenceTransformer(static_model),
        range_min=asked["ranks"][0],
        range_max=asked["ranks"][1],
        num_negatives=asked["count"],
        absolute_margin=options.get("margin"),
        relative_margin=options.get("relative_margin"),
        max_score=options.get("max_score"),
        min_score=options.get("min_score"),
        verbose=False,
    )
    wanted = {one["query"]: [] for one in rows}
    for line in mined.to_list():
        if line["negative"] not in wanted[line["query"]]:
            wanted[line["query"]].append(line["negative"])
    assert any(wanted.values())
    assert {one["query"]: one["neg"] for one in rows_of(tmp_path / "out", "a")} == wanted


@pytest.fixture
def two_tasks(tmp_path):
    folder = tmp_path / "data"
    for name, size in (("alpha", 70), ("beta/1", 40)):
        write_task(folder / "tasks" / f"{name[:4]}.jsonl.gz", shared_rows(size, size))
    index = {
        "alpha": {"path": "tasks/alph.jsonl.gz", "instruction": "Find the alpha"},
        "beta/1": {"path": "tasks/beta.jsonl.gz", "instruction": "Find the beta"},
    }
    (folder / "tasks.json").write_text(json.dumps(index))
    return folder


def test_a_recipe_reads_what_is_mined(two_tasks, static_model, tmp_path):
    settings = MiningSettings(model=static_model, count=3)
    mined = mine_tasks(find_sources(two_tasks), tmp_path / "out", settings, QUIET)
    assert list(mined) == ["alpha", "beta/1"]
    recipe = {"tasks": {"folder": "out"}, "model": {"name_or_path": "m"}}
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    sources = load_recipe(tmp_path / "recipe.yaml").task_sources()
    assert [(one.name, one.instruction) for one in sources] == [
        ("alpha", "Find the alpha"),
        ("beta/1", "Find the beta"),
    ]
    for one in prepare_tasks(sources, tmp_path / "prepared"):
        report = json.loads((tmp_path / "prepared" / _file(one.name) / "task.json").read_text())
        assert report["report"]["negatives_given"] == len(one)
        assert report["report"]["negatives_removed"] == 0
        assert [len(one.negatives[row]) for row in range(len(one))] == [3] * len(one)
    told = json.loads((tmp_path / "out" / "mined.json").read_text())
    assert told["settings"]["count"] == 3
    assert told["tasks"]["alpha"]["negatives"] == {"min": 3, "median": 3, "max": 3}
    assert told["tasks"]["alpha"]["shares"]["equal"] > 0


def _file(name):
    return name.replace("/", "%2F")


def test_what_is_done_stays_a_changed_task_is_done_again_and_other_settings_are_told(
    two_tasks, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    sources = find_sources(two_tasks)
    mine_tasks(sources, out, MiningSettings(count=3), QUIET)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("rows.jsonl")}
    mine_tasks(sources, out, MiningSettings(count=3, batch_size=64), QUIET)
    monkeypatch.chdir(two_tasks.parent)
    mine_tasks(find_sources(Path("data")), out, MiningSettings(count=3), QUIET)
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("rows.jsonl")}
    with pytest.raises(InputError, match=r"other settings \(count was 3 and is 4\)"):
        mine_tasks(sources, out, MiningSettings(count=4), QUIET)
    write_task(two_tasks / "tasks" / "beta.jsonl.gz", shared_rows(41, 1))
    mine_tasks(sources, out, MiningSettings(count=3), QUIET)
    after = {path: path.stat().st_mtime_ns for path in out.rglob("rows.jsonl")}
    assert {path.parent.name for path in before if before[path] != after[path]} == {_file("beta/1")}
    with pytest.raises(InputError, match="data is there already and holds nothing that was mined"):
        mine_tasks(sources, two_tasks, MiningSettings(count=3), QUIET)


def test_a_bad_task_leaves_the_others_done(two_tasks, tmp_path):
    write_task(two_tasks / "tasks" / "beta.jsonl.gz", [{"query": "q", "pos": ["p"]}])
    sources, out = find_sources(two_tasks), tmp_path / "out"
    with pytest.raises(InputError, match=r"beta\.jsonl\.gz has one passage"):
        mine_tasks(sources, out, MiningSettings(), QUIET)
    assert (out / "tasks" / "alpha" / "rows.jsonl").is_file()
    assert not (out / "tasks.json").exists()


def test_blocks_and_files_of_any_size_give_the_same(two_tasks, static_model, tmp_path, monkeypatch):
    settings = MiningSettings(model=static_model, count=5, sampling="random", margin=0.01)
    sources = find_sources(two_tasks)
    mine_tasks(sources, tmp_path / "whole", settings, QUIET)
    monkeypatch.setattr(dense, "_PASSAGES_PER_FILE", 7)
    monkeypatch.setattr(dense, "_MOST_ROWS", 16)
    monkeypatch.setattr(task, "_ROWS_PER_FILE", 8)
    mine_tasks(sources, tmp_path / "cut", settings, QUIET)
    assert files(tmp_path / "whole") == files(tmp_path / "cut")


class StoppedError(BaseException):
    pass


@pytest.mark.parametrize("after", range(9))
def test_stopped_anywhere_it_goes_on_and_encodes_nothing_twice(
    static_model, tmp_path, monkeypatch, after
):
    write_task(tmp_path / "a.jsonl.gz", shared_rows(50))
    sources = find_sources(tmp_path / "a.jsonl.gz")
    monkeypatch.setattr(dense, "_PASSAGES_PER_FILE", 10)
    monkeypatch.setattr(dense, "_MOST_ROWS", 16)
    monkeypatch.setattr(task, "_ROWS_PER_FILE", 8)
    settings = MiningSettings(model=static_model, count=5)
    mine_tasks(sources, tmp_path / "whole", settings, QUIET)
    encoded, real = [], DenseRanker._encoded

    def counted(self, encode, texts, what, **prompt):
        if len(encoded) == after and not (tmp_path / "stopped").exists():
            (tmp_path / "stopped").touch()
            raise StoppedError
        encoded.extend([what])
        return real(self, encode, texts, what, **prompt)

    monkeypatch.setattr(DenseRanker, "_encoded", counted)
    with pytest.raises(StoppedError):
        mine_tasks(sources, tmp_path / "out", settings, QUIET)
    mine_tasks(sources, tmp_path / "out", settings, QUIET)
    assert encoded.count("passage") == 5
    assert encoded.count("query") == 4
    assert files(tmp_path / "whole") == files(tmp_path / "out")


@pytest.mark.slow
def test_killed_and_resumed_it_ends_with_the_same_bits(two_tasks, llm_model, tmp_path):
    driver = Path(__file__).with_name("kill_driver.py")
    root = Path(__file__).parents[2]

    def call(output, *point):
        words = [two_tasks, output, llm_model, *point]
        environment = {**os.environ, "PYTHONPATH": str(root / "src")}
        command = [sys.executable, driver, *words]
        done = subprocess.run(
            list(map(str, command)), env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode in (0, -signal.SIGKILL), done.stderr[-2000:]
        return done.returncode

    assert call(tmp_path / "whole", "none", 0, 1) == 0
    out = tmp_path / "out"
    assert call(out, "negatives of alpha", 32, 1) == -signal.SIGKILL
    partial = out / "tasks" / ".alpha.partial" / "embeddings"
    assert len(list(partial.glob("*.safetensors"))) == 2
    assert call(out, "negatives of beta/1", 16, 2) == -signal.SIGKILL
    assert not (out / "tasks.json").exists()
    assert call(out, "none", 0, 1) == 0
    assert files(tmp_path / "whole") == files(out)
    assert not list(out.rglob("*.safetensors"))


def test_an_instruction_is_put_before_queries_where_the_model_was_trained_with_some(
    llm_model, static_model
):
    trained, plain = SentenceTransformer(llm_model), SentenceTransformer(static_model)
    assert prompt_for(trained, "alpha", "Another", None) == "Instruct: Find the alpha\nQuery: "
    assert prompt_for(trained, "beta", "Find the beta", None) == (
        "Instruct: Find the beta\nQuery: "
    )
    assert prompt_for(trained, "beta", "", None) is None
    assert prompt_for(plain, "beta", "Find the beta", None) is None
    assert prompt_for(plain, "beta", "Find the beta", True) == "Instruct: Find the beta\nQuery: "
    assert prompt_for(trained, "alpha", "Find", False) is None


def test_instructions_reach_the_model(two_tasks, llm_model, tmp_path):
    sources = find_sources(two_tasks)
    found = []
    for place, instructed in enumerate((True, False)):
        settings = MiningSettings(model=llm_model, count=5, instructed=instructed)
        mine_tasks(sources[:1], tmp_path / str(place), settings, QUIET)
        found.append(rows_of(tmp_path / str(place), "alpha"))
    assert found[0] != found[1]


def test_what_a_cross_encoder_rates_above_a_positive_is_no_negative(
    two_tasks, judge_model, tmp_path
):
    sources = find_sources(two_tasks)[1:]
    settings = MiningSettings(judge=judge_model, count=6, judge_margin=0.001, batch_size=4)
    mined = mine_tasks(sources, tmp_path / "out", settings, QUIET)["beta/1"]
    assert 0 < mined.filtered["judge"] < mined.judged
    rows = rows_of(tmp_path / "out", "beta/1")
    judge = CrossEncoderJudge(judge_model, 4)
    assert sum(len(one["neg"]) for one in rows) == mined.judged - mined.filtered["judge"]
    for one in rows[:10]:
        lowest = judge([(one["query"], text) for text in one["pos"]]).min()
        if one["neg"]:
            rated = judge([(one["query"], text) for text in one["neg"]])
            assert rated.max() <= lowest - 0.0009


def test_judges_that_cannot_be_used_say_so(masked_lm, judge_model, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="The judge 'gone' cannot be loaded"):
        CrossEncoderJudge("gone", 8)
    with pytest.raises(InputError, match="gives 3 scores for a pair"):
        CrossEncoderJudge(cross_encoder(masked_lm, tmp_path / "three", 3), 8)
    broken = shutil.copytree(judge_model, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(InputError, match=r"weights of '.*broken' cannot be read .* git-lfs"):
        CrossEncoderJudge(str(broken), 8)
    judge = CrossEncoderJudge(judge_model, 8)
    monkeypatch.setattr(judge.model, "predict", lambda *_, **__: np.array([1.0, np.nan]))
    with pytest.raises(InputError, match=r"not finite for a query such as 'q2'"):
        judge([("q1", "p"), ("q2", "p")])
