import itertools
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers.base.sampler import DefaultBatchSampler, NoDuplicatesBatchSampler
from torch.utils.data import ConcatDataset, RandomSampler, SequentialSampler

from tdro import draws, sampling
from tdro.draws import TaskDraws, distinct_batches, quota_sequence
from tdro.errors import InputError
from tdro.mixture import Mixture
from tdro.tasks.mapped import PassageLists
from tdro.tasks.task import Task
from tdro.tasks.training import TrainingTask

shares = (
    st.lists(st.floats(0, 1), min_size=1, max_size=30)
    .filter(lambda found: sum(found) > 0.01)
    .map(lambda found: [value / sum(found) for value in found])
)


@settings(max_examples=200, deadline=None)
@given(shares, st.integers(0, 1000))
def test_every_prefix_holds_each_share_to_within_one_turn(weights, seed):
    turns = quota_sequence(weights, 400, seed)
    had = np.cumsum(np.eye(len(weights))[turns], axis=0)
    wanted = np.arange(1, 401)[:, None] * np.array(weights)
    assert np.abs(had - wanted).max() < 1 + 1e-6
    assert not had[-1][np.array(weights) == 0].any()


def mapped(lists, chunk=7):
    """The column of a prepared task, in chunks as on disk."""
    parts = [lists[start : start + chunk] for start in range(0, len(lists), chunk)]
    return PassageLists(pa.chunked_array(parts, pa.list_(pa.int32())))


class _Stub:
    """The part of a task that sampling looks at."""

    answers = Task.answers

    def __init__(self, name, positives, negatives, passages, own=None):
        self.name = name
        self.positives = mapped(positives)
        self.negatives = mapped(negatives)
        self.passages = range(passages)
        self.own = np.array(own or [-1] * len(positives), dtype=np.int32)


@st.composite
def tasks(draw):
    passages = draw(st.integers(4, 40))
    number = st.integers(0, passages - 1)
    rows = draw(
        st.lists(
            st.tuples(
                st.sets(number, min_size=1, max_size=min(3, passages - 2)),
                st.sets(number, max_size=5),
                st.none() | number,
            ),
            min_size=1,
            max_size=30,
        )
    )
    positives = [sorted(positive) for positive, *_ in rows]
    negatives = [sorted(negative - positive - {own}) for positive, negative, own in rows]
    own = [-1 if own is None or own in positive else own for positive, _, own in rows]
    task = _Stub("stub", positives, negatives, passages, own)
    return TrainingTask(task, np.arange(len(rows)), np.arange(0))


@settings(max_examples=100, deadline=None)
@given(tasks(), st.integers(0, 6), st.integers(0, 99))
def test_neither_a_positive_nor_the_query_is_drawn_as_a_negative(source, negatives, seed):
    for draw in itertools.islice(TaskDraws(source, negatives, seed), 3 * len(source.rows)):
        assert draw.positive in source.task.positives[draw.row].tolist()
        assert len(draw.negatives) == negatives
        assert not set(source.task.answers(draw.row).tolist()) & set(draw.negatives)


@settings(max_examples=100, deadline=None)
@given(tasks(), st.integers(0, 2), st.integers(2, 8))
def test_no_passage_of_a_batch_answers_another_row(source, negatives, size):
    for batch in itertools.islice(distinct_batches(TaskDraws(source, negatives, 0), size), 6):
        assert 1 <= len(batch[0]) <= size
        for (row, _), (_, passages) in itertools.permutations(zip(*batch, strict=True), 2):
            answers = set(source.task.answers(int(row)).tolist())
            assert not answers & set(passages.tolist())


def test_batches_are_full_where_the_passages_allow_it():
    task = _Stub("even", [[n] for n in range(50)], [[]] * 50, 50)
    source = TrainingTask(task, np.arange(50), np.arange(0))
    batches = list(itertools.islice(distinct_batches(TaskDraws(source, 0, 0), 16), 20))
    assert {len(rows) for rows, _ in batches} == {16}


def dealt_one_by_one(drawn, size):
    """What ``distinct_batches`` does, with one draw at a time."""
    fresh, waiting = iter(drawn), []
    while True:
        batch, left = [], []

        def fits(draw, batch=batch):
            return len(batch) < size and not any(
                {draw.positive, *draw.negatives} & set(other.answers)
                or {other.positive, *other.negatives} & set(draw.answers)
                for other in batch
            )

        for draw in waiting:
            (batch if fits(draw) else left).append(draw)
        while len(batch) < size and len(left) < 8 * size:
            draw = next(fresh)
            (batch if fits(draw) else left).append(draw)
        waiting = left
        yield [(draw.row, draw.positive, *draw.negatives) for draw in batch]


