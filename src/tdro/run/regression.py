"""``regression``: a mixture by how the scores of random mixtures rise with each task's weight."""

from pathlib import Path
from typing import Any

import numpy as np

from tdro.learning.curve import curve_weights
from tdro.learning.regression import random_mixtures, slopes_of
from tdro.mixture import Mixture
from tdro.progress import Tick
from tdro.run.apart import development_set, save_mixture, set_apart, train_apart, warn_of_gains
from tdro.run.context import Context, mixture_label
from tdro.run.models import complete_encoder
from tdro.stages import Stage, fingerprint_of


def complete_regression(context: Context, place: str) -> Path:
    """Returns the folder of a mixture in proportion to the slopes of scores in weights.

    Models of the proxy's kind are trained with random mixtures and scored on rows set apart; the
    score of each task is fitted to the logarithm of its weight.
    """
    recipe, regression = context.recipe, context.recipe.regression
    apart = set_apart(
        context, "regression/development", regression.development, regression.passages
    )
    encoder = complete_encoder(context, recipe.proxy)
    drawn = random_mixtures(len(apart.names), regression.mixtures, regression.spread, recipe.seed)
    # By name, so that tasks in another order get the same mixtures.
    weights = drawn[:, np.argsort(np.argsort(apart.names))]
    models = [
        train_apart(
            context,
            apart,
            f"training of random mixture {number}",
            f"regression/{number}",
            encoder,
            Mixture(apart.weighed(mixture)),
            recipe.reference,
        )
        for number, mixture in enumerate(weights, start=1)
    ]

    def work(directory: Path, tick: Tick) -> dict[str, Any]:
        from tdro.run import work as at_work

        development = development_set(context, apart, models[0])
        scores = np.full_like(weights, np.nan)
        for number, folder in enumerate(models):
            found = development.scores(at_work.load_model(folder))
            for task, name in enumerate(apart.names):
                if name in found:
                    scores[number, task] = np.mean(found[name])
            tick(number + 1, len(models), None)
        slopes = slopes_of(weights, scores, np.zeros(len(models), dtype=np.int64))
        told = zip(apart.names, slopes.slope.tolist(), slopes.error.tolist(), strict=True)
        known = {
            name: {"slope": slope, "error": error}
            for name, slope, error in told
            if np.isfinite(error)
        }
        best = curve_weights(slopes.shrunk, regression.floor)
        save_mixture(context, directory, apart.weighed(best), {"slopes": known})
        return {"models": len(models), "tokens": development.tokens * len(models)}

    inputs = {
        "models": [fingerprint_of(folder) for folder in models],
        "development_sets": fingerprint_of(apart.benchmarks),
        **regression.model_dump(),
    }
    stage = Stage(mixture_label(context, place), place, inputs, work)
    mixture_at = context.directory.complete(stage)
    warn_of_gains(context, place, mixture_at)
    return mixture_at
