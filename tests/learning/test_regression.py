import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdro.learning.regression import random_mixtures, slopes_of

TRUTH = np.array([0.2, 0.05, 0.0, -0.1])


@given(st.integers(1, 8), st.integers(1, 9), st.floats(0.01, 3), st.integers(0, 99))
def test_random_mixtures_are_mixtures_in_opposite_pairs(tasks, count, spread, seed):
    weights = random_mixtures(tasks, count, spread, seed)
    assert weights.shape == (count, tasks)
    assert weights.sum(axis=1) == pytest.approx(1)
    assert weights.min() > 0
    logs = np.log(weights)
    logs -= logs.mean(axis=1, keepdims=True)
    pairs = count // 2 * 2
    assert logs[:pairs:2] == pytest.approx(-logs[1:pairs:2], abs=1e-6)


def test_more_mixtures_begin_with_the_fewer():
    assert random_mixtures(5, 12, 0.6, 3)[:7] == pytest.approx(random_mixtures(5, 7, 0.6, 3))


def test_slopes_are_found_again_whatever_the_level_of_a_group():
    weights = random_mixtures(4, 12, 0.6, 0)
    groups = np.repeat([0, 1], 6)
    scores = 0.5 + 0.3 * groups[:, None] + np.log(weights) * TRUTH
    found = slopes_of(weights, scores, groups)
    assert found.slope == pytest.approx(TRUTH)
    assert found.error == pytest.approx(0, abs=1e-6)
    assert found.shrunk == pytest.approx(TRUTH, abs=1e-6)


def test_the_error_is_that_of_repeated_fits():
    generator = np.random.default_rng(0)
    weights = random_mixtures(4, 24, 0.6, 0)
    groups = np.zeros(24, dtype=np.int64)
    clean = np.log(weights) * TRUTH
    fits = [
        slopes_of(weights, clean + generator.normal(0, 0.05, clean.shape), groups)
        for _ in range(400)
    ]
    spread = np.std([one.slope for one in fits], axis=0)
    told = np.mean([one.error for one in fits], axis=0)
    assert told == pytest.approx(spread, rel=0.15)


def test_a_task_left_out_is_not_looked_at_and_one_without_scores_gets_the_mean_slope():
    weights = random_mixtures(4, 12, 0.6, 0)
    scores = np.log(weights) * TRUTH
    weights[3, 0], scores[3, 0] = 0.0, 9.0
    scores[:, 2] = np.nan
    found = slopes_of(weights, scores, np.zeros(12, dtype=np.int64))
    assert found.slope[[0, 1, 3]] == pytest.approx(TRUTH[[0, 1, 3]])
    assert np.isnan(found.slope[2])
    assert found.shrunk[2] == pytest.approx(TRUTH[[0, 1, 3]].mean(), abs=1e-6)