@settings(max_examples=100, deadline=None)
@given(tasks(), st.integers(0, 2), st.integers(2, 8))
def test_batches_are_those_of_dealing_one_by_one(source, negatives, size):
    drawn = TaskDraws(source, negatives, 0)
    plain = itertools.islice(dealt_one_by_one(drawn, size), 8)
    for (rows, passages), expected in zip(distinct_batches(drawn, size), plain, strict=False):
        found = zip(rows.tolist(), passages.tolist(), strict=True)
        assert [(row, *shown) for row, shown in found] == expected


def test_two_ways_to_say_the_same_are_neither_filled_up_nor_batched_with_their_own_texts():
    # Rows 2n and 2n + 1 are a pair, each with the other's text as its positive.
    pairs = [n ^ 1 for n in range(40)]
    task = _Stub("paraphrases", [[n] for n in pairs], [[]] * 40, 40, own=list(range(40)))
    source = TaskDraws(TrainingTask(task, np.arange(40), np.arange(0)), 3, 0)
    for rows, passages in itertools.islice(distinct_batches(source, 8), 30):
        assert not (passages == rows[:, None]).any()
        assert len({int(row) // 2 for row in rows}) == len(rows)


def test_draws_of_a_task_whose_queries_are_no_passages_stay_what_they_were():
    hard = [[6], [7], [], [], [8], []]
    source = TrainingTask(_Stub("apart", [[n] for n in range(6)], hard, 9), np.arange(6), [])
    rows, passages = TaskDraws(source, 4, 3).first(3)
    assert rows.tolist() == [2, 5, 4]
    assert passages.tolist() == [[2, 7, 5, 4, 1], [5, 1, 4, 3, 7], [4, 8, 5, 1, 6]]


def test_each_pass_reads_every_row_once():
    task = _Stub("even", [[n] for n in range(20)], [[]] * 20, 20)
    source = TrainingTask(task, np.arange(5, 20), np.arange(5))
    draws = list(itertools.islice(TaskDraws(source, 2, 3), 45))
    for start in (0, 15, 30):
        assert sorted(draw.row for draw in draws[start : start + 15]) == list(range(5, 20))


def test_a_task_whose_every_passage_is_an_answer_is_refused_by_name():
    source = TrainingTask(_Stub("odd", [[0, 1]], [[]], 2), np.arange(1), np.arange(0))
    with pytest.raises(InputError, match="'odd'"):
        next(iter(TaskDraws(source, 1, 0)))
    pair = TrainingTask(_Stub("pair", [[0]], [[]], 2, own=[1]), np.arange(1), np.arange(0))
    with pytest.raises(InputError, match="one of its positives or its query"):
        next(iter(TaskDraws(pair, 1, 0)))


def test_hard_negatives_come_first_and_others_fill_up():
    hard = [[20, 21, 22], [20], [], [23, 24]]
    task = _Stub("few", [[0], [1], [2], [3]], hard, 30)
    for draw in itertools.islice(
        TaskDraws(TrainingTask(task, np.arange(4), np.arange(0)), 3, 5), 40
    ):
        own = hard[draw.row]
        assert set(draw.negatives[: len(own)]) == set(own)
        assert len(set(draw.negatives)) == 3


def test_every_passage_is_drawn_alike():
    task = _Stub("alike", [[0, 1, 2, 3]], [[4, 5, 6, 7, 8]], 9)
    source = TrainingTask(task, np.arange(1), np.arange(0))
    rows, passages = TaskDraws(source, 2, 0).first(6000)
    assert not rows.any()
    positives = np.bincount(passages[:, 0], minlength=4)
    assert np.abs(positives - 1500).max() < 150
    for column in (1, 2):
        assert np.abs(np.bincount(passages[:, column])[4:] - 1200).max() < 150


@pytest.mark.parametrize("size", [1, 5, 6, 13])
def test_a_pass_in_blocks_reads_every_row_once_and_first_says_the_same(size, monkeypatch):
    monkeypatch.setattr(draws, "_BLOCK", 6)
    task = _Stub("blocks", [[n] for n in range(size)], [[]] * size, size + 4)
    source = TaskDraws(TrainingTask(task, np.arange(size), np.arange(0)), 2, 1)
    drawn = list(itertools.islice(source, 3 * size))
    for start in range(0, 3 * size, size):
        assert sorted(draw.row for draw in drawn[start : start + size]) == list(range(size))
    rows, passages = source.first(3 * size)
    assert rows.tolist() == [draw.row for draw in drawn]
    assert passages.tolist() == [[draw.positive, *draw.negatives] for draw in drawn]


@given(st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=1, max_size=30), st.data())
def test_many_lists_are_read_as_one_by_one(lists, data):
    column = mapped(lists)
    rows = data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=40))
    lengths, values = column.take(np.array(rows, dtype=np.int64))
    assert lengths.tolist() == [len(lists[row]) for row in rows]
    assert values.tolist() == [number for row in rows for number in lists[row]]


