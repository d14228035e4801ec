import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdro.learning.simplex import Candidate, best_apart, search_simplex


def near(target):
    """A score that is best at a target."""
    return lambda weights: -float(np.abs(weights - target).sum())


@given(st.integers(2, 12), st.integers(4, 60), st.integers(0, 5))
def test_it_asks_for_so_many_mixtures_and_for_nothing_else(tasks, samples, seed):
    asked = []

    def score(weights):
        asked.append(weights)
        return float(weights[0])

    found = search_simplex(score, tasks, samples, seed)
    assert len(found) == len(asked) <= samples
    assert np.allclose(asked[0], 1 / tasks)
    assert all(weights.min() >= 0 and weights.sum() == pytest.approx(1) for weights in asked)


def test_the_same_arguments_ask_for_the_same_mixtures():
    target = np.array([0.6, 0.3, 0.1])
    one, other = (search_simplex(near(target), 3, 80, seed=3) for _ in range(2))
    assert all((a.weights == b.weights).all() for a, b in zip(one, other, strict=True))


def test_the_local_search_comes_closer_than_the_samples():
    target = np.array([0.5, 0.02, 0.2, 0.08, 0.2])
    found = search_simplex(near(target), 5, 400, seed=0)
    sampled = max(one.score for one in found[:200])
    best = max(one.score for one in found)
    assert best > sampled
    assert best > -0.1


def test_the_best_that_differ_are_picked():
    weights = [[0.5, 0.5], [0.51, 0.49], [0.8, 0.2], [0.1, 0.9]]
    candidates = [
        Candidate(np.array(one), score) for one, score in zip(weights, (4, 3, 2, 1), strict=True)
    ]
    assert [one.score for one in best_apart(candidates, 3)] == [4, 2, 1]
    assert [one.score for one in best_apart(candidates[:2], 3)] == [4]
