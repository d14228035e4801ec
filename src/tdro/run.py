"""A run: from the tasks of a recipe to scores and a report, stage by stage, left to right."""

import contextlib
import fcntl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from sentence_transformers import SentenceTransformer

from tdro.encoder import build_encoder, query_prompt
from tdro.errors import InputError
from tdro.evaluation.benchmark import Benchmark, load_benchmark
from tdro.evaluation.holdout import write_holdout
from tdro.evaluation.judge import SCORES_FILE, judge
from tdro.evaluation.scores import render_scores
from tdro.files import digest, file_name, write_text
from tdro.learning.trainer import learn_weights
from tdro.mixture import Mixture
from tdro.plan import Plan, make_plan
from tdro.progress import Tick
from tdro.recipe import BenchmarkEntry, Recipe
from tdro.reference import load_losses, score_plan
from tdro.report.page import write_report
from tdro.settings import EncoderSettings, LearningSettings, TrainingSettings
from tdro.stages import RunDirectory, Stage, file_identity, fingerprint_of
from tdro.tasks.prepare import prepare_task
from tdro.tasks.task import Task, TaskSource
from tdro.tasks.training import TrainingTask, hold_out
from tdro.training import MODEL_FOLDER, quiet_libraries, train

_RECIPE_FILE = "recipe.yaml"
# What changes how a stage works but not what comes out of it.
_NOT_INPUTS = {"save_every"}


def execute(recipe: Recipe, root: Path, console: Console) -> Path:
    """Does every stage of a run that is missing or stale, and prints the scores.

    Args:
        recipe: The resolved recipe.
        root: The run directory.
        console: Where progress and the table go.

    Returns:
        Path of the report.

    Raises:
        InputError: Something in the recipe's files is wrong, or another process is at work in
            the directory.
    """
    quiet_libraries()
    with _alone(root):
        write_text(root / _RECIPE_FILE, recipe.to_yaml())
        run = _Run(recipe, RunDirectory(root, console))
        scores = run.scores()
        pq.write_table(scores, root / f".{SCORES_FILE}.partial")
        (root / f".{SCORES_FILE}.partial").replace(root / SCORES_FILE)
        report = write_report(root)
    console.print(render_scores(scores))
    console.print(f"Report: {report}", highlight=False, soft_wrap=True)
    return report


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"Another process is at work in {root}: wait for it or use another --output."
            ) from None
        yield


@dataclass(frozen=True)
class _Judge:
    """A benchmark to judge on, and the identity its scores are kept under."""

    benchmark: Benchmark
    identity: dict[str, Any]


