"""A search for the best mixture where any mixture can be scored cheaply."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from tdro.learning.losses import Floats

# Sparse, even and nearly uniform mixtures alike are among the samples.
_CONCENTRATIONS = (0.3, 1.0, 3.0)
# Two mixtures count as different from this total variation distance on.
_APART = 0.1


@dataclass(frozen=True)
class Candidate:
    """A mixture and its score.

    Attributes:
        weights: Weight of each of K tasks, shape ``(K,)``.
        score: How good it is, the higher the better.
    """

    weights: Floats
    score: float


def search_simplex(
    score: Callable[[Floats], float], tasks: int, samples: int, seed: int
) -> list[Candidate]:
    """Scores mixtures from all over the simplex, then around the best of them.

    The first is uniform; half of all are drawn from Dirichlet distributions; the rest is a
    Nelder-Mead search over log-weights that starts from the best. With the same arguments the same
    mixtures are asked for in the same order.

    Args:
        score: Tells how good a mixture is; weights of shape ``(K,)`` to a number.
        tasks: Number of tasks K.
        samples: How many mixtures are scored, 4 or more.
        seed: Seed of the draws.

    Returns:
        All that was scored, in order.
    """
    found: list[Candidate] = []

    def scored(weights: Floats) -> float:
        found.append(Candidate(weights, score(weights)))
        return found[-1].score

    generator = np.random.default_rng(seed)
    scored(np.full(tasks, 1 / tasks))
    while len(found) < samples // 2:
        concentration = _CONCENTRATIONS[len(found) % len(_CONCENTRATIONS)]
        scored(generator.dirichlet(np.full(tasks, concentration)))
    best = max(found, key=lambda one: one.score)
    # A weight near zero would keep its task out of the search, its logarithm being far away.
    start = np.log(np.maximum(best.weights, 0.01 / tasks))
    minimize(
        lambda logits: -scored(_softmax(logits)) if len(found) < samples else 0.0,
        start,
        method="Nelder-Mead",
        options={
            "maxfev": samples - len(found),
            "adaptive": True,
            "initial_simplex": np.vstack([start, start + np.eye(tasks)]),
        },
    )
    return found


def best_apart(candidates: Sequence[Candidate], count: int) -> list[Candidate]:
    """Picks the best mixtures that differ from each other, the best first.

    Args:
        candidates: What was scored.
        count: How many to pick; fewer where all the rest is too near to one picked.
    """
    picked: list[Candidate] = []
    for one in sorted(candidates, key=lambda candidate: -candidate.score):
        if len(picked) == count:
            break
        if all(np.abs(one.weights - other.weights).sum() / 2 >= _APART for other in picked):
            picked.append(one)
    return picked


def _softmax(logits: Floats) -> Floats:
    raised = np.exp(logits - logits.max())
    weights: Floats = raised / raised.sum()
    return weights
