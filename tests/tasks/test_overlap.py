"""How much of one task is in another."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tdro.tasks.overlap import Overlap, keys_of, overlaps, shared_counts

TEXTS = st.lists(st.sampled_from([f"text {number}" for number in range(12)]), max_size=12)


@given(st.lists(TEXTS, max_size=6))
def test_counts_are_those_of_python_sets(tasks):
    counts = shared_counts([keys_of(texts) for texts in tasks])
    sets = [set(texts) for texts in tasks]
    assert counts.tolist() == [[len(one & other) for other in sets] for one in sets]


def test_spellings_of_a_text_are_one_key():
    assert len(keys_of(["A text.", "a  text", "another"])) == 2
    assert len(keys_of([])) == 0


def test_shares_are_of_the_first_task_and_the_greatest_comes_first():
    counts = shared_counts([keys_of(one) for one in (["a"], ["a", "b", "c", "d"], ["d", "x"])])
    found = list(overlaps(["small", "big", "other"], counts, 0.25))
    assert found == [
        Overlap("small", "big", 1, 1),
        Overlap("other", "big", 1, 2),
        Overlap("big", "small", 1, 4),
        Overlap("big", "other", 1, 4),
    ]
    assert [one.share for one in found] == [1, 0.5, 0.25, 0.25]
    assert list(overlaps(["small", "big", "other"], counts, 0.3)) == found[:2]


def test_a_task_without_texts_lies_nowhere():
    counts = shared_counts([keys_of([]), keys_of(["a"])])
    assert list(overlaps(["empty", "a"], counts, 0.1)) == []
    assert counts.dtype == np.int64
