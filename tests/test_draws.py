import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tdro.draws import quota_sequence


def by_scanning_every_task(weights, length, seed):
    """The chairman assignment as first written: each turn looks at every task."""
    share = np.asarray(weights, dtype=np.float64)
    active = np.random.default_rng(seed).permutation(np.flatnonzero(share > 0))
    share = share[active] / share[active].sum()
    if len(active) == 1:
        return np.full(length, active[0], dtype=np.int64)
    slack = 1 / (2 * len(active) - 2)
    dealt = np.zeros(len(active))
    turns = np.empty(length, dtype=np.int64)
    for turn in range(length):
        due = (turn + 1) * share - dealt
        with np.errstate(over="ignore"):
            deadline = np.where(due >= slack - 1e-9, (1 - slack - due) / share, np.inf)
        chosen = int(deadline.argmin())
        dealt[chosen] += 1
        turns[turn] = active[chosen]
    return turns


# Whole numbers, powers of two and repeated values give deadlines that are equal but for rounding.
numbers = st.one_of(
    st.floats(0, 1), st.integers(0, 6), st.sampled_from([0.5, 0.25, 0.125, 0.1, 1e-9, 5e-324])
)


@settings(max_examples=300, deadline=None)
@given(st.lists(numbers, min_size=1, max_size=40), st.integers(0, 600), st.integers(0, 1000))
def test_the_heap_deals_what_a_scan_of_every_task_deals(weights, length, seed):
    total = sum(weights)
    if total < 0.01:
        return
    weights = [weight / total for weight in weights]
    expected = by_scanning_every_task(weights, length, seed)
    assert quota_sequence(weights, length, seed).tolist() == expected.tolist()


@pytest.mark.parametrize("tasks", [2, 3, 96, 1000])
@pytest.mark.parametrize("shape", [lambda n: 1 / n, lambda n: 1.0, lambda n: 2.0 ** -(n % 20)])
def test_many_tasks_are_dealt_the_same(tasks, shape):
    weights = np.array([shape(number) for number in range(1, tasks + 1)])
    weights /= weights.sum()
    expected = by_scanning_every_task(weights, 1500, 3)
    assert (quota_sequence(weights, 1500, 3) == expected).all()
