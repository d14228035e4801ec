import itertools
import json

import pytest
from rich.console import Console

from tdro.stages import RunDirectory, Stage
from tests.kills import killed_before

PARTS = [f"part-{number}" for number in range(6)]


class StopError(Exception):
    pass


def stage(value, worked, *, stop=False):
    """A stage that leaves a checkpoint, and takes one that is marked for whole."""

    def work(directory, tick):
        worked.append(value)
        checkpoint = directory / "trainer" / "checkpoint-1"
        if not (checkpoint / "complete").exists():
            checkpoint.mkdir(parents=True, exist_ok=True)
            for part in PARTS:
                (checkpoint / part).write_text(value)
            (checkpoint / "complete").touch()
        if stop:
            raise StopError
        (directory / "asked.jsonl").touch()
        (directory / "result").write_text(
            "".join((checkpoint / part).read_text() for part in PARTS)
        )
        return {"rows": 1}

    aids = ["trainer/checkpoint-*", "asked.jsonl"]
    return Stage("the stage", "a/stage", {"value": value}, work, aids=aids)


def done(root, one):
    """Does a stage in a new call and returns what it said."""
    console = Console(record=True, width=200, file=(root / "said").open("w"))
    RunDirectory(root, console).complete(one)
    (root / "said").unlink()
    return console.export_text()


def left(root):
    """Returns what lies in a run directory: folders, and files with what they hold."""
    found = {}
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        found[name] = path.read_text() if path.is_file() else None
        if path.name == "manifest.json":
            told = json.loads(path.read_text())
            found[name] = (told["inputs"], told["facts"])
    return found


def whole(value):
    return {
        "a": None,
        "a/stage": None,
        "a/stage/result": value * len(PARTS),
        "a/stage/manifest.json": ({"value": value}, {"rows": 1}),
    }


@pytest.mark.parametrize("before", ["nothing", "stale", "unfinished"])
def test_killed_at_any_change_a_stage_goes_on_to_the_same(tmp_path, before):
    for change in itertools.count(1):
        root = tmp_path / str(change)
        root.mkdir()
        if before == "stale":
            done(root, stage("old", []))
        if before == "unfinished":
            with pytest.raises(StopError):
                done(root, stage("old", [], stop=True))
        first, again = [], []
        with killed_before(change) as came:
            RunDirectory(root, Console(quiet=True)).complete(stage("new", first))
        finished = [path for path in root.rglob("manifest.json") if '"new"' in path.read_text()]
        done(root, stage("new", again))
        assert left(root) == whole("new"), change
        assert (len(again) == 0) == bool(finished), "finished work is not done again"
        if not came:
            break
    assert change > 10


def test_killed_while_other_work_is_removed_what_is_left_of_it_is_not_taken_for_whole(tmp_path):
    for change in itertools.count(1):
        root = tmp_path / str(change)
        root.mkdir()
        with pytest.raises(StopError):
            done(root, stage("old", [], stop=True))
        with killed_before(change) as came:
            RunDirectory(root, Console(quiet=True)).complete(stage("new", []))
        done(root, stage("old", []))
        if not came:
            break
        assert left(root) == whole("old"), change
    assert change > 10


def test_a_stage_published_by_a_later_call_tells_what_it_took(tmp_path):
    partial = tmp_path / "a" / ".stage.partial"
    done(tmp_path, stage("new", []))
    (tmp_path / "a" / "stage").rename(partial)
    manifest = json.loads((partial / "manifest.json").read_text())
    (partial / "manifest.json").write_text(json.dumps({**manifest, "seconds": 12.34}))
    assert "the stage: 12.3 s, 1 rows" in done(tmp_path, stage("new", []))
    assert "the stage: done before" in done(tmp_path, stage("new", []))
