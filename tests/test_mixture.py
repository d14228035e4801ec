import json
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdro.errors import InputError
from tdro.mixture import Mixture

# Weights the authors released for their 25 collections (Apache-2.0).
CURRENT, TOP_70 = (
    Path(__file__).with_name(f"authors_{name}_weights.json") for name in ("curr", "top70")
)

weights = st.dictionaries(
    st.text(min_size=1, max_size=8), st.floats(0, 1), min_size=1, max_size=20
).filter(lambda found: sum(found.values()) > 0.01)


def normalised(found):
    total = sum(found.values())
    return {task: value / total for task, value in found.items()}


@given(weights)
def test_a_saved_mixture_comes_back_the_same(tmp_path_factory, found):
    path = tmp_path_factory.mktemp("mixture") / "file.json"
    mixture = Mixture(normalised(found), details={"method": "tdro"})
    mixture.save(path)
    again = Mixture.load(path)
    assert dict(again.weights) == dict(mixture.weights)
    assert list(again.weights) == list(mixture.weights)
    assert dict(again.details) == {"method": "tdro"}


def test_files_have_the_authors_layout(tmp_path):
    Mixture({"a": 0.25, "b": 0.75}, {"a": 100, "b": 300}).save(tmp_path / "m.json")
    content = json.loads((tmp_path / "m.json").read_text())
    assert content == {
        "domain_ids": {"a": 0, "b": 1},
        "domain_weights": {"a": 0.25, "b": 0.75},
        "size": {"a": 100, "b": 300},
        "epoch": {"a": 1.0, "b": 1.0},
    }


def test_the_released_weights_give_the_released_top_70_percent(tmp_path):
    Mixture.load(CURRENT).top("0.7").save(tmp_path / "top.json")
    ours, theirs = (json.loads(path.read_text()) for path in (tmp_path / "top.json", TOP_70))
    assert ours.pop("selection") == "top-0.7"
    assert ours == theirs


@pytest.mark.parametrize("path", [CURRENT, TOP_70], ids=["current", "top 70"])
def test_the_released_files_are_written_back_unchanged(path, tmp_path):
    Mixture.load(path).save(tmp_path / "again.json")
    again = json.loads((tmp_path / "again.json").read_text())
    assert again == json.loads(path.read_text())


@pytest.mark.parametrize(
    ("tasks", "fraction", "kept"),
    [(10, 0.7, 7), (10, "0.29", 2), (100, 0.29, 29), (4, 0.2, 1), (3, 1, 3), (25, 0.7, 17)],
)
def test_top_takes_the_floor_of_the_decimal_as_written(tasks, fraction, kept):
    even = {f"t{n}": (n + 1) / (tasks * (tasks + 1) / 2) for n in range(tasks)}
    top = Mixture(even).top(fraction)
    assert list(top.weights) == [f"t{n}" for n in reversed(range(tasks))][:kept]
    assert set(top.weights.values()) == {1 / kept}


@pytest.mark.parametrize("fraction", [0, -0.5, 1.5, "much", "nan", "inf"])
def test_an_impossible_fraction_is_one_sentence(fraction):
    with pytest.raises(InputError, match="fraction"):
        Mixture.uniform(["a", "b"]).top(fraction)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"a": 0.5, "b": 0.6}, "sum to 1"),
        ({"a": -0.5, "b": 1.5}, "weight of task 'a' is -0.5"),
        ({"a": float("nan")}, "weight of task 'a' is nan"),
        ({}, "at least one task"),
    ],
)
def test_impossible_weights_are_refused(wrong, sentence):
    with pytest.raises(InputError, match=sentence):
        Mixture(wrong)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "not valid JSON"),
        ("[1]", "no mixture file"),
        ('{"domain_weights": {"a": "much"}}', "task 'a' is 'much'"),
        ('{"domain_weights": {"a": 0.5}}', "sum to 1"),
        ('{"domain_weights": {"a": 1}, "domain_ids": ["a"]}', "'domain_ids' must give a whole"),
        ('{"domain_weights": {"a": 1}, "domain_ids": {"a": "0"}}', "'domain_ids' must give"),
        ('{"domain_weights": {"a": 1}, "size": [1]}', "'size' must give a whole number"),
        ('{"domain_weights": {"a": 1}, "size": {"a": "1"}}', "'size' must give a whole number"),
    ],
)
def test_a_broken_file_is_named(tmp_path, content, sentence):
    path = tmp_path / "broken.json"
    path.write_text(content)
    with pytest.raises(InputError, match=sentence) as caught:
        Mixture.load(path)
    assert "broken.json" in str(caught.value)


def test_a_folder_for_a_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot be read: Is a directory") as caught:
        Mixture.load(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_dataset_that_a_mixture_does_not_name_is_warned_of():
    mixture = Mixture({"a": 0.6, "b": 0.4, "c": 0.0})
    with pytest.warns(UserWarning, match=r"by the mixture, and so never trained on: 'x', 'y'\."):
        mixture.batch_sampler(["a", "x", "b", "c", "y"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mixture.batch_sampler(["a", "b", "c"])
        mixture.top(0.7).batch_sampler(["a", "b", "c", "x"])


def test_a_weight_without_a_dataset_is_refused_by_name():
    with pytest.raises(InputError, match="'b'"):
        Mixture.uniform(["a", "b"]).batch_sampler(["a", "c"])


def test_proportional_follows_the_rows():
    assert dict(Mixture.proportional({"a": 30, "b": 10}).weights) == {"a": 0.75, "b": 0.25}


@pytest.mark.parametrize("temperature", [60.0, 1e6])
def test_a_high_temperature_gives_all_to_the_largest_tasks(temperature):
    mixture = Mixture.proportional({"a": 10**6, "b": 10**6, "c": 10}, temperature)
    assert dict(mixture.weights) == pytest.approx({"a": 0.5, "b": 0.5, "c": 0.0})


@given(
    sizes=st.lists(st.integers(1, 10**7), min_size=1, max_size=6), temperature=st.floats(0.0, 4.0)
)
def test_weights_are_in_proportion_to_the_powers_of_the_rows(sizes, temperature):
    tasks = {f"t{place}": rows for place, rows in enumerate(sizes)}
    powers = {task: rows**temperature for task, rows in tasks.items()}
    found = Mixture.proportional(tasks, temperature).weights
    total = sum(powers.values())
    assert found == pytest.approx({task: power / total for task, power in powers.items()})


def test_a_mixture_cannot_be_changed():
    mixture = Mixture.uniform(["a"])
    with pytest.raises(TypeError):
        mixture.weights["a"] = 2.0
