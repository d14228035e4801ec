"""``merge-search``: a mixture found by averaging experts instead of learned in a loop."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tdro.files import file_name, write_json
from tdro.learning.losses import Floats
from tdro.learning.simplex import Candidate, best_apart, search_simplex
from tdro.mixture import Mixture
from tdro.progress import Tick
from tdro.run.apart import Apart, development_set, save_mixture, set_apart, train_apart
from tdro.run.context import Context, mixture_label
from tdro.run.models import complete_encoder
from tdro.stages import Stage, fingerprint_of

CONFIRMED = "confirmed"
"""Folder of the confirming runs: fewer where fewer mixtures differ."""
CANDIDATES_FILE = "candidates.parquet"
_ASKED_FILE = "asked.jsonl"


def complete_merge_search(context: Context, place: str) -> Path:
    """Returns the folder of the mixture whose merged experts, trained for real, did best.

    One expert a task is trained from a common start. The average of their parameters, weighted by
    a mixture, predicts the model that training with this mixture gives; a search over the simplex
    finds mixtures with a high score on rows set apart. The best that differ from each other, and
    the uniform one, are trained for real: the one with the highest score is kept, and the rank
    correlation of predicted and real scores is written beside it.
    """
    recipe = context.recipe
    apart = _set_apart(context)
    experts = _experts(context, apart)
    searched = _searched(context, apart, experts)
    picked = _picked(searched, recipe.merging.confirm)
    models = [
        train_apart(
            context,
            apart,
            f"confirming run {number}" if number else "confirming run of uniform",
            f"{CONFIRMED}/{number}",
            complete_encoder(context, recipe.proxy),
            Mixture(apart.weighed(one.weights)),
            recipe.reference,
        )
        for number, one in enumerate(picked)
    ]

    def work(directory: Path, tick: Tick) -> dict[str, Any]:
        from tdro.run import work as at_work

        development = development_set(context, apart, models[0])
        real = []
        for number, folder in enumerate(models, start=1):
            real.append(development.score(at_work.load_model(folder)))
            tick(number, len(models), 1 - real[-1])
        best = int(np.argmax(real))
        told = {
            "confirmed": best,
            "predicted": [one.score for one in picked],
            "real": real,
            "rank_correlation": _rank_correlation([one.score for one in picked], real),
        }
        save_mixture(context, directory, apart.weighed(picked[best].weights), told)
        return {"mixtures": len(real), "tokens": development.tokens * len(real)}

    inputs = {
        "search": fingerprint_of(searched),
        "confirmed": [fingerprint_of(folder) for folder in models],
        **recipe.merging.model_dump(),
    }
    return context.directory.complete(Stage(mixture_label(context, place), place, inputs, work))


def complete_soup(context: Context) -> Path:
    """Returns the folder of the plain average of the experts, a retriever of the proxy's size."""
    experts = _experts(context, _set_apart(context))

    def work(directory: Path, tick: Tick) -> dict[str, Any]:
        from tdro.run import work as at_work

        merged = at_work.experts_of(experts).merged(np.full(len(experts), 1 / len(experts)))
        merged.save(str(directory / at_work.MODEL_FOLDER))
        return {"experts": len(experts)}

    inputs = {"experts": [fingerprint_of(folder) for folder in experts]}
    return context.directory.complete(Stage("soup of the experts", "merging/soup", inputs, work))


def _set_apart(context: Context) -> Apart:
    merging = context.recipe.merging
    return set_apart(context, "merging/development", merging.development, merging.passages)


def _experts(context: Context, apart: Apart) -> list[Path]:
    recipe = context.recipe
    start = complete_encoder(context, recipe.proxy)
    if recipe.merging.start_steps:
        settings = recipe.reference.model_copy(update={"steps": recipe.merging.start_steps})
        uniform = Mixture.uniform(apart.names)
        label = "start of the experts"
        start = train_apart(context, apart, label, "merging/start", start, uniform, settings)
    settings = recipe.reference.model_copy(update={"steps": recipe.merging.steps})
    return [
        train_apart(
            context,
            apart,
            f"expert {name}",
            f"experts/{file_name(name)}",
            start,
            Mixture({name: 1.0}),
            settings,
        )
        for name in apart.names
    ]


def _searched(context: Context, apart: Apart, experts: Sequence[Path]) -> Path:
    merging = context.recipe.merging

    def work(directory: Path, tick: Tick) -> dict[str, Any]:
        from tdro.run import work as at_work

        side_by_side = at_work.experts_of(experts)
        development = development_set(context, apart, experts[0])
        log = directory / _ASKED_FILE
        # What follows the last end of a line was cut off by a kill.
        whole, _, _ = log.read_text().rpartition("\n") if log.exists() else ("", "", "")
        known = [json.loads(line) for line in whole.split()]
        log.write_text("".join(f"{value!r}\n" for value in known))
        asked = 0
        with log.open("a") as file:

            def score(weights: Floats) -> float:
                nonlocal asked
                asked += 1
                # A killed search asks for the same mixtures again, in the same order.
                if asked <= len(known):
                    return float(known[asked - 1])
                value = float(development.score(side_by_side.merged(weights)))
                file.write(f"{json.dumps(value)}\n")
                file.flush()
                tick(asked, merging.samples, 1 - value)
                return value

            found = search_simplex(score, len(experts), merging.samples, context.recipe.seed)
        table = {
            "weights": [one.weights.tolist() for one in found],
            "score": [one.score for one in found],
        }
        pq.write_table(pa.table(table), directory / CANDIDATES_FILE)
        write_json(directory / "tasks.json", apart.names)
        return {"mixtures": len(found), "tokens": development.tokens * len(found)}

    inputs = {
        "experts": [fingerprint_of(folder) for folder in experts],
        "development": fingerprint_of(apart.benchmarks),
        "samples": merging.samples,
    }
    stage = Stage("search over mixtures", "merging/search", inputs, work, aids=[_ASKED_FILE])
    return context.directory.complete(stage)


def _picked(searched: Path, count: int) -> list[Candidate]:
    """Returns the uniform mixture and the best ones that differ from each other."""
    table = pq.read_table(searched / CANDIDATES_FILE)
    pairs = zip(table["weights"].to_pylist(), table["score"].to_pylist(), strict=True)
    uniform, *others = (Candidate(np.array(weights), score) for weights, score in pairs)
    return [uniform, *best_apart(others, count)]


def _rank_correlation(predicted: Sequence[float], real: Sequence[float]) -> float | None:
    from scipy.stats import spearmanr

    value = float(spearmanr(predicted, real)[0])
    return value if np.isfinite(value) else None
