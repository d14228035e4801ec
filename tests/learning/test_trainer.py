import contextlib

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

from tdro.encoder import build_encoder
from tdro.errors import InputError
from tdro.learning.losses import RowLosses
from tdro.learning.method import method_of
from tdro.learning.record import LossRecord
from tdro.learning.replay import replay
from tdro.learning.rules import log_softmax
from tdro.learning.trainer import Learned, learn_weights, mixture_trainer
from tdro.learning.trajectory import STEP_COLUMNS, Trajectory
from tdro.plan import make_plan
from tdro.settings import EncoderSettings, LearningSettings


def losses_of(draw, rows=8, tasks=4):
    proxy, reference = draw.uniform(0.01, 5, (2, rows))
    return RowLosses(proxy, reference, draw.integers(0, tasks, rows), tasks)


def same(one, other):
    """Whether two trajectories, what they were learned from and what they took, are the same."""
    assert one.tokens == other.tokens
    assert one.trajectory.tasks == other.trajectory.tasks
    assert one.trajectory.state.to_json() == other.trajectory.state.to_json()
    assert one.trajectory.table().equals(other.trajectory.table())
    pairs = zip(one.record.micro_batches, other.record.micro_batches, strict=True)
    return all(a.proxy.tobytes() == b.proxy.tobytes() for a, b in pairs)


def weights_of(learned):
    return np.stack([step.weight for step in learned.trajectory.steps])


def test_what_was_learned_comes_back_bit_for_bit(tmp_path):
    draw = np.random.default_rng(0)
    learned = Learned(Trajectory.start("abcd"), LossRecord(tuple("abcd"), 1, np.ones(4)))
    method = method_of(LearningSettings(), np.ones(4))
    for _ in range(3):
        step = [losses_of(draw)]
        trajectory = learned.trajectory.advanced(method, step, 0.9)
        learned = Learned(trajectory, learned.record.extended(step))
    learned.save(tmp_path)
    assert same(Learned.load(tmp_path), learned)
    assert learned.trajectory.table().column_names[:2] == ["step", "task"]


def test_a_signal_that_is_not_finite_names_the_task():
    losses = RowLosses(np.array([1.0, np.inf]), np.ones(2), np.array([0, 1]), 2)
    with pytest.raises(FloatingPointError, match=r"task 'b' is not finite at step 1"):
        Trajectory.start("ab").advanced(method_of(LearningSettings(), np.ones(2)), [losses], 0.9)


def proxy_settings(tiny_llm):
    return EncoderSettings(name_or_path=str(tiny_llm), layers=2, precision="fp32")


@pytest.fixture
def learn(training_tasks, tiny_llm, tmp_path):
    def run(name="run", double=False, order=(0, 1, 2, 3), steps=6, proxy=None, **options):
        told = {key: options.pop(key) for key in ("tick", "report_to") if key in options}
        tasks = [training_tasks[place] for place in order]
        plan = make_plan(tasks, steps=steps, batch_size=8, negatives=2, seed=0)
        reference = np.random.default_rng(0).uniform(0.5, 2, len(plan.task_of))
        given = {"steps": steps, "batch_size": 8, "negatives": 2, "learning_rate": 1e-3}
        settings = LearningSettings(**{**given, "temperature": 0.05, "save_every": 2, **options})
        torch.manual_seed(0)
        proxy = proxy or build_encoder(proxy_settings(tiny_llm))
        if double:
            proxy.double()
        directory = tmp_path / name
        directory.mkdir(exist_ok=True)
        trainer = mixture_trainer(
            proxy,
            plan,
            [item.task for item in tasks],
            reference,
            settings,
            directory,
            precision="fp32",
            **{"tick": lambda *told: None, **told},
        )
        return learn_weights(trainer, directory)

    return run


class StopError(Exception):
    pass


def test_learning_moves_the_weights_and_records_every_step(learn):
    told = []
    trajectory = learn(tick=lambda *args: told.append(args), eta=0.5).trajectory
    assert len(trajectory.steps) == 6
    assert [done for done, _, _ in told] == [1, 2, 3, 4, 5, 6]
    assert trajectory.state.weights.sum() == pytest.approx(1)
    assert trajectory.state.weights.max() > 0.26
    proxy_loss = np.stack([step.proxy_loss for step in trajectory.steps])
    assert np.isfinite(proxy_loss).all()
    assert (np.diff(proxy_loss, axis=0) != 0).all()


