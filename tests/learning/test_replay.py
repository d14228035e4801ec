"""Replaying recorded losses; the golden figures are a trajectory of the authors' released code."""

import json
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdro.cli import main
from tdro.errors import InputError
from tdro.learning.method import method_of
from tdro.learning.record import LossRecord
from tdro.learning.replay import replay
from tdro.learning.trajectory import STEP_COLUMNS
from tdro.settings import LearningSettings

METHODS = ("tdro-pooled", "tdro", "tdro-paper", "tdro-released", "group-dro", "doremi")
RELEASED = json.loads(Path(__file__).with_name("released_updates.json").read_text())


def recorded(case, folder, **changes):
    count = len(RELEASED["cases"][case]["micro"])
    content = {
        "n_tasks": RELEASED["n_tasks"],
        "accumulation": RELEASED["cases"][case]["gradient_accumulation_steps"],
        "proxy_loss": RELEASED["inputs"]["proxy_loss"][:count],
        "reference_loss": RELEASED["inputs"]["ref_loss"][:count],
        "task_ids": RELEASED["inputs"]["domain_ids"][:count],
    }
    content.update(changes)
    path = folder / "losses.json"
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    return path


def replayed(path, **settings):
    settings = LearningSettings(**settings)
    record = LossRecord.load(path)
    return replay(record, method_of(settings, record.means()), settings.ema_decay)


@pytest.mark.parametrize("case", ["ga1", "ga4"])
def test_tdro_released_reproduces_the_released_code(case, tmp_path):
    golden = RELEASED["cases"][case]
    found = replayed(recorded(case, tmp_path), method="tdro-released")
    assert len(found.micro) == len(golden["micro"])
    assert len(found.updates) == len(golden["updates"])
    for ours, theirs in zip(found.micro, golden["micro"], strict=True):
        for name in ("task_signal", "robust_loss"):
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5, err_msg=name)
    for ours, theirs in zip(found.updates, golden["updates"], strict=True):
        np.testing.assert_allclose(ours["norm"], theirs["grad_norm_before_clip"], rtol=1e-5)
        for name in ("log_weights", "weights", "weights_mean", "weights_ema"):
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5, err_msg=name)


def test_the_same_rows_in_other_micro_batches_move_only_the_released_form(tmp_path):
    four = recorded("ga4", tmp_path)
    content = json.loads(four.read_text())
    joined = {
        key: [list(chain(*content[key][start : start + 4])) for start in range(0, 40, 4)]
        for key in ("proxy_loss", "reference_loss", "task_ids")
    }
    for method in METHODS:
        four = recorded("ga4", tmp_path)
        cut = replayed(four, method=method).updates[-1]
        whole = replayed(recorded("ga1", tmp_path, **joined), method=method).updates[-1]
        difference = np.abs(np.subtract(cut["weights"], whole["weights"])).max()
        if method == "tdro-released":
            assert difference > 1e-3
        else:
            assert difference < 1e-12


def test_permuting_the_tasks_permutes_the_mixture(tmp_path):
    order = [3, 0, 4, 1, 2]
    ids = [[order[task] for task in micro] for micro in RELEASED["inputs"]["domain_ids"][:20]]
    for method in METHODS:
        plain = replayed(recorded("ga1", tmp_path), method=method).updates[-1]["weights"]
        renamed = recorded("ga1", tmp_path, task_ids=ids)
        permuted = replayed(renamed, method=method).updates[-1]["weights"]
        np.testing.assert_allclose([permuted[order[task]] for task in range(5)], plain, rtol=1e-12)


def test_doremi_keeps_the_mean_and_the_others_the_last():
    kept = {name: LearningSettings(method=name).keeps for name in METHODS}
    assert kept.pop("doremi") == "mean"
    assert set(kept.values()) == {"last"}


