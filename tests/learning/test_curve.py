import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from tdro.learning.curve import curve_weights, gains_of
from tdro.selection import unhelped_tasks

slopes = st.lists(st.floats(-1, 1), min_size=1, max_size=12).map(np.array)


@given(slopes, st.floats(0, 1))
def test_weights_are_a_mixture_above_the_floor(gains, floor):
    weights = curve_weights(gains, floor)
    assert weights.sum() == pytest.approx(1)
    assert weights.min() >= floor / len(gains) - 1e-12


@given(slopes, st.floats(0.01, 100))
def test_the_unit_of_the_scores_does_not_matter(gains, unit):
    assert curve_weights(gains * unit, 0.2) == pytest.approx(curve_weights(gains, 0.2), abs=1e-9)


def test_they_are_the_best_rows_where_scores_grow_with_the_logarithm():
    slopes = np.array([0.02, 0.1, 0.05, 0.13])

    def loss(logits):
        rows = np.exp(logits - np.logaddexp.reduce(logits))
        return -float((slopes * np.log(rows)).sum())

    best = minimize(loss, np.zeros(4), tol=1e-12).x
    found = np.exp(best - np.logaddexp.reduce(best))
    assert curve_weights(slopes, 0.0) == pytest.approx(found, abs=1e-4)


def test_nothing_gained_anywhere_is_uniform():
    assert curve_weights(np.array([-0.1, 0.0]), 0.2) == pytest.approx([0.5, 0.5])


def test_gains_without_noise_are_kept_and_noise_alone_is_shrunk_away():
    generator = np.random.default_rng(0)
    exact = gains_of([np.zeros(50)] * 3, [np.full(50, value) for value in (0.1, 0.2, 0.6)])
    assert exact.shrunk == pytest.approx([0.1, 0.2, 0.6])
    noise = [generator.normal(0.1, 1.0, 40) for _ in range(200)]
    guessed = gains_of([np.zeros(40)] * 200, noise)
    assert guessed.shrunk.std() < 0.3 * guessed.gain.std()
    assert guessed.shrunk.mean() == pytest.approx(guessed.gain.mean(), abs=0.02)


def test_shrinking_comes_closer_to_the_truth():
    generator = np.random.default_rng(1)
    truth = generator.uniform(0, 0.2, 300)
    noisy = [generator.normal(value, 0.8, 60) for value in truth]
    found = gains_of([np.zeros(60)] * 300, noisy)
    assert ((found.shrunk - truth) ** 2).mean() < 0.5 * ((found.gain - truth) ** 2).mean()


@pytest.mark.parametrize("queries", [2, 3, 5, 10])
def test_a_few_queries_that_agree_by_chance_are_no_evidence(queries):
    generator = np.random.default_rng(queries)
    left_out = 0
    for _ in range(200):
        # On every task one query in five gains.
        sizes = [100, 100, 100, queries]
        gained = [0.5 * (generator.random(size) < 0.2) for size in sizes]
        found = gains_of([np.zeros(size) for size in sizes], gained)
        names = [str(task) for task in range(4)]
        gains, errors = (dict(zip(names, one, strict=True)) for one in (found.gain, found.error))
        left_out += "3" in unhelped_tasks(gains, errors)
    assert left_out <= 4


def test_a_task_without_queries_gets_the_mean_gain():
    nothing = np.array([])
    found = gains_of([np.zeros(20), nothing, np.zeros(20)], [np.ones(20), nothing, np.full(20, 3)])
    assert np.isnan(found.gain[1])
    assert found.shrunk[1] == pytest.approx(2.0)
    assert gains_of([nothing], [nothing]).shrunk == pytest.approx([0.0])