class _Run:
    def __init__(self, recipe: Recipe, directory: RunDirectory) -> None:
        self.recipe = recipe
        self.directory = directory
        prepared = [self._prepared(source) for source in recipe.task_sources()]
        self.tasks = [hold_out(task, recipe.holdout, recipe.seed) for task in prepared]
        names = ("max_rows", "holdout", "seed")
        self.identity = {
            **{name: getattr(recipe, name) for name in names},
            "tasks": {
                item.name: digest([item.task.content, item.task.instruction]) for item in self.tasks
            },
        }

        # Before hours of training, not after them.
        self.external = [_external(entry) for entry in recipe.benchmarks]
        self._check_judges()

    def _check_judges(self) -> None:
        names = [item.name for item in self.tasks if len(item.held_out)]
        names += [item.benchmark.name for item in self.external]
        if not names:
            raise InputError(
                "There is nothing to judge on: set holdout above 0 or name a benchmark."
            )
        for name in names:
            if names.count(name) > 1:
                raise InputError(
                    f"Two benchmarks, or a benchmark and a task, are named {name!r}: "
                    "give the benchmark another name in the recipe."
                )

    def scores(self) -> pa.Table:
        """Returns the scores of every retriever on every benchmark and query."""
        mixture = self._mixture() if self.recipe.needs_learning else None
        models = [self._retriever(name, mixture) for name in self.recipe.retrievers]
        judges = self._judges()
        names = [_retriever_name(name) for name in self.recipe.retrievers]
        tables = [
            self._judged(name, model, judges) for name, model in zip(names, models, strict=True)
        ]
        return pa.concat_tables(tables)

    # Tasks

    def _prepared(self, source: TaskSource) -> Task:
        def work(directory: Path, tick: Tick) -> dict[str, Any]:
            report = prepare_task(
                source, directory, max_rows=self.recipe.max_rows, seed=self.recipe.seed
            )
            dropped = sum(report.dropped.values())
            return {"rows": report.rows} | ({"dropped": dropped} if dropped else {})

        inputs = {
            "source": file_identity(source.path),
            "name": source.name,
            "instruction": source.instruction,
            "max_rows": self.recipe.max_rows,
            "seed": self.recipe.seed,
        }
        place = f"tasks/{file_name(source.name)}"
        return Task.open(self.directory.complete(Stage(f"task {source.name}", place, inputs, work)))

    # Models and training

    def _tasks_for(self, settings: EncoderSettings) -> list[TrainingTask]:
        if settings.instructed:
            return self.tasks
        return [replace(item, task=replace(item.task, instruction="")) for item in self.tasks]

    def _encoder(self, role: str, settings: EncoderSettings) -> Path:
        prompts = {
            item.name: query_prompt(item.task.instruction)
            for item in self._tasks_for(settings)
            if item.task.instruction
        }

        def work(directory: Path, tick: Tick) -> dict[str, Any]:
            model = build_encoder(settings, prompts)
            model.save(str(directory / MODEL_FOLDER))
            return {"parameters": sum(weight.numel() for weight in model.parameters())}

        # Two roles with the same settings start from the same numbers, whatever their names.
        inputs = {"settings": settings.model_dump(), "prompts": prompts}
        return self.directory.complete(Stage(f"{role} encoder", f"encoders/{role}", inputs, work))

    def _trained(
        self,
        name: str,
        place: str,
        encoder: Path,
        mixture: Mixture,
        settings: TrainingSettings,
        model: EncoderSettings,
    ) -> Path:
        def work(directory: Path, tick: Tick) -> dict[str, Any]:
            return train(
                name,
                encoder / MODEL_FOLDER,
                self._tasks_for(model),
                mixture,
                settings,
                directory,
                precision=model.precision,
                seed=self.recipe.seed,
                tick=tick,
            )

        inputs = {
            "encoder": fingerprint_of(encoder),
            "mixture": dict(mixture.weights),
            "settings": settings.model_dump(exclude=_NOT_INPUTS),
            **self.identity,
        }
        label = name if name == "reference" else f"retriever {name}"
        return self.directory.complete(Stage(label, place, inputs, work))

    def _reference(self) -> Path:
        recipe = self.recipe
        encoder = self._encoder("proxy", recipe.proxy)
        uniform = Mixture.uniform(item.name for item in self.tasks)
        return self._trained(
            "reference", "reference", encoder, uniform, recipe.reference, recipe.proxy
        )

    def _retriever(self, name: str, learned: Path | None) -> Path:
        if name == "reference":
            return self._reference()
        encoder = self._encoder("model", self.recipe.model)
        shown = _retriever_name(name)
        return self._trained(
            shown,
            f"retrievers/{file_name(shown)}",
            encoder,
            self._mixture_named(name, learned),
            self.recipe.training,
            self.recipe.model,
        )

    def _mixture_named(self, name: str, learned: Path | None) -> Mixture:
        sizes = {item.name: len(item.rows) for item in self.tasks}
        if name == "uniform":
            return Mixture.uniform(sizes)
        if name == "proportional":
            return Mixture.proportional(sizes)
        if name.endswith(".json"):
            return Mixture.load(name)
        if learned is None:
            raise InputError(f"The retriever {name!r} needs a learned mixture.")
        if name.startswith("top-"):
            return Mixture.load(learned / "last.json").top(name.removeprefix("top-"))
        return Mixture.load(learned / f"{name}.json")

    # Learning

    def _mixture(self) -> Path:
        recipe = self.recipe
        learning = recipe.learning
        reference = self._reference()
        tasks = [item.task for item in self._tasks_for(recipe.proxy)]
        plan_at = self._plan(learning)
        plan = Plan.load(plan_at)
        losses_at = self._reference_losses(reference, plan_at, plan, tasks)
        encoder = self._encoder("proxy", recipe.proxy)
        details = learning.model_dump(exclude=_NOT_INPUTS)

        def learn(directory: Path, tick: Tick) -> dict[str, Any]:
            proxy = SentenceTransformer(str(encoder / MODEL_FOLDER), local_files_only=True)
            trajectory = learn_weights(
                proxy,
                plan,
                tasks,
                load_losses(losses_at),
                learning,
                directory,
                precision=recipe.proxy.precision,
                tick=tick,
            )
            trajectory.save(directory)
            sizes = {item.name: len(item.rows) for item in self.tasks}
            for kind in ("last", "mean", "ema"):
                trajectory.mixture(kind, sizes, details).save(directory / f"{kind}.json")
            last = trajectory.mixture("last", sizes, details)
            last.top("0.7").save(directory / "top-0.7.json")
            return {"steps": plan.steps, "rows": len(plan.task_of)}

        inputs = {
            "plan": fingerprint_of(plan_at),
            "reference_losses": fingerprint_of(losses_at),
            "encoder": fingerprint_of(encoder),
            "settings": details,
        }
        return self.directory.complete(Stage("mixture", "mixture", inputs, learn))

    def _plan(self, learning: LearningSettings) -> Path:
        sizes = {name: getattr(learning, name) for name in ("steps", "batch_size", "negatives")}

        def work(directory: Path, tick: Tick) -> dict[str, Any]:
            make_plan(self.tasks, **sizes, seed=self.recipe.seed).save(directory)
            return {"rows": sizes["steps"] * sizes["batch_size"]}

        return self.directory.complete(Stage("plan", "plan", {**sizes, **self.identity}, work))

    def _reference_losses(
        self, reference: Path, plan_at: Path, plan: Plan, tasks: Sequence[Task]
    ) -> Path:
        learning = self.recipe.learning
        options: dict[str, Any] = {
            "temperature": learning.temperature,
            "chunk_tokens": learning.chunk_tokens,
            "precision": self.recipe.proxy.precision,
        }

        def work(directory: Path, tick: Tick) -> dict[str, Any]:
            model = SentenceTransformer(str(reference / MODEL_FOLDER), local_files_only=True)
            score_plan(model, plan, tasks, directory, **options, tick=tick)
            return {"rows": len(plan.task_of)}

        inputs = {
            "reference": fingerprint_of(reference),
            "plan": fingerprint_of(plan_at),
            **options,
        }
        stage = Stage("reference losses", "reference_losses", inputs, work)
        return self.directory.complete(stage)

    # Evaluation

    def _judges(self) -> list[_Judge]:
        held = [item for item in self.tasks if len(item.held_out)]
        if not held:
            return self.external
        at = self._holdouts(held)
        judges = [
            _Judge(
                load_benchmark(at / file_name(item.name), cache=at),
                {"holdouts": fingerprint_of(at), "name": item.name},
            )
            for item in held
        ]
        return judges + self.external

    def _holdouts(self, held: Sequence[TrainingTask]) -> Path:
        passages = self.recipe.holdout_passages

        def work(directory: Path, tick: Tick) -> dict[str, Any]:
            for done, item in enumerate(held, start=1):
                target = directory / file_name(item.name)
                write_holdout(item, target, passages=passages, seed=self.recipe.seed)
                tick(done, len(held), None)
            return {"queries": sum(len(item.held_out) for item in held)}

        inputs = {"holdout_passages": passages, **self.identity}
        return self.directory.complete(Stage("hold-outs", "holdouts", inputs, work))

    def _judged(self, name: str, model_at: Path, judges: Sequence[_Judge]) -> pa.Table:
        settings = self.recipe.proxy if name == "reference" else self.recipe.model

        benchmarks = [item.benchmark for item in judges]
        prompts = {
            benchmark.name: query_prompt(benchmark.instruction)
            for benchmark in benchmarks
            if settings.instructed and benchmark.instruction
        }

        def work(directory: Path, tick: Tick) -> dict[str, Any]:
            model = SentenceTransformer(str(model_at / MODEL_FOLDER), local_files_only=True)
            precision = settings.precision
            judge(
                name,
                model,
                benchmarks,
                directory,
                prompts=prompts,
                precision=precision,
                tick=tick,
            )
            return {
                "queries": sum(len(benchmark.queries) for benchmark in benchmarks),
                "documents": sum(len(benchmark.documents) for benchmark in benchmarks),
            }

        inputs = {
            "retriever": fingerprint_of(model_at),
            "benchmarks": {item.benchmark.name: item.identity for item in judges},
        }
        stage = Stage(f"scores of {name}", f"runs/{file_name(name)}", inputs, work)
        return pq.read_table(self.directory.complete(stage) / SCORES_FILE)


def _external(entry: BenchmarkEntry) -> _Judge:
    files = sorted(path for path in entry.path.rglob("*") if path.is_file())
    found = {path.relative_to(entry.path).as_posix(): file_identity(path) for path in files}
    benchmark = load_benchmark(entry.path, name=entry.name, instruction=entry.instruction)
    return _Judge(benchmark, {"files": digest(found), "instruction": benchmark.instruction})


def _retriever_name(entry: str) -> str:
    return Path(entry).stem if entry.endswith(".json") else entry