@given(
    st.lists(
        st.lists(st.tuples(st.floats(0, 50), st.floats(0, 50), st.integers(0, 2)), min_size=1),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from([".json", ".parquet"]),
)
def test_a_record_comes_back_the_same(tmp_path_factory, parts, suffix):
    folder = tmp_path_factory.mktemp("record")
    columns = [[list(column) for column in zip(*part, strict=True)] for part in parts]
    (folder / "first.json").write_text(
        json.dumps(
            {
                "n_tasks": 3,
                "tasks": ["a", "b", "c"],
                "proxy_loss": [part[0] for part in columns],
                "reference_loss": [part[1] for part in columns],
                "task_ids": [part[2] for part in columns],
            }
        )
    )
    record = LossRecord.load(folder / "first.json")
    record.save(folder / f"again{suffix}")
    again = LossRecord.load(folder / f"again{suffix}")
    assert (again.tasks, again.accumulation) == (record.tasks, record.accumulation)
    for ours, theirs in zip(again.micro_batches, record.micro_batches, strict=True):
        for name in ("proxy", "reference", "task_of"):
            assert getattr(ours, name).tobytes() == getattr(theirs, name).tobytes()


BROKEN = [
    ({"proxy_loss": None}, "the key 'proxy_loss' is missing"),
    ({"n_tasks": 2}, "micro-batch 1: task_ids must be whole numbers from 0 to 1"),
    ({"accumulation": 3}, "20 micro-batches are no whole number of steps of 3"),
    ({"accumulation": 0}, "'accumulation' is 0"),
    ({"task_ids": [[0]]}, "equally long"),
    ({"task_ids": [[0]] * 20}, "micro-batch 1: its three lists must be equally long"),
    ({"proxy_loss": [["a"] * 32] * 20}, "micro-batch 1 holds something that is no number"),
    ({"reference_loss": [[float("nan")] * 32] * 20}, "micro-batch 1 holds a loss that is not fin"),
    ({"reference_loss": [[-1.0] * 32] * 20}, "micro-batch 1 holds a loss below zero"),
    ({"tasks": ["a", "a", "b", "c", "d"]}, "5 different names"),
]


@pytest.mark.parametrize(("changes", "sentence"), BROKEN)
def test_a_broken_record_is_told_in_one_sentence(tmp_path, changes, sentence):
    with pytest.raises(InputError, match=sentence):
        LossRecord.load(recorded("ga1", tmp_path, **changes))


def test_a_file_that_is_no_record_is_told(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"no parquet")
    for name, sentence in (("x.parquet", "no record of row losses"), ("y.parquet", "not exist")):
        with pytest.raises(InputError, match=sentence):
            LossRecord.load(tmp_path / name)
    pq.write_table(pa.table({"task": [1]}), tmp_path / "other.parquet")
    with pytest.raises(InputError, match=r"no record of row losses: give the row_losses\.parquet"):
        LossRecord.load(tmp_path / "other.parquet")
    (tmp_path / "z.json").write_text("[1]")
    with pytest.raises(InputError, match="no JSON object"):
        LossRecord.load(tmp_path / "z.json")


def command(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["tdro", "mixture", "replay", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_the_command_writes_every_update_and_prints_the_caveat(tmp_path, monkeypatch, capsys):
    losses, out = recorded("ga4", tmp_path), tmp_path / "out.json"
    assert not command(monkeypatch, losses, "--method", "tdro-released", "-o", out)
    written = json.loads(out.read_text())
    assert set(written["updates"][0]) == {
        *("task_signal", "norm", "log_weights", "weights", "weights_mean", "weights_ema")
    }
    golden = RELEASED["cases"]["ga4"]["updates"][-1]
    np.testing.assert_allclose(written["updates"][-1]["weights"], golden["weights"], rtol=1e-5)
    assert "trained differently" in " ".join(capsys.readouterr().out.split())


def test_set_changes_eta_and_cut(tmp_path, monkeypatch):
    losses, found = recorded("ga1", tmp_path), {}
    for name, options in {
        "plain": (),
        "eta": ("--set", "eta=0.5"),
        "cut": ("--set", "cut=0.5"),
    }.items():
        out = tmp_path / f"{name}.json"
        assert not command(monkeypatch, losses, "--method", "tdro", *options, "-o", out)
        found[name] = json.loads(out.read_text())["updates"]
    assert found["eta"][0]["task_signal"] == found["plain"][0]["task_signal"]
    assert found["eta"][0]["weights"] != found["plain"][0]["weights"]
    assert found["cut"][0]["task_signal"] != found["plain"][0]["task_signal"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ("--method", "tdr"),
            "'method' is 'tdr': a replay takes 'tdro-pooled', 'tdro', 'tdro-paper', "
            "'tdro-released', 'group-dro' or 'doremi'; the nearest is 'tdro'.",
        ),
        (("--method", "regression"), "does not learn from row losses"),
        (
            ("--method", "doremi", "--set", "cut=0.2"),
            "'cut' is read by tdro-pooled, tdro",
        ),
        (("--method", "tdro", "--set", "steps=3"), "a replay reads eta, cut, smoothing, ema_decay"),
        (("--method", "tdro", "--set", "eta=-1"), "'eta' is -1"),
    ],
)
def test_bad_options_end_with_code_2(tmp_path, monkeypatch, capsys, options, sentence):
    losses = recorded("ga1", tmp_path)
    assert command(monkeypatch, losses, *options, "-o", tmp_path / "out.json") == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()


def test_steps_tell_cut_zero_and_the_row_that_counts_most(tmp_path):
    losses = recorded(
        "ga1",
        tmp_path,
        n_tasks=2,
        proxy_loss=[[1.0, 0.0, 4.0]],
        reference_loss=[[1.0, 0.001, 2.0]],
        task_ids=[[0, 0, 1]],
    )
    [step] = replayed(losses, method="tdro").trajectory.steps
    assert set(STEP_COLUMNS) == set(vars(step))
    assert step.under_cut.tolist() == [0.5, 0.0]
    assert step.zero_loss.tolist() == [0.5, 0.0]
    np.testing.assert_allclose(step.largest, step.signal)
    np.testing.assert_allclose(step.norm, np.linalg.norm(step.signal))
