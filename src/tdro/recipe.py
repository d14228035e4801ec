"""The recipe: the YAML file that describes a run, checked and resolved."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    Field,
    PositiveInt,
    field_validator,
    model_validator,
)

from tdro.compare_settings import (
    CompareSettings,
    is_temperature,
    one_spelling,
)
from tdro.errors import InputError
from tdro.evaluation.scores import METRICS
from tdro.selection import HELPED, is_selection
from tdro.settings import (
    MEASURE_GAINS,
    CurveSettings,
    EncoderSettings,
    LearningSettings,
    MergingSettings,
    ReferenceSettings,
    RegressionSettings,
    Settings,
    TrainingSettings,
)
from tdro.tasks.entry import TaskEntry
from tdro.tasks.sources import find_sources
from tdro.tasks.task import TaskSource

_LEFT_BY_A_LOOP = ("mean", "ema")
_LEARNED = ("learned", "last", *_LEFT_BY_A_LOOP)
_NAMED = ("reference", "uniform", "proportional", *_LEARNED)


def retriever_name(entry: str) -> str:
    """Returns the name of a retriever of the recipe: a mixture file gives its own."""
    return Path(entry).stem if entry.endswith(".json") else entry


def asks_for_learned(retrievers: Sequence[str]) -> bool:
    """Tells whether these retrievers need a learned mixture; a recipe without any only learns."""
    return not retrievers or any(name in _LEARNED or is_selection(name) for name in retrievers)


class TaskFolder(Settings):
    """A folder with ``tasks.json`` and ``tasks/``, or of task files."""

    folder: Path


class BenchmarkEntry(Settings):
    """A benchmark of the recipe or a collection of them; a bare path will do.

    Attributes:
        path: The folder.
        name: Another name, where it is one benchmark.
        instruction: What the queries ask for; without, what the benchmark says.
        only: Benchmarks or families of a collection; all when empty.
        languages: Languages of MIRACL and MKQA; all when empty.
        split: Which judgements; each layout's published ones when absent.
    """

    path: Path
    name: str | None = None
    instruction: str | None = None
    only: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    split: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_path(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value


class Recipe(Settings):
    """A run: tasks, models, the three kinds of training, retrievers and benchmarks.

    Attributes:
        seed: Seed of everything random.
        tasks: The tasks, one by one or as a folder.
        exclude_tasks: Tasks that are not trained on; their hold-outs are a group of their own.
        max_rows: Rows of a task that are used; all when absent.
        holdout: Queries a task kept out of training and used as its benchmark; at most a fifth.
        holdout_passages: Passages of a hold-out benchmark; the rest of the task is left out.
        model: The retrievers' model.
        proxy: What differs from ``model`` in the proxy and the reference.
        reference: How the reference is trained.
        learning: How the mixture is learned.
        merging: How ``learning.method: merge-search`` finds it.
        curve: How ``learning.method: learning-curve`` finds it.
        regression: How ``learning.method: regression`` finds it.
        training: How the retrievers are trained.
        retrievers: ``uniform``, ``proportional``, ``temperature-T`` (rows to the power of T),
            ``learned`` (what the method keeps), ``last``, ``mean``, ``ema``, ``top-FRACTION``,
            ``helped`` (all but the tasks that further rows do not help), a mixture file, or
            ``reference`` to judge the reference as well. With none the run ends when the mixture is
            learned.
        benchmarks: Folders in BEIR's layout or another published one.
        metrics: By their names in ir-measures; the first one is what a report speaks of.
        compare: What ``tdro compare`` compares.
        report_to: Trackers, by the trainer's names: ``tensorboard``, ``wandb``, ...
    """

    seed: int = Field(default=0, ge=0)
    tasks: tuple[TaskEntry, ...] | TaskFolder
    exclude_tasks: tuple[str, ...] = ()
    max_rows: PositiveInt | None = None
    holdout: int = Field(default=200, ge=0)
    holdout_passages: PositiveInt = 5000
    model: EncoderSettings
    proxy: EncoderSettings
    reference: ReferenceSettings = ReferenceSettings()
    learning: LearningSettings = LearningSettings()
    merging: MergingSettings = MergingSettings()
    curve: CurveSettings = CurveSettings()
    regression: RegressionSettings = RegressionSettings()
    training: TrainingSettings = TrainingSettings()
    retrievers: tuple[str, ...] = ("uniform", "learned", "top-0.7")
    benchmarks: tuple[BenchmarkEntry, ...] = ()
    metrics: Annotated[tuple[str, ...], Field(min_length=1)] = METRICS
    compare: CompareSettings = CompareSettings()
    report_to: tuple[str, ...] = ()

    @field_validator("retrievers")
    @classmethod
    def _known_retrievers(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        names = tuple(map(one_spelling, given))
        for name in names:
            if name in _NAMED or is_selection(name) or is_temperature(name):
                continue
            if name.endswith(".json"):
                continue
            known = (*_NAMED, "top-0.7", HELPED, "temperature-0.5")
            near = difflib.get_close_matches(name, known, 1, 0.0)[0]
            raise ValueError(f"{name!r} is no retriever; the nearest is {near!r}")
        labels = [retriever_name(name) for name in names]
        for label in labels:
            if labels.count(label) > 1:
                raise ValueError(
                    f"two retrievers are called {label!r}: name it once, or give the mixture file "
                    "another name"
                )
        return names

    @model_validator(mode="after")
    def _mixtures_are_left(self) -> "Recipe":
        for name in self.retrievers:
            if name in _LEFT_BY_A_LOOP and not self.learning.in_a_loop:
                raise ValueError(
                    f"the retriever {name!r} asks for a mixture that {self.learning.method} does "
                    "not leave: use 'learned'"
                )
            if name == HELPED and self.learning.method not in MEASURE_GAINS:
                raise ValueError(
                    f"the retriever {name!r} asks for what further rows gain on each task, which "
                    f"{' and '.join(MEASURE_GAINS)} tell, not {self.learning.method}"
                )
        return self

    @model_validator(mode="after")
    def _options_of_layers_are_read(self) -> "Recipe":
        for section, model in (
            ("reference", self.proxy),
            ("learning", self.proxy),
            ("training", self.model),
        ):
            settings = getattr(self, section)
            for name in ("mini_batch_size", "gradient_checkpointing", "lora"):
                if model.kind == "static" and getattr(settings, name, None):
                    raise ValueError(
                        f"{section}.{name} has no meaning for a model of kind 'static', which "
                        "has no layers"
                    )
        return self

    def task_sources(self) -> list[TaskSource]:
        """Returns the tasks that are named or found in the folder, excluded ones among them.

        Raises:
            InputError: There is none, two have the same name, or an excluded one is not there.
        """
        sources = self._sources()
        names = [source.name for source in sources]
        for name in self.exclude_tasks:
            if name not in names:
                near = difflib.get_close_matches(name, names, 1, 0.0)[0]
                raise InputError(
                    f"exclude_tasks names {name!r}, which is no task; the nearest is {near!r}."
                )
        if set(names) <= set(self.exclude_tasks):
            raise InputError("exclude_tasks leaves no task to train on.")
        return sources

    def _sources(self) -> list[TaskSource]:
        if isinstance(self.tasks, TaskFolder):
            return find_sources(self.tasks.folder)
        names = [entry.name for entry in self.tasks]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"Two tasks are named {name!r}: give one of them another name.")
        if not names:
            raise InputError("The recipe names no task.")
        return [entry.source() for entry in self.tasks]

    def encoder_name(self, settings: EncoderSettings) -> Literal["model", "proxy"]:
        """Returns whose pretrained model it is; proxy and model share one where they are alike."""
        return "model" if settings == self.model else "proxy"

    @property
    def needs_learning(self) -> bool:
        """Whether a retriever asks for the learned mixture, or there is none to train."""
        return asks_for_learned(self.retrievers)

    @property
    def compared_seeds(self) -> tuple[int, ...]:
        """Seeds of the repetitions of a comparison."""
        seeds = self.compare.seeds
        return tuple(range(self.seed, self.seed + seeds)) if isinstance(seeds, int) else seeds

    def to_yaml(self) -> str:
        """Returns the resolved recipe, which gives the same run from any folder."""
        content = self.model_dump(mode="json")
        if not self.learning.in_a_loop:
            content["learning"] = {"method": self.learning.method}
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