@pytest.mark.parametrize("method", ["tdro", "tdro-released"])
def test_the_proxy_learns(learn, tiny_llm, method):
    settings = EncoderSettings(name_or_path=str(tiny_llm), kind="static")
    proxy = build_encoder(settings)
    learned = learn(proxy=proxy, method=method, steps=40, learning_rate=0.05, eta=0.001)
    loss = [part.proxy.mean() for part in learned.record.micro_batches]
    assert np.mean(loss[-10:]) < 0.6 * np.mean(loss[:10])


def test_a_static_proxy_is_told_its_tokens(learn, tiny_llm, monkeypatch):
    real, tokens = StaticEmbedding.forward, []

    def forward(bag, features, **options):
        # Both the passes with gradient and those that only the released form makes are a step's.
        tokens.append(len(features["input_ids"]) if bag.training else 0)
        return real(bag, features, **options)

    monkeypatch.setattr(StaticEmbedding, "forward", forward)
    proxy = build_encoder(EncoderSettings(name_or_path=str(tiny_llm), kind="static"))
    learned = learn(proxy=proxy, method="tdro-released", accumulation=2, learning_rate=0.05)
    assert len(tokens) >= 6 * 3
    assert learned.tokens == sum(tokens)


def test_checkpointed_activations_change_nothing_but_rounding(learn, tiny_llm):
    proxies = [build_encoder(proxy_settings(tiny_llm)) for _ in range(2)]
    plain, checkpointed = (
        learn(str(on), proxy=proxy, eta=0.5, gradient_checkpointing=on)
        for on, proxy in zip((False, True), proxies, strict=True)
    )
    assert proxies[1][0].auto_model.is_activation_checkpointing
    assert checkpointed.trajectory.state.weights == pytest.approx(
        plain.trajectory.state.weights, abs=1e-6
    )
    for one, other in zip(*(proxy.parameters() for proxy in proxies), strict=True):
        assert torch.allclose(one, other, atol=2e-5)


def test_every_weight_of_the_proxy_moves(learn, tiny_llm):
    proxy = build_encoder(proxy_settings(tiny_llm))
    start = {name: weight.detach().clone() for name, weight in proxy.named_parameters()}
    learn(proxy=proxy)
    for name, weight in proxy.named_parameters():
        assert not weight.equal(start[name]), name


@pytest.mark.parametrize("method", ["tdro-pooled", "tdro", "tdro-paper", "group-dro", "doremi"])
def test_micro_batches_and_chunks_do_not_change_the_trajectory(learn, method):
    whole = learn("whole", double=True, method=method, eta=0.5, chunk_tokens=100_000)
    for times in (2, 4):
        cut = learn(
            f"cut {times}",
            double=True,
            method=method,
            eta=0.5,
            accumulation=times,
            chunk_tokens=60 * times,
        )
        np.testing.assert_allclose(weights_of(cut), weights_of(whole), rtol=0, atol=1e-6)
        for ours, theirs in zip(cut.trajectory.steps, whole.trajectory.steps, strict=True):
            for name in STEP_COLUMNS:
                one, other = getattr(ours, name), getattr(theirs, name)
                np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-8)


def test_in_float32_they_change_it_by_rounding_only(learn):
    whole, cut = learn("whole", eta=0.5), learn("cut", eta=0.5, accumulation=4)
    np.testing.assert_allclose(weights_of(cut), weights_of(whole), rtol=0, atol=1e-4)


def test_the_released_form_visibly_depends_on_micro_batches(learn):
    whole = learn("whole", double=True, method="tdro-released", eta=0.5)
    cut = learn("cut", double=True, method="tdro-released", eta=0.5, accumulation=4)
    assert np.abs(weights_of(cut) - weights_of(whole)).max() > 1e-3


@pytest.mark.parametrize(
    ("method", "accumulation"),
    [("tdro-pooled", 2), ("tdro", 1), ("tdro-released", 2), ("doremi", 1), ("group-dro", 4)],
)
def test_replaying_its_own_losses_gives_the_same_trajectory(learn, method, accumulation):
    options = {"method": method, "accumulation": accumulation, "batch_size": 8}
    learned = learn(**options)
    method = method_of(LearningSettings(**options), learned.record.means())
    again = replay(learned.record, method, 0.9)
    assert again.trajectory.table().equals(learned.trajectory.table())


def test_permuting_the_tasks_permutes_the_mixture(learn):
    plain = learn("plain", double=True, eta=0.5).trajectory
    turned = learn("turned", double=True, eta=0.5, order=[2, 0, 3, 1]).trajectory
    assert turned.tasks != plain.tasks
    ours = dict(zip(plain.tasks, plain.state.weights, strict=True))
    theirs = dict(zip(turned.tasks, turned.state.weights, strict=True))
    assert theirs == pytest.approx(ours, abs=1e-9)


