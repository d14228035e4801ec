import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdro.errors import InputError
from tdro.mixture import Mixture
from tdro.selection import is_selection, selected, split_selection, unhelped_tasks


def mixture_of(gains):
    told = {task: {"gain": gain, "error": error} for task, (gain, error) in gains.items()}
    tasks = [*gains, "unmeasured"]
    return Mixture(
        {task: (place + 1) / sum(range(len(tasks) + 1)) for place, task in enumerate(tasks)},
        dict.fromkeys(tasks, 10),
        {"method": "learning-curve", "gains": told},
    )


def test_helped_leaves_out_what_surely_gains_little_and_weighs_the_rest_equally():
    # The mean gain is 0.12, so 0.04 is asked for.
    found = selected(
        mixture_of(
            {
                "steep": (0.4, 0.02),
                "doubtful": (0.03, 0.01),
                "flat": (0.02, 0.009),
                "worse": (0.03, 0),
            }
        ),
        "helped",
    )
    assert dict(found.weights) == pytest.approx(
        dict.fromkeys(["steep", "doubtful", "unmeasured"], 1 / 3)
    )
    assert set(found.sizes) == set(found.weights)
    assert found.details["selection"] == "helped"
    assert found.details["method"] == "learning-curve"


def test_helped_reads_slopes_too():
    told = {"a": {"slope": 1.0, "error": 0.1}, "b": {"slope": 0.0, "error": 0.05}}
    assert dict(selected(Mixture.uniform("ab"), "top-0.5").weights) == {"a": 1.0}
    found = selected(Mixture({"a": 0.5, "b": 0.5}, {}, {"slopes": told}), "helped")
    assert dict(found.weights) == {"a": 1.0}


numbers = st.floats(-1, 1, allow_subnormal=False)


@given(st.dictionaries(st.text(max_size=3), st.tuples(numbers, st.floats(0, 1)), max_size=8))
def test_something_is_always_kept_and_what_gains_more_is_not_left_out_before_what_gains_less(told):
    gains = {task: gain for task, (gain, _) in told.items()}
    errors = {task: error for task, (_, error) in told.items()}
    out = unhelped_tasks(gains, errors)
    assert len(out) < max(1, len(gains)) or not gains
    alike = unhelped_tasks(gains, dict.fromkeys(gains, 0.0))
    assert set(out) <= set(alike), "doubt leaves nothing out"
    kept = [gains[task] for task in gains if task not in alike]
    assert not alike or max(gains[task] for task in alike) <= min(kept)
    assert [gains[task] for task in out] == sorted(gains[task] for task in out)


def test_gains_of_other_tasks_do_not_count():
    told = {task: {"gain": gain, "error": 0.0} for task, gain in (("a", 0.0), ("gone", 1.0))}
    assert selected(Mixture({"a": 1.0}, {}, {"gains": told}), "helped").weights == {"a": 1.0}


def test_where_training_gained_nothing_no_task_is_named():
    assert unhelped_tasks({"a": -0.2, "b": 0.1}, {"a": 0.0, "b": 0.0}) == []
    assert unhelped_tasks({}, {}) == []


@pytest.mark.parametrize(
    ("details", "sentence"),
    [
        ({"method": "tdro"}, "does not tell: take one of learning-curve or regression"),
        ({"gains": {"a": {"gain": "x"}}}, "must give a 'gain' and an 'error' for each task"),
        ({"gains": [1]}, "must give a 'gain' and an 'error' for each task"),
    ],
)
def test_a_mixture_without_gains_is_told(details, sentence):
    with pytest.raises(InputError) as error:
        selected(Mixture({"a": 1.0}, {}, details), "helped")
    assert sentence in str(error.value)


def test_names_of_selections():
    assert split_selection("learning-curve/helped") == ("learning-curve", "helped")
    assert split_selection("a/b.json/top-0.7") == ("a/b.json", "top-0.7")
    assert split_selection("a/helped.json") == ("a/helped.json", "")
    assert [is_selection(name) for name in ("helped", "top-1", "top-0", "top")] == [
        *(True, True, False, False)
    ]
