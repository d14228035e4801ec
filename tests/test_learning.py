import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tdro.encoder import build_encoder
from tdro.learning.measures import Plain, RowRatio, TaskRatio
from tdro.learning.trainer import learn_weights
from tdro.learning.trajectory import Trajectory
from tdro.learning.weights import TaskWeights
from tdro.plan import make_plan
from tdro.settings import EncoderSettings, LearningSettings

PROXY = np.array([2.0, 4.0, 1.0, 3.0])
REFERENCE = np.array([1.0, 2.0, 2.0, 0.01])
TASK_OF = np.array([0, 0, 1, 2])


def test_task_ratio_is_the_ratio_of_means():
    np.testing.assert_allclose(TaskRatio()(PROXY, REFERENCE, TASK_OF, 4), [2.0, 0.5, 300.0, 0.0])


def test_plain_is_the_mean_proxy_loss():
    np.testing.assert_allclose(Plain()(PROXY, REFERENCE, TASK_OF, 4), [3.0, 1.0, 3.0, 0.0])


def test_row_ratio_leaves_rows_under_the_cut_at_zero():
    mean = REFERENCE.mean()
    found = RowRatio(cut=0.05)(PROXY, REFERENCE, TASK_OF, 4)
    np.testing.assert_allclose(found, [2 * mean, 0.5 * mean, 0.0, 0.0])


@given(st.integers(2, 8))
def test_row_ratio_does_not_depend_on_the_number_of_rows(times):
    repeated = (np.tile(PROXY, times), np.tile(REFERENCE, times), np.tile(TASK_OF, times), 4)
    once = RowRatio()(PROXY, REFERENCE, TASK_OF, 4)
    np.testing.assert_allclose(RowRatio()(*repeated), once, rtol=1e-12)


def test_all_reference_losses_zero_give_no_signal():
    assert not RowRatio()(PROXY, np.zeros(4), TASK_OF, 4).any()
    assert not TaskRatio()(PROXY, np.zeros(4), TASK_OF, 4).any()


def test_an_update_multiplies_weights_and_clips_the_signal():
    signal = np.array([3.0, 0.0, 4.0])
    state = TaskWeights.uniform(3).updated(signal, eta=0.1, ema_decay=0.9)
    wanted = np.exp(0.1 * signal / 5)
    np.testing.assert_allclose(state.weights, wanted / wanted.sum(), rtol=1e-12)
    small = TaskWeights.uniform(3).updated(signal / 100, eta=0.1, ema_decay=0.9)
    wanted = np.exp(0.1 * signal / 100)
    np.testing.assert_allclose(small.weights, wanted / wanted.sum(), rtol=1e-12)


@given(st.lists(st.lists(st.floats(0, 1e4), min_size=3, max_size=3), min_size=1, max_size=20))
def test_weights_mean_and_ema_stay_mixtures(signals):
    state = TaskWeights.uniform(3)
    seen = []
    for signal in signals:
        state = state.updated(np.array(signal), eta=0.5, ema_decay=0.9)
        seen.append(state.weights)
        for vector in (state.weights, state.mean, state.ema):
            assert vector.sum() == pytest.approx(1, abs=1e-9)
            assert (vector >= 0).all()
    np.testing.assert_allclose(state.mean, np.mean(seen, axis=0), rtol=1e-9)
    again = TaskWeights.from_json(state.to_json())
    assert again.log_weights.tobytes() == state.log_weights.tobytes()


def test_a_signal_that_is_not_finite_is_refused():
    with pytest.raises(FloatingPointError):
        TaskWeights.uniform(2).updated(np.array([1.0, np.nan]), eta=0.1, ema_decay=0.9)


def test_a_trajectory_comes_back_bit_for_bit(tmp_path):
    trajectory = Trajectory.start(["a", "b"])
    state = trajectory.state
    for step in range(3):
        state = state.updated(np.array([1.0, step / 7]), eta=0.1, ema_decay=0.9)
        losses = np.array([1 / 3, np.nan])
        trajectory = trajectory.extended(state, losses, losses, np.array([1.0, 0.0]))
    trajectory.save(tmp_path)
    again = Trajectory.load(tmp_path)
    assert again.tasks == trajectory.tasks
    assert np.stack(again.records).tobytes() == np.stack(trajectory.records).tobytes()
    assert again.state.ema.tobytes() == trajectory.state.ema.tobytes()
    assert trajectory.table().column_names[:2] == ["step", "task"]


