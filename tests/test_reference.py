from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdro.errors import InputError
from tdro.plan import make_plan
from tdro.reference import held_out_plan, load_losses, write_by_task
from tdro.tasks.prepare import prepare_tasks
from tdro.tasks.training import TrainingTask, halves, hold_out


@given(seed=st.integers(0, 1000))
def test_halves_are_disjoint_and_together_everything(task_halves, seed):
    for task in task_halves:
        one, other = halves(task, seed)
        assert not set(one.rows) & set(other.rows)
        np.testing.assert_array_equal(np.union1d(one.rows, other.rows), task.rows)
        assert abs(len(one.rows) - len(other.rows)) <= 1


@pytest.fixture(scope="module")
def task_halves(task_folder, tmp_path_factory):
    prepared = prepare_tasks(task_folder, tmp_path_factory.mktemp("tasks"))
    return [hold_out(task, 10, seed=0) for task in prepared]


def test_a_task_of_one_row_cannot_be_halved(task_halves):
    lonely = replace(task_halves[0], rows=task_halves[0].rows[:1])
    with pytest.raises(InputError, match=r"'alpha' has 1 rows to train on .* reference.folds to 1"):
        halves(lonely, 0)


@given(st.lists(st.integers(0, 4), min_size=2, max_size=20), st.integers(0, 9))
def test_rows_that_ask_the_same_are_in_one_half(alike, seed):
    first = np.array([alike.index(one) for one in alike])
    task = SimpleNamespace(name="t", first_alike=first)
    one, other = halves(TrainingTask(task, np.arange(len(alike)), np.array([])), seed)
    assert sorted([*one.rows, *other.rows]) == list(range(len(alike)))
    assert len(one.rows)
    assert len(other.rows)
    if len(set(alike)) > 1:
        assert not set(first[one.rows]) & set(first[other.rows])
        largest = max(map(alike.count, alike))
        assert abs(len(one.rows) - len(other.rows)) <= largest + 1


def test_places_of_halves_share_out_the_plan(task_halves):
    plan = make_plan(task_halves, steps=5, batch_size=8, negatives=2, seed=0)
    split = [halves(task, 0) for task in task_halves]
    places = [plan.places_of([pair[number] for pair in split]) for number in (0, 1)]
    np.testing.assert_array_equal(np.sort(np.concatenate(places)), np.arange(40))
    for place in places[0]:
        assert plan.row_of[place] in split[plan.task_of[place]][0].rows


def test_the_held_out_plan_holds_held_out_rows_only(task_halves):
    plan = held_out_plan(task_halves, negatives=2, seed=0)
    assert len(plan.task_of) == 32 * len(task_halves)
    for task, row in zip(plan.task_of, plan.row_of, strict=True):
        assert row in task_halves[task].held_out


def test_without_a_hold_out_there_is_nothing_to_plan(training_tasks):
    assert len(held_out_plan(training_tasks, negatives=2, seed=0).task_of) == 0


def write_losses(folder, losses):
    folder.mkdir(exist_ok=True)
    table = pa.table({"loss": np.array(losses, dtype=np.float32)})
    pq.write_table(table, folder / "losses.parquet")


def test_losses_are_told_apart_by_whether_the_reference_saw_the_row(task_halves, tmp_path):
    plan = make_plan(task_halves, steps=2, batch_size=8, negatives=2, seed=0)
    held = held_out_plan(task_halves, negatives=2, seed=0)
    mine = np.flatnonzero(plan.task_of == 0)
    trained = [plan.row_of[mine[:1]], *[np.empty(0, dtype=int)] * 3]
    losses = np.full(16, 2.0)
    losses[mine[0]] = 0.5
    write_losses(tmp_path, losses)
    write_losses(tmp_path / "held", np.full(len(held.task_of), 4.0))
    write_by_task(tmp_path, plan, trained, held, tmp_path / "held")
    first, second, *_ = pq.read_table(tmp_path / "by_task.parquet").to_pylist()
    assert (first["trained_on_rows"], first["trained_on_loss"]) == (1, 0.5)
    others = len(mine) - 1
    assert first["unseen_rows"] == others + 32
    assert first["unseen_loss"] == pytest.approx((2 * others + 4 * 32) / (others + 32))
    assert (second["trained_on_rows"], second["trained_on_loss"]) == (0, None)
    np.testing.assert_array_equal(load_losses(tmp_path), losses)
