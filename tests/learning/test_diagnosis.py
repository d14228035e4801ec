import numpy as np
import pyarrow as pa
import pytest

from tdro.learning.diagnosis import diagnose, doubts_of_gains
from tdro.learning.losses import RowLosses
from tdro.learning.method import method_of
from tdro.learning.trajectory import Trajectory
from tdro.settings import LearningSettings

TASKS = ("a", "b", "c")


def learned(proxy, reference, steps=40, eta=0.1, method="tdro", change=lambda step, losses: losses):
    """Learns from the same row losses at every step, or changed by step."""
    settings = LearningSettings(method=method, eta=eta)
    preset = method_of(settings, np.ones(3))
    trajectory = Trajectory.start(TASKS)
    task_of = np.repeat(np.arange(3), len(proxy) // 3)
    for step in range(steps):
        losses = RowLosses(np.array(proxy), np.array(reference), task_of, 3)
        trajectory = trajectory.advanced(preset, [change(step, losses)], 0.9)
    return diagnose(trajectory.table())


def about(diagnosis, words):
    return [warning for warning in diagnosis.warnings if words in warning]


EVEN = [1.0, 1.2, 1.1] * 3


def test_a_mixture_that_drifts_at_constant_speed_is_not_settled():
    found = learned([3.0] * 3 + [1.0] * 6, [1.0] * 9)
    assert about(found, "is not settled")
    assert found.moved / found.travelled > 0.05


def test_a_mixture_that_has_come_to_rest_is_settled():
    def calm(step, losses):
        # The signal is the same for all tasks after a while: the weights stay where they are.
        return losses if step < 20 else RowLosses(np.ones(9), np.ones(9), losses.task_of, 3)

    found = learned([3.0] * 3 + [1.0] * 6, [1.0] * 9, steps=150, change=calm)
    assert not about(found, "settled")
    assert found.travelled > 0.05


def test_a_mixture_that_hardly_left_uniform_says_little():
    assert about(learned(EVEN, EVEN), "hardly left uniform")


def test_a_proxy_that_does_not_learn_is_told():
    def growing(factor):
        def change(step, losses):
            return RowLosses(losses.proxy * factor**step, losses.reference, losses.task_of, 3)

        return learned([3.0] * 3 + [1.0] * 6, [1.0] * 9, change=change)

    assert about(growing(1.02), "has hardly learned")
    assert about(growing(0.999), "has hardly learned"), "it comes closer, but not by a tenth"
    assert not about(growing(0.98), "has hardly learned")


def test_the_norm_before_clipping_is_told():
    found = learned([2.0] * 9, [1.0] * 9)
    assert found.norm == pytest.approx((2 * 3**0.5,) * 3)


def test_one_row_that_dominates_is_named_by_its_task():
    def once(step, losses):
        proxy = losses.proxy.copy()
        if step == 7:
            proxy[0] = 1e4
        return RowLosses(proxy, losses.reference, losses.task_of, 3)

    found = learned([0.01, 0.01, 0.01] + [1.0] * 6, [1.0] * 9, change=once)
    assert about(found, "One row makes up more than a fifth of what raised the weight of 'a'.")
    assert not about(learned(EVEN, [1.0] * 9), "One row")


def test_a_reference_worse_than_its_proxy_is_named():
    found = learned([1.0] * 9, [2.0] * 3 + [0.5] * 6)
    [warning] = about(found, "The reference is worse")
    assert "on 'a'. Train" in warning


def test_saturated_losses_point_at_the_temperature():
    found = learned([0.0, 0.0, 1.0] + [1.0] * 6, [1.0] * 9)
    [warning] = about(found, "losses are zero")
    assert "'a'" in warning
    assert "temperature" in warning
    assert found.tasks[0].zero_loss == pytest.approx(2 / 3)


def test_rows_under_the_cut_are_counted():
    found = learned([1.0] * 9, [0.001] * 3 + [1.0] * 6)
    assert about(found, "under the measure's cut on 'a'")
    assert [line.under_cut for line in found.tasks] == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("seen", "unseen", "rows", "warned"),
    [(0.1, 1.0, 50, True), (0.8, 1.0, 50, False), (0.1, 1.0, 3, False), (None, 1.0, 0, False)],
)
def test_a_reference_that_has_memorised_a_task_is_told(seen, unseen, rows, warned):
    by_task = pa.table(
        {
            "task": ["a"],
            "trained_on_rows": [rows],
            "trained_on_loss": pa.array([seen], pa.float64()),
            "unseen_rows": [50],
            "unseen_loss": [unseen],
        }
    )
    trajectory = Trajectory.start(TASKS)
    losses = RowLosses(np.ones(3), np.ones(3), np.arange(3), 3)
    preset = method_of(LearningSettings(), np.ones(3))
    trajectory = trajectory.advanced(preset, [losses], 0.9)
    found = diagnose(trajectory.table(), by_task)
    assert bool(about(found, "memorised")) == warned


def test_a_task_that_never_had_a_row_breaks_nothing():
    losses = RowLosses(np.ones(3), np.ones(3), np.zeros(3, dtype=int), 3)
    trajectory = Trajectory.start(TASKS)
    for _ in range(12):
        trajectory = trajectory.advanced(
            method_of(LearningSettings(method="tdro"), np.ones(3)), [losses], 0.9
        )
    found = diagnose(trajectory.table())
    assert np.isnan(found.tasks[1].proxy_loss)
    assert not about(found, "'b'")


def test_a_task_that_further_rows_do_not_help_is_told():
    gains = {"steep": 0.4, "solved": 0.0, "unclear": 0.01, "worse": -0.1}
    errors = {"steep": 0.02, "solved": 0.0, "unclear": 0.02, "worse": 0.02}
    (told,) = doubts_of_gains(gains, errors)
    assert "'worse', 'solved':" in told
    assert "steep" not in told
    assert "unclear" not in told
    many = {f"task {number}": 0.0 for number in range(20)}
    (told,) = doubts_of_gains({**many, "steep": 1.0}, {**many, "steep": 0.0})
    assert all(repr(name) in told for name in many), "each is to be looked at"
    assert doubts_of_gains({"steep": 0.2}, errors) == []