def make_sampler(mixture, sizes, *, child="random", batches=None, batch_size=4, seed=0):
    datasets = {
        name: Dataset.from_dict({"text": [f"{name} {n}" for n in range(size)]})
        for name, size in sizes.items()
    }
    shared = torch.Generator().manual_seed(seed)
    children = []
    for dataset in datasets.values():
        options = {"batch_size": batch_size, "drop_last": True, "generator": shared, "seed": seed}
        if child == "random":
            rows = RandomSampler(dataset, generator=shared)
            children.append(DefaultBatchSampler(rows, **options))
        elif child == "in order":
            children.append(DefaultBatchSampler(SequentialSampler(dataset), **options))
        else:
            children.append(NoDuplicatesBatchSampler(dataset, **options))
    factory = mixture.batch_sampler(datasets, batches=batches)
    return factory(ConcatDataset(datasets.values()), children, generator=shared, seed=seed)


def owners(batches, sizes):
    bounds = np.cumsum([0, *sizes.values()])
    found = []
    for batch in batches:
        places = {int(np.searchsorted(bounds, row, side="right")) - 1 for row in batch}
        assert len(places) == 1, "a batch mixes tasks"
        found.append(places.pop())
    return found


SIZES = {"a": 40, "b": 9, "c": 100}


@pytest.mark.parametrize("child", ["random", "in order", "no duplicates"])
def test_batches_hold_one_task_and_follow_the_weights(child):
    mixture = Mixture({"a": 0.5, "b": 0.2, "c": 0.3})
    sampler = make_sampler(mixture, SIZES, child=child, batches=100)
    counts = Counter(owners(sampler, SIZES))
    assert len(sampler) == 100
    assert counts == {0: 50, 1: 20, 2: 30}


def test_the_same_seed_gives_the_same_batches_and_another_epoch_others():
    mixture = Mixture.uniform(SIZES)
    first, second = (make_sampler(mixture, SIZES, batches=40) for _ in range(2))
    assert list(first) == list(second)
    second.set_epoch(1)
    assert list(first) != list(second)


def test_what_a_task_reads_does_not_depend_on_the_weights_of_the_others():
    def rows_of_a(mixture):
        batches = list(make_sampler(mixture, SIZES, batches=60))
        return [b for b, owner in zip(batches, owners(batches, SIZES), strict=True) if owner == 0]

    one = rows_of_a(Mixture({"a": 0.3, "b": 0.1, "c": 0.6}))
    other = rows_of_a(Mixture({"a": 0.5, "b": 0.5, "c": 0.0}))
    assert one == other[: len(one)]


def test_several_processes_see_the_same_task_at_the_same_time(monkeypatch):
    monkeypatch.setattr(sampling, "get_world_size", lambda: 3)
    found = owners(make_sampler(Mixture.uniform(SIZES), SIZES, batches=60), SIZES)
    assert all(len(set(found[start : start + 3])) == 1 for start in range(0, 60, 3))


def test_a_task_smaller_than_a_batch_is_refused_by_name():
    with pytest.raises(InputError, match="'b' is smaller than a batch"):
        make_sampler(Mixture.uniform(SIZES), SIZES, batch_size=16)


def test_a_task_that_cannot_fill_one_batch_without_duplicates_ends_in_a_sentence():
    alike = Dataset.from_dict({"text": ["same"] * 8})
    child = NoDuplicatesBatchSampler(alike, batch_size=4, drop_last=True, seed=0)
    factory = Mixture.uniform(["a"]).batch_sampler(["a"], batches=3)
    with pytest.raises(InputError, match="'a' gives no batch"):
        list(factory(ConcatDataset([alike]), [child]))


def blocks(*sizes):
    numbers = np.repeat(np.arange(len(sizes)), sizes)
    return Dataset.from_dict({"block": numbers, "row": np.arange(len(numbers))})


def test_processes_together_get_the_batch_of_one(monkeypatch):
    whole = list(sampling.BlockBatchSampler(blocks(8, 8, 5), batch_size=8, drop_last=False))
    monkeypatch.setattr(sampling, "get_world_size", lambda: 2)
    sampler = sampling.BlockBatchSampler(blocks(8, 8, 5), batch_size=4, drop_last=False)
    cut = list(sampler)
    assert len(sampler) == len(cut) == 6
    assert [left + right for left, right in zip(cut[::2], cut[1::2], strict=True)][:2] == whole[:2]
    # Both get the same number of rows: of five, one is left out.
    assert cut[4:] == [[16, 17], [18, 19]]


def test_a_batch_too_small_for_the_processes_is_told_of_before_the_first_step(monkeypatch):
    monkeypatch.setattr(sampling, "get_world_size", lambda: 4)
    with pytest.raises(InputError, match="3 rows only, fewer than the 4 processes"):
        sampling.BlockBatchSampler(blocks(8, 3), batch_size=2, drop_last=False)