def test_learning_stops_when_settled_and_not_before(learn):
    assert len(learn("still", patience=2, tolerance=0.9).trajectory.steps) == 3
    assert len(learn("moving", patience=2, tolerance=1e-9, eta=0.5).trajectory.steps) == 6


def test_a_run_killed_just_after_it_settled_does_not_go_on(learn):
    def stop(done, total, loss):
        if done == 4:
            raise StopError

    options = {"patience": 3, "tolerance": 0.9}
    with pytest.raises(StopError):
        learn("broken", tick=stop, **options)
    resumed = learn("broken", **options)
    assert len(resumed.trajectory.steps) == 4
    assert same(resumed, learn("whole", **options))


def test_trackers_are_told_of_every_task(learn, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    learned = learn(report_to=["tensorboard"])
    [events] = (tmp_path / "run").glob("trainer/runs/*")
    told = EventAccumulator(str(events)).Reload()
    last = learned.trajectory.steps[-1]
    for column in ("weight", "weight_ema", "proxy_loss", "signal", "under_cut", "zero_loss"):
        [*_, event] = told.Scalars(f"train/{column}/beta")
        assert event.value == pytest.approx(getattr(last, column)[1], rel=1e-6), column
    assert len(told.Scalars("train/signal_norm")) == 6
    assert "train/moved_last_tenth" in told.Tags()["scalars"]


@pytest.fixture
def uninterrupted(learn):
    return learn("whole", accumulation=2, eta=0.5)


@settings(
    max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
@given(at=st.lists(st.integers(1, 6), min_size=1, max_size=3), number=st.uuids())
def test_interrupted_at_any_steps_it_is_the_same_bit_for_bit(learn, uninterrupted, at, number):
    def stopping(step):
        def stop(done, total, loss):
            if done == step:
                raise StopError

        return stop

    name = f"broken {number}"
    for step in at:
        with contextlib.suppress(StopError):
            learn(name, tick=stopping(step), accumulation=2, eta=0.5)
    resumed = learn(name, accumulation=2, eta=0.5)
    assert same(resumed, uninterrupted)


def test_a_loss_that_is_not_finite_names_the_task_and_the_remedy(learn, monkeypatch):
    monkeypatch.setattr(
        "tdro.learning.trainer.row_losses",
        lambda model, tokens, query_of, passage_of, **options: (
            next(model.parameters()).sum() * torch.full((len(query_of),), float("inf"))
        ),
    )
    with pytest.raises(FloatingPointError, match=r"task '.*'.* not finite at step 1: lower"):
        learn()


def test_a_method_that_does_not_learn_from_losses_is_refused_before_anything_is_scored(
    training_tasks, tiny_llm
):
    from tdro import learn_mixture

    model = build_encoder(proxy_settings(tiny_llm))
    told = []
    with pytest.raises(InputError, match="regression does not learn from row losses"):
        learn_mixture(
            model,
            model,
            [item.task for item in training_tasks],
            LearningSettings(method="regression"),
            tick=lambda *args: told.append(args),
        )
    assert not told


def test_a_mixture_is_learned_in_one_call_with_ones_own_measure_and_rule(
    training_tasks, tiny_llm, tmp_path
):
    from tdro import learn_mixture

    def model():
        return build_encoder(proxy_settings(tiny_llm))

    def only_beta(losses):
        return np.eye(losses.tasks)[1] * 10

    options = {
        "settings": LearningSettings(steps=3, batch_size=8, negatives=2, eta=0.5),
        "measure": only_beta,
    }
    tasks = [item.task for item in training_tasks]
    kept = tmp_path / "kept"
    mixture = learn_mixture(model(), model(), tasks, **options, trajectory_folder=kept)
    wanted = np.exp(0.5 * 3) / (np.exp(0.5 * 3) + 3)
    assert mixture.weights["beta"] == pytest.approx(wanted)
    assert mixture.sizes["tiny"] == 7
    assert len(Learned.load(kept).trajectory.steps) == 3

    def downhill(log_weights, signal):
        return log_softmax(log_weights - signal / 10)

    mixture = learn_mixture(model(), model(), tasks, **options, rule=downhill)
    assert mixture.weights["beta"] == pytest.approx(np.exp(-3) / (np.exp(-3) + 3))
