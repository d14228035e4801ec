import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdro.learning.forms import ByMicroBatch, WholeStep
from tdro.learning.losses import RowLosses
from tdro.learning.measures import Excess, Plain, PooledRatio, ReleasedRatio, RowRatio, TaskRatio
from tdro.learning.rules import ClippedAscent, SmoothedAscent
from tdro.learning.weights import TaskWeights

PROXY = np.array([2.0, 4.0, 1.0, 3.0])
REFERENCE = np.array([1.0, 2.0, 2.0, 0.01])
TASK_OF = np.array([0, 0, 1, 2])
STEP = RowLosses(PROXY, REFERENCE, TASK_OF, 4)
POOLED = PooledRatio(np.array([1.0, 2.0, 0.5, 0.01, 3.0]))
MEASURES = [RowRatio(), ReleasedRatio(), TaskRatio(), Excess(), Plain()]


def losses_of(draw, rows, tasks):
    return RowLosses(
        draw.uniform(0.01, 5, rows),
        draw.uniform(0.01, 5, rows),
        draw.integers(0, tasks, rows),
        tasks,
    )


def test_task_ratio_is_the_ratio_of_means():
    np.testing.assert_allclose(TaskRatio()(STEP), [2.0, 0.5, 300.0, 0.0])


def test_pooled_ratio_divides_by_the_mean_over_the_plan_and_never_by_less_than_the_cut():
    measure = PooledRatio(np.array([2.0, 1.0, 0.1, 0.9]), cut=0.5)
    np.testing.assert_allclose(measure(STEP), [3.0 / 2, 1.0, 3.0 / 0.5, 0.0])
    assert measure.under_cut(STEP).tolist() == [False, False, False, True]


def test_pooled_ratio_moves_a_row_by_its_own_loss_only():
    """A tiny reference loss of a single row cannot set the direction of a step."""
    easier = RowLosses(PROXY, REFERENCE / 1000, TASK_OF, 4)
    measure = PooledRatio(np.ones(4))
    np.testing.assert_array_equal(measure(easier), measure(STEP))


def test_plain_is_the_mean_proxy_loss():
    np.testing.assert_allclose(Plain()(STEP), [3.0, 1.0, 3.0, 0.0])


def test_excess_is_never_below_zero():
    np.testing.assert_allclose(Excess()(STEP), [1.5, 0.0, 2.99, 0.0])


def test_row_ratio_leaves_rows_under_the_cut_at_zero():
    mean = REFERENCE.mean()
    np.testing.assert_allclose(RowRatio(cut=0.05)(STEP), [2 * mean, 0.5 * mean, 0.0, 0.0])
    assert RowRatio(cut=0.05).under_cut(STEP).tolist() == [False, False, False, True]


def test_released_ratio_counts_a_row_under_its_cut_as_if_the_reference_were_one():
    losses = RowLosses(PROXY, np.array([1.0, 2.0, 2.0, 1e-5]), TASK_OF, 4)
    total = losses.reference.sum()
    np.testing.assert_allclose(
        ReleasedRatio()(losses), [(2 * total + 4 * total / 2) / 2, total / 2, 3.0, 0.0]
    )
    assert ReleasedRatio().under_cut(losses).tolist() == [False, False, False, True]


@given(st.integers(2, 8))
def test_the_default_does_not_depend_on_the_number_of_rows_and_the_released_form_does(times):
    repeated = RowLosses.joined([STEP] * times)
    np.testing.assert_allclose(RowRatio()(repeated), RowRatio()(STEP), rtol=1e-12)
    released = ReleasedRatio()(repeated)
    np.testing.assert_allclose(released, times * ReleasedRatio()(STEP), rtol=1e-12)


def test_all_reference_losses_zero_give_no_signal():
    solved = RowLosses(PROXY, np.zeros(4), TASK_OF, 4)
    assert not RowRatio()(solved).any()
    assert not RowRatio(cut=0)(solved).any()
    assert not TaskRatio()(solved).any()
    assert np.isfinite(PooledRatio(np.zeros(4))(solved)).all()
    assert np.isfinite(ReleasedRatio()(solved)).all()


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: type(measure).__name__)
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 40))
def test_permuting_the_tasks_permutes_the_signal(measure, seed, rows):
    draw = np.random.default_rng(seed)
    losses = losses_of(draw, rows, 5)
    order = draw.permutation(5)
    renamed = RowLosses(losses.proxy, losses.reference, order[losses.task_of], 5)
    np.testing.assert_array_equal(measure(renamed)[order], measure(losses))