@pytest.fixture
def learn(training_tasks, tiny_llm, tmp_path):
    plan = make_plan(training_tasks, steps=6, batch_size=8, negatives=2, seed=0)
    reference = np.random.default_rng(0).uniform(0.5, 2, len(plan.task_of))

    def run(name="run", tick=lambda *told: None, double=False, **options):
        given = {"steps": 6, "batch_size": 8, "negatives": 2, "learning_rate": 1e-3}
        settings = LearningSettings(**{**given, "temperature": 0.05, "save_every": 2, **options})
        torch.manual_seed(0)
        proxy = build_encoder(
            EncoderSettings(name_or_path=str(tiny_llm), layers=2, precision="fp32")
        )
        if double:
            proxy.double()
        directory = tmp_path / name
        directory.mkdir(exist_ok=True)
        tasks = [item.task for item in training_tasks]
        return learn_weights(
            proxy, plan, tasks, reference, settings, directory, precision="fp32", tick=tick
        )

    return run


def test_learning_moves_the_weights_and_records_every_step(learn):
    told = []
    trajectory = learn(tick=lambda *args: told.append(args), eta=0.5)
    assert len(trajectory.records) == 6
    assert [done for done, _, _ in told] == [1, 2, 3, 4, 5, 6]
    assert trajectory.state.weights.sum() == pytest.approx(1)
    assert trajectory.state.weights.max() > 0.26
    proxy_loss = np.stack(trajectory.records)[:, 3]
    assert np.isfinite(proxy_loss).all()
    assert (np.diff(proxy_loss, axis=0) != 0).all()


def test_how_a_step_is_cut_into_chunks_does_not_change_the_trajectory(learn):
    whole = learn("whole", double=True, chunk_tokens=100_000)
    cut = learn("cut", double=True, chunk_tokens=60)
    np.testing.assert_allclose(
        np.stack(cut.records), np.stack(whole.records), rtol=1e-9, equal_nan=True
    )


class StopError(Exception):
    pass


@pytest.mark.parametrize("at", [1, 3, 5])
def test_stopped_at_any_step_and_resumed_it_is_the_same_bit_for_bit(learn, at):
    whole = learn("whole")

    def stop(done, total, loss):
        if done == at:
            raise StopError

    with pytest.raises(StopError):
        learn("broken", tick=stop)
    told = []
    resumed = learn("broken", tick=lambda done, *rest: told.append(done))
    assert told[0] == at // 2 * 2 + 1
    assert np.stack(resumed.records).tobytes() == np.stack(whole.records).tobytes()


def test_a_loss_that_is_not_finite_names_the_task_and_the_remedy(learn, monkeypatch):
    monkeypatch.setattr(
        "tdro.learning.trainer.row_losses",
        lambda model, tokens, query_of, passage_of, **options: (
            next(model.parameters()).sum() * torch.full((len(query_of),), float("inf"))
        ),
    )
    with pytest.raises(FloatingPointError, match=r"task '.*'.* not finite at step 1: lower"):
        learn()


def test_a_mixture_is_learned_in_one_call_with_ones_own_measure(training_tasks, tiny_llm, tmp_path):
    from tdro import learn_mixture

    def model():
        return build_encoder(
            EncoderSettings(name_or_path=str(tiny_llm), layers=2, precision="fp32")
        )

    def only_beta(proxy, reference, task_of, tasks):
        return np.eye(tasks)[1] * 10

    mixture = learn_mixture(
        model(),
        model(),
        [item.task for item in training_tasks],
        LearningSettings(steps=3, batch_size=8, negatives=2, eta=0.5),
        measure=only_beta,
        trajectory_folder=tmp_path / "kept",
    )
    wanted = np.exp(0.5 * 3) / (np.exp(0.5 * 3) + 3)
    assert mixture.weights["beta"] == pytest.approx(wanted)
    assert mixture.sizes["tiny"] == 7
    assert len(Trajectory.load(tmp_path / "kept").records) == 3
