import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdro.errors import InputError
from tdro.exports.value import collect, share_out
from tdro.mixture import Mixture

WEIGHTS = st.dictionaries(st.text(max_size=3), st.floats(0, 1), min_size=1, max_size=30).filter(
    lambda weights: sum(weights.values()) > 0
)


@given(WEIGHTS, st.integers(0, 10**9))
def test_rows_sum_to_the_total_and_each_is_within_one_of_its_share(weights, total):
    rows = share_out(weights, total)
    assert list(rows) == list(weights)
    assert sum(rows.values()) == total
    whole = math.fsum(weights.values())
    for task, weight in weights.items():
        assert abs(rows[task] - weight / whole * total) < 1 + 1e-6 * total
        assert weight > 0 or rows[task] == 0


def test_the_rows_that_are_left_go_to_the_largest_remainders():
    assert share_out({"a": 0.5, "b": 0.26, "c": 0.24}, 10) == {"a": 5, "b": 3, "c": 2}
    assert share_out({"a": 1, "b": 1, "c": 1}, 2) == {"a": 1, "b": 1, "c": 0}


def test_weights_sum_to_one_though_the_files_of_the_authors_do_not(tmp_path):
    path = tmp_path / "mixture.json"
    Mixture({"a": 0.50003, "b": 0.49999, "c": 0.0}).save(path)
    export = collect(path)
    assert math.fsum(share.weight for share in export.shares) == pytest.approx(1, abs=1e-12)
    assert [share.name for share in export.shares] == ["a", "b"]
    assert export.left_out == ("c",)
    assert export.shares[0].file == "a.jsonl"


def test_rows_are_those_of_the_tasks_with_a_weight(nasty):
    assert collect(nasty / "mixture.json").total == 20 + 21 + 22 + 23 + 24
    assert sum(collect(nasty / "mixture.json", rows=7).rows().values()) == 7


def test_files_are_found_in_the_folder_of_tasks_json(task_folder, tmp_path):
    path = tmp_path / "mixture.json"
    Mixture({"alpha": 0.5, "tiny": 0.5}).save(path)
    files = [share.file for share in collect(path, task_folder).shares]
    assert files == ["tasks/alpha.jsonl.gz", "tasks/tiny.jsonl.gz"]


def test_an_absolute_path_inside_a_folder_given_relatively(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    file = tmp_path / "data" / "x.jsonl"
    file.touch()
    (tmp_path / "data" / "tasks.json").write_text(json.dumps({"a": {"path": str(file)}}))
    Mixture({"a": 1.0}).save(tmp_path / "mixture.json")
    monkeypatch.chdir(tmp_path)
    assert collect(tmp_path / "mixture.json", Path("data")).shares[0].file == "x.jsonl"


def test_a_mixture_without_sizes_needs_the_number_of_rows(tmp_path):
    path = tmp_path / "mixture.json"
    Mixture({"a": 1.0}).save(path)
    with pytest.raises(InputError, match=r"mixture\.json does not say how many rows .*--rows"):
        collect(path).rows()


def test_a_name_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "mixture.json"
    path.write_text('{"domain_weights": {"a\\ud800": 1.0}}')
    with pytest.raises(InputError, match=r"mixture\.json: the task name 'a\\ud800'"):
        collect(path)