@given(seed=st.integers(0, 10_000), factor=st.floats(0.5, 3))
def test_scaling_both_losses_of_a_task(seed, factor):
    """Task ratios cancel the factor, group DRO follows it.

    In the row ratio the unit is the mean reference loss over all rows: a task whose two losses
    rise together raises the signals of all tasks alike, which clipping takes back.
    """
    draw = np.random.default_rng(seed)
    losses = losses_of(draw, 60, 3)
    mine = losses.task_of == 1
    scale = np.where(mine, factor, 1.0)
    scaled = RowLosses(losses.proxy * scale, losses.reference * scale, losses.task_of, 3)
    np.testing.assert_allclose(TaskRatio()(scaled), TaskRatio()(losses), rtol=1e-9)
    np.testing.assert_allclose(Plain()(scaled)[1], factor * Plain()(losses)[1], rtol=1e-9)
    unit = scaled.reference.mean() / losses.reference.mean()
    means = losses.task_means(losses.reference)
    pooled, scaled_pooled = PooledRatio(means), PooledRatio(scaled.task_means(scaled.reference))
    np.testing.assert_allclose(scaled_pooled(scaled), pooled(losses), rtol=1e-9)
    uncut = RowRatio(cut=0.0)
    np.testing.assert_allclose(uncut(scaled), unit * uncut(losses), rtol=1e-9)


def test_a_task_that_is_solved_sinks_under_the_cut():
    draw = np.random.default_rng(0)
    losses = losses_of(draw, 60, 3)
    scale = np.where(losses.task_of == 1, 1e-3, 1.0)
    solved = RowLosses(losses.proxy * scale, losses.reference * scale, losses.task_of, 3)
    pooled = PooledRatio(solved.task_means(solved.reference))
    assert pooled(solved)[1] < 0.02 * pooled(losses)[1]
    assert RowRatio()(losses)[1] > 0
    assert RowRatio()(solved)[1] == 0
    np.testing.assert_allclose(TaskRatio()(solved)[1], TaskRatio()(losses)[1], rtol=1e-9)


@given(seed=st.integers(0, 10_000), parts=st.sampled_from([1, 2, 4, 8]))
def test_a_whole_step_is_the_same_however_it_is_cut(seed, parts):
    draw = np.random.default_rng(seed)
    whole = losses_of(draw, 16, 4)
    weights = draw.dirichlet(np.ones(4))
    cut = [
        RowLosses(whole.proxy[part], whole.reference[part], whole.task_of[part], 4)
        for part in np.array_split(np.arange(16), parts)
    ]
    form = WholeStep()
    [part] = form.parts(cut)
    np.testing.assert_array_equal(RowRatio()(part), RowRatio()(whole))
    factors = np.concatenate([form.row_weights(weights, part.task_of, parts) for part in cut])
    np.testing.assert_allclose(factors, 4 * weights[whole.task_of] / 16)


def test_on_a_balanced_batch_both_forms_weight_rows_alike():
    weights = np.array([0.1, 0.2, 0.3, 0.4])
    task_of = np.tile(np.arange(4), 5)
    np.testing.assert_allclose(
        WholeStep().row_weights(weights, task_of, 2),
        ByMicroBatch().row_weights(weights, task_of, 2),
    )


def test_an_update_multiplies_weights_and_clips_the_signal():
    signal = np.array([3.0, 0.0, 4.0])
    even = TaskWeights.uniform(3).log_weights
    wanted = np.exp(0.1 * signal / 5)
    rule = ClippedAscent(0.1)
    np.testing.assert_allclose(np.exp(rule(even, signal)), wanted / wanted.sum(), rtol=1e-12)
    wanted = np.exp(0.1 * signal / 100)
    np.testing.assert_allclose(np.exp(rule(even, signal / 100)), wanted / wanted.sum(), rtol=1e-12)


def test_doremi_does_not_clip_and_never_loses_a_task():
    rule = SmoothedAscent(1.0, smoothing=0.1)
    weights = np.exp(rule(TaskWeights.uniform(2).log_weights, np.array([50.0, 0.0])))
    np.testing.assert_allclose(weights, [0.95, 0.05], rtol=1e-12)


@given(
    st.lists(st.lists(st.floats(0, 1e4), min_size=3, max_size=3), min_size=1, max_size=20),
    st.sampled_from([ClippedAscent(0.5), SmoothedAscent(1.0, 1e-3)]),
)
def test_weights_mean_and_ema_stay_mixtures(signals, rule):
    state = TaskWeights.uniform(3)
    seen = []
    for signal in signals:
        state = state.moved_to(rule(state.log_weights, np.array(signal)), 0.9)
        seen.append(state.weights)
        for vector in (state.weights, state.mean, state.ema):
            assert vector.sum() == pytest.approx(1, abs=1e-9)
            assert (vector >= 0).all()
    np.testing.assert_allclose(state.mean, np.mean(seen, axis=0), rtol=1e-9)
    again = TaskWeights.from_json(state.to_json())
    assert again.log_weights.tobytes() == state.log_weights.tobytes()


def test_weights_that_are_not_finite_are_refused():
    with pytest.raises(FloatingPointError, match="not finite"):
        TaskWeights.uniform(2).moved_to(np.array([0.0, np.nan]), 0.9)
