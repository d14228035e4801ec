"""``merge-search``: a mixture found by averaging experts instead of learned in a loop."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tdro.evaluation.benchmark import load_benchmark
from tdro.evaluation.holdout import write_holdout
from tdro.files import file_name, write_json
from tdro.learning.losses import Floats
from tdro.learning.simplex import Candidate, best_apart, search_simplex
from tdro.mixture import Mixture
from tdro.progress import Tick
from tdro.prompts import query_prompt
from tdro.run.context import Context
from tdro.run.models import Training, complete_encoder, complete_training
from tdro.settings import MERGE_SEARCH, TrainingSettings
from tdro.stages import Stage, fingerprint_of
from tdro.tasks.training import TrainingTask, hold_out

CANDIDATES_FILE = "candidates.parquet"
_ASKED_FILE = "asked.jsonl"
_CHUNK_TOKENS = 4096


@dataclass(frozen=True)
class _Split:
    """The tasks of a run without the rows set apart, and those rows as small benchmarks.

    Attributes:
        tasks: What experts are trained on.
        development: Folder of the benchmarks.
    """

    tasks: list[TrainingTask]
    development: Path


def complete_merge_search(context: Context, place: str) -> Path:
    """Returns the folder of the mixture whose merged experts, trained for real, did best.

    One expert a task is trained from a common start. The average of their parameters, weighted by
    a mixture, predicts the model that training with this mixture gives; a search over the simplex
    finds mixtures with a high score on rows set apart. The best that differ from each other, and
    the uniform one, are trained for real: the one with the highest score is kept, and the rank
    correlation of predicted and real scores is written beside it.
    """
    recipe = context.recipe
    split = _split(context)
    experts = _experts(context, split)
    searched = _searched(context, split, experts)
    picked = _picked(searched, recipe.merging.confirm)
    names = [item.name for item in split.tasks]
    models = [
        complete_training(
            context,
            _training(
                context,
                f"confirming run {number}" if number else "confirming run of uniform",
                f"confirmed/{number}",
                complete_encoder(context, recipe.proxy),
                split,
                Mixture(dict(zip(names, one.weights.tolist(), strict=True))),
                recipe.reference,
            ),
        )
        for number, one in enumerate(picked)
    ]

    def work(directory: Path, tick: Tick) -> dict[str, Any]:
        from tdro.run import work as at_work

        development = _development(context, split, models[0])
        real = []
        for number, folder in enumerate(models, start=1):
            real.append(development.score(at_work.load_model(folder)))
            tick(number, len(models), 1 - real[-1])
        best = int(np.argmax(real))
        details = {
            "method": MERGE_SEARCH,
            "kept": True,
            **recipe.merging.model_dump(),
            "confirmed": best,
            "predicted": [one.score for one in picked],
            "real": real,
            "rank_correlation": _rank_correlation([one.score for one in picked], real),
        }
        weights = dict(zip(names, picked[best].weights.tolist(), strict=True))
        mixture = Mixture(weights, context.sizes, details)
        mixture.save(directory / "last.json")
        mixture.top("0.7").save(directory / "top-0.7.json")
        return {"mixtures": len(real), "tokens": development.tokens * len(real)}

    inputs = {
        "search": fingerprint_of(searched),
        "confirmed": [fingerprint_of(folder) for folder in models],
        **recipe.merging.model_dump(),
    }
    label = "mixture" if place == "mixture" else f"mixture of {MERGE_SEARCH}"
    return context.directory.complete(Stage(label, place, inputs, work))


def complete_soup(context: Context) -> Path:
    """Returns the folder of the plain average of the experts, a retriever of the proxy's size."""
    experts = _experts(context, _split(context))

    def work(directory: Path, tick: Tick) -> dict[str, Any]:
        from tdro.run import work as at_work

        merged = at_work.experts_of(experts).merged(np.full(len(experts), 1 / len(experts)))
        merged.save(str(directory / at_work.MODEL_FOLDER))
        return {"experts": len(experts)}

    inputs = {"experts": [fingerprint_of(folder) for folder in experts]}
    return context.directory.complete(Stage("soup of the experts", "merging/soup", inputs, work))


