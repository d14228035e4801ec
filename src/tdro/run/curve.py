"""``learning-curve``: a mixture by what more training gains on each task."""

from pathlib import Path
from typing import Any

import numpy as np

from tdro.learning.curve import curve_weights, gains_of
from tdro.mixture import Mixture
from tdro.progress import Tick
from tdro.run.apart import development_set, save_mixture, set_apart, train_apart, warn_of_gains
from tdro.run.context import Context, mixture_label
from tdro.run.models import complete_encoder
from tdro.stages import Stage, fingerprint_of


def complete_learning_curve(context: Context, place: str) -> Path:
    """Returns the folder of a mixture in proportion to the gains of a longer training.

    Two models of the proxy's kind are trained with the uniform mixture, one for the reference's
    steps and one for a part of them, and scored on rows set apart.
    """
    recipe, curve = context.recipe, context.recipe.curve
    apart = set_apart(context, "curve/development", curve.development, curve.passages)
    encoder = complete_encoder(context, recipe.proxy)
    steps = recipe.reference.steps
    models = {
        name: train_apart(
            context,
            apart,
            f"{name} training of the curve",
            f"curve/{name}",
            encoder,
            Mixture.uniform(apart.names),
            recipe.reference.model_copy(update={"steps": count}),
        )
        for name, count in (("shorter", max(1, round(curve.shorter * steps))), ("longer", steps))
    }

    def work(directory: Path, tick: Tick) -> dict[str, Any]:
        from tdro.run import work as at_work

        development = development_set(context, apart, models["longer"])
        scored = {}
        for done, (name, folder) in enumerate(models.items(), start=1):
            found = development.scores(at_work.load_model(folder))
            scored[name] = [np.array(found.get(task, ())) for task in apart.names]
            tick(done, len(models), None)
        gains = gains_of(scored["shorter"], scored["longer"])
        weights = curve_weights(gains.shrunk, curve.floor)
        known = np.isfinite(gains.error)
        told = zip(apart.names, gains.gain.tolist(), gains.error.tolist(), known, strict=True)
        measured = {
            name: {"gain": gain, "error": error} for name, gain, error, there in told if there
        }
        save_mixture(context, directory, apart.weighed(weights), {"gains": measured})
        return {"models": len(models), "tokens": development.tokens * len(models)}

    inputs = {
        "models": [fingerprint_of(folder) for folder in models.values()],
        "development_sets": fingerprint_of(apart.benchmarks),
        **curve.model_dump(),
    }
    stage = Stage(mixture_label(context, place), place, inputs, work)
    mixture_at = context.directory.complete(stage)
    warn_of_gains(context, place, mixture_at)
    return mixture_at
