"""Weights from learning curves: a task gets rows by what further rows gain there."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tdro.learning.losses import Floats

_FEW_QUERIES = 30


@dataclass(frozen=True, eq=False)
class Gains:
    """What more training gained, task by task; vectors have shape ``(K,)``.

    Attributes:
        gain: Mean difference of the scores of the longer and the shorter training; NaN for a task
            without queries.
        error: Standard error of that mean, for the queries alone: what another seed of the
            trainings would change is not in it. NaN where fewer than two queries tell it.
        shrunk: The gains drawn towards their mean (see :func:`shrunk`).
    """

    gain: Floats
    error: Floats
    shrunk: Floats


def gains_of(shorter: Sequence[Floats], longer: Sequence[Floats]) -> Gains:
    """Measures what more training gained on each task.

    A handful of queries may agree by chance, so that their own deviation says nothing: of a task
    with few, the greater of its own and the tasks' pooled deviation counts.

    Args:
        shorter: Scores of the shorter training on each task's queries.
        longer: Scores of the longer training on the same queries.
    """
    differences = [above - below for above, below in zip(longer, shorter, strict=True)]
    gain = np.array([one.mean() if len(one) else np.nan for one in differences])
    told = [one for one in differences if len(one) > 1]
    freedom = sum(len(one) - 1 for one in told)
    pooled = (sum(one.var(ddof=1) * (len(one) - 1) for one in told) / max(1, freedom)) ** 0.5
    error = np.array(
        [
            max(one.std(ddof=1), pooled if len(one) < _FEW_QUERIES else 0.0) / len(one) ** 0.5
            if len(one) > 1
            else np.nan
            for one in differences
        ]
    )
    return Gains(gain, error, shrunk(gain, error))


def shrunk(values: Floats, errors: Floats) -> Floats:
    """Draws values towards their mean by as much as their errors explain of their spread.

    That is empirical Bayes after Efron and Morris (1973). A value whose error is not finite gets
    the mean of the others, zero where there are none.

    Args:
        values: Measured values, shape ``(K,)``.
        errors: Their standard errors, shape ``(K,)``.
    """
    known = np.isfinite(errors)
    if not known.any():
        return np.zeros_like(values)
    middle = values[known].mean()
    spread = values[known].var(ddof=1) if known.sum() > 1 else 0.0
    between = max(0.0, spread - float((errors[known] ** 2).mean()))
    drawn = np.full_like(values, middle)
    total = between + errors[known] ** 2
    trust = np.divide(between, total, out=np.zeros_like(total), where=total > 0)
    drawn[known] += trust * (values[known] - middle)
    return drawn


def curve_weights(gains: Floats, floor: float) -> Floats:
    """Returns the weights that gain most where scores grow with the logarithm of the rows.

    With ``score_k = a_k + b_k log(n_k)`` and a fixed sum of the rows ``n_k``, the mean score is
    highest at ``n_k`` in proportion to ``b_k``, and the gain of a training with more rows is in
    proportion to ``b_k`` too.

    Args:
        gains: Gain of each task, shape ``(K,)``; what is not positive counts as zero.
        floor: Least weight of a task, as a fraction of its uniform weight.
    """
    tasks = len(gains)
    positive = np.maximum(gains, 0.0)
    total = positive.sum()
    even = np.full(tasks, 1 / tasks)
    if not total > 0:
        return even
    weights: Floats = floor * even + (1 - floor) * positive / total
    return weights