def _split(context: Context) -> _Split:
    recipe = context.recipe
    tasks, apart = [], []
    for item in context.tasks_for(recipe.proxy):
        # Only rows that may be trained on: the hold-outs judge the retrievers.
        inner = hold_out(
            item.task, recipe.merging.development, recipe.seed, "development", item.rows
        )
        tasks.append(replace(item, rows=inner.rows))
        apart.append(inner)

    def work(directory: Path, tick: Tick) -> dict[str, Any]:
        held = [item for item in apart if len(item.held_out)]
        for done, item in enumerate(held, start=1):
            target = directory / file_name(item.name)
            passages = recipe.merging.passages
            write_holdout(item, target, passages=passages, seed=recipe.seed, group="development")
            tick(done, len(held), None)
        return {"queries": sum(len(item.held_out) for item in held)}

    inputs = {
        "development": recipe.merging.development,
        "passages": recipe.merging.passages,
        **context.identity,
    }
    stage = Stage("development sets", "merging/development", inputs, work)
    return _Split(tasks, context.directory.complete(stage))


def _experts(context: Context, split: _Split) -> list[Path]:
    recipe = context.recipe
    start = complete_encoder(context, recipe.proxy)
    names = [item.name for item in split.tasks]
    if recipe.merging.start_steps:
        settings = recipe.reference.model_copy(update={"steps": recipe.merging.start_steps})
        uniform = Mixture.uniform(names)
        label = "start of the experts"
        start = complete_training(
            context, _training(context, label, "merging/start", start, split, uniform, settings)
        )
    settings = recipe.reference.model_copy(update={"steps": recipe.merging.steps})
    return [
        complete_training(
            context,
            _training(
                context,
                f"expert {name}",
                f"experts/{file_name(name)}",
                start,
                split,
                Mixture({name: 1.0}),
                settings,
            ),
        )
        for name in names
    ]


def _training(
    context: Context,
    label: str,
    place: str,
    start: Path,
    split: _Split,
    mixture: Mixture,
    settings: TrainingSettings,
) -> Training:
    apart = {"development": context.recipe.merging.development}
    proxy = context.recipe.proxy
    return Training(label, label, place, start, proxy, split.tasks, mixture, settings, apart)


def _searched(context: Context, split: _Split, experts: Sequence[Path]) -> Path:
    merging = context.recipe.merging

    def work(directory: Path, tick: Tick) -> dict[str, Any]:
        from tdro.run import work as at_work

        side_by_side = at_work.experts_of(experts)
        development = _development(context, split, experts[0])
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
        write_json(directory / "tasks.json", [item.name for item in split.tasks])
        log.unlink()
        return {"mixtures": len(found), "tokens": development.tokens * len(found)}

    inputs = {
        "experts": [fingerprint_of(folder) for folder in experts],
        "development": fingerprint_of(split.development),
        "samples": merging.samples,
    }
    stage = Stage("search over mixtures", "merging/search", inputs, work)
    return context.directory.complete(stage)


def _development(context: Context, split: _Split, model_at: Path) -> Any:
    """Returns the development set, tokenised by the model of a stage."""
    from tdro.run import work as at_work

    proxy = context.recipe.proxy
    folders = sorted(path.parent for path in split.development.glob("*/queries.jsonl.gz"))
    benchmarks = [load_benchmark(folder, cache=split.development) for folder in folders]
    prompts = {one.name: query_prompt(one.instruction) for one in benchmarks if proxy.instructed}
    return at_work.DevelopmentSet(
        at_work.load_model(model_at),
        benchmarks,
        prompts,
        chunk_tokens=_CHUNK_TOKENS,
        precision=proxy.precision,
    )


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
