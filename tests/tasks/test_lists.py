import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tdro.tasks.lists import Lists

pairs = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), max_size=40)


def _expected(items):
    lists = [[] for _ in range(6)]
    for owner, value in items:
        if value not in lists[owner]:
            lists[owner].append(value)
    return lists


def _lists(items):
    return Lists.from_pairs([a for a, _ in items], [b for _, b in items], 6)


@given(pairs)
def test_pairs_are_grouped_in_order_and_kept_once(items):
    lists = _lists(items)
    assert [lists[row].tolist() for row in range(len(lists))] == _expected(items)
    assert lists.values.dtype == np.int32


@given(pairs, pairs)
def test_minus(items, others):
    left = _lists(items).minus(_lists(others))
    wanted = [
        [value for value in one if value not in other]
        for one, other in zip(_expected(items), _expected(others), strict=True)
    ]
    assert [left[row].tolist() for row in range(6)] == wanted
