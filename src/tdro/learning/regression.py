"""Weights from random mixtures: a task gets rows by the slope of its score in its weight.

To train small models with random mixtures and to fit their scores is the idea of RegMix (Liu et al.
2025, arXiv 2407.01492). Here a task's score is fitted to its own weight alone, which takes as many
models however many tasks there are.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tdro.learning.curve import shrunk
from tdro.learning.losses import Floats


@dataclass(frozen=True, eq=False)
class Slopes:
    """How scores rise with the logarithm of the weight; vectors have shape ``(K,)``.

    Attributes:
        slope: Gain of a task's score when its weight is multiplied by e; NaN for a task without
            scores.
        error: Standard error of it.
        shrunk: The slopes drawn towards their mean (see :func:`tdro.learning.curve.shrunk`).
    """

    slope: Floats
    error: Floats
    shrunk: Floats


def random_mixtures(tasks: int, count: int, spread: float, seed: int) -> Floats:
    """Draws mixtures around the uniform one, in pairs of opposite log-weights.

    Args:
        tasks: Number of tasks, K.
        count: Number of mixtures.
        spread: Standard deviation of the log-weights before they are normalised.
        seed: Seed of the draws.

    Returns:
        Weights, shape ``(count, K)``.
    """
    pairs = np.random.default_rng(seed).normal(size=(-(-count // 2), tasks)) * spread
    logits = np.stack([pairs, -pairs], axis=1).reshape(-1, tasks)[:count]
    weights: Floats = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return weights


def slopes_of(weights: Floats, scores: Floats, groups: NDArray[np.int64]) -> Slopes:
    """Fits the scores of each task to the logarithm of its weight by least squares.

    Args:
        weights: Weights of N mixtures, shape ``(N, K)``; where a task has none, its score is not
            looked at.
        scores: Scores of the models trained with them, shape ``(N, K)``; NaN where there is none.
        groups: Which models are to be compared with each other, shape ``(N,)``: each group has a
            level of its own, such as the models of one seed.
    """
    fits = [
        _fit(weights[known, task], scores[known, task], groups[known])
        for task, known in enumerate((np.isfinite(scores) & (weights > 0)).T)
    ]
    slope, error = np.array(fits).T
    return Slopes(slope, error, shrunk(slope, error))


def _fit(weights: Floats, scores: Floats, groups: NDArray[np.int64]) -> tuple[float, float]:
    levels = groups[:, None] == np.unique(groups)
    design = np.c_[levels.astype(np.float64), np.log(weights)]
    free = len(scores) - design.shape[1]
    if free < 1:
        return np.nan, np.nan
    fit = np.linalg.lstsq(design, scores)[0]
    spread = float(((scores - design @ fit) ** 2).sum()) / free
    return float(fit[-1]), float((spread * np.linalg.pinv(design.T @ design)[-1, -1]) ** 0.5)
