"""The stages of a run and how each stands, told by going through the run without doing it."""

from collections.abc import Callable, Iterable
from functools import cached_property, partial
from pathlib import Path

from tdro.dryrun.directory import (
    MISSING,
    OPEN,
    DryDirectory,
    Told,
    hollow_holdouts,
    hollow_outside,
)
from tdro.files import MANIFEST_FILE, file_name
from tdro.recipe import Recipe, retriever_name
from tdro.run.context import Context, open_context, prepared_task
from tdro.run.evaluation import Judge, complete_holdouts, scores_stage
from tdro.run.merging import CONFIRMED
from tdro.run.mixture import complete_mixture, mixture_named
from tdro.run.models import complete_encoder, complete_reference, complete_retriever
from tdro.run.outline import Planned, outline
from tdro.run.overlap import overlap_stages
from tdro.stages import NotDoneError
from tdro.tasks.task import Task, TaskSource

_JUDGED = ("holdouts", "scores")
_OF_HOLDOUTS = ("holdouts", "holdouts_unseen", "overlaps/excluded")
_MIXTURE = "mixture"


def stage_graph(recipe: Recipe, root: Path) -> list[Told]:
    """Tells of every stage of a run whether it is done, in the order of the run.

    No model is loaded and nothing is written.

    Args:
        recipe: The resolved recipe.
        root: The run directory, which need not be there.

    Raises:
        InputError: A task cannot be found, or a mixture or a benchmark cannot be read.
    """
    return _Walk(recipe, root).graph()


class _Walk:
    """Goes through the stages of a run, each as far as it can be told."""

    def __init__(self, recipe: Recipe, root: Path) -> None:
        self.recipe = recipe
        self.directory = DryDirectory(root)
        self.sources = recipe.task_sources()
        self.planned = outline(recipe, [source.name for source in self.sources])
        # What stages that were not reached wait for, by their places.
        self.waits: dict[str, str] = {}

    def graph(self) -> list[Told]:
        """Returns all stages."""
        prepared: list[Task] = []

        def prepare(source: TaskSource) -> None:
            prepared.append(prepared_task(self.recipe, self.directory, source))

        for source in self.sources:
            self._go([stage.place for stage in self.planned], partial(prepare, source))
        planned = self.planned
        if len(prepared) == len(self.sources):
            self.waits.clear()
            context = open_context(self.recipe, self.directory, prepared=prepared)
            self._go(["overlaps/benchmarks"], lambda: self._overlaps(context))
            self._learn(context)
            if self.recipe.retrievers:
                complete_holdouts(context)
            for entry in self.recipe.retrievers:
                self._train_and_judge(context, entry)
            planned = [stage for stage in planned if not self._needless(stage)]
        return [self._told(stage) for stage in planned]

    def _needless(self, stage: Planned) -> bool:
        """Tells whether the run turned out to go without a stage that was planned."""
        told = self.directory.told
        if stage.place in told:
            return False
        # Tasks that are too small for a hold-out have none, and once the mixture was reached all
        # mixtures that differ are known.
        confirming = stage.place.startswith(f"{CONFIRMED}/")
        return stage.place in _OF_HOLDOUTS or (confirming and _MIXTURE in told)

    def _overlaps(self, context: Context) -> None:
        for stage in overlap_stages(context, ()):
            self.directory.complete(stage)
        for stage in overlap_stages(context, self._outside if self.recipe.retrievers else ()):
            self.directory.complete(stage)

    def _learn(self, context: Context) -> None:
        if self.recipe.needs_learning:
            learning = [stage.place for stage in self.planned if stage.kind not in _JUDGED]
            self._go(learning, lambda: complete_mixture(context))

    def _train_and_judge(self, context: Context, entry: str) -> None:
        name = retriever_name(entry)
        trained: list[Path] = []

        def train() -> None:
            if entry == "reference":
                trained.append(complete_reference(context))
                return
            complete_encoder(context, self.recipe.model)
            mixture = mixture_named(context, entry, self.directory.finished(_MIXTURE))
            trained.append(complete_retriever(context, name, mixture))

        def judge() -> None:
            settings = self.recipe.proxy if entry == "reference" else self.recipe.model
            judges = hollow_holdouts(context) + self._outside
            self.directory.complete(scores_stage(context, name, trained[0], judges, settings))

        self._go([f"retrievers/{file_name(name)}"], train)
        scores = f"runs/{file_name(name)}"
        if trained:
            self._go([scores], judge)
        else:
            self.waits[scores] = f"retriever {name}"

    @cached_property
    def _outside(self) -> list[Judge]:
        return hollow_outside(self.recipe.benchmarks)

    def _go(self, places: Iterable[str], through: Callable[[], object]) -> None:
        """Goes on until the result of a stage is needed that is not done."""
        try:
            through()
        except NotDoneError as error:
            for place in places:
                self.waits.setdefault(place, self._label(error.place))

    def _label(self, place: str) -> str:
        return next((stage.label for stage in self.planned if stage.place == place), place)

    def _told(self, stage: Planned) -> Told:
        if stage.place in self.directory.told:
            return self.directory.told[stage.place]
        there = (self.directory.root / stage.place / MANIFEST_FILE).is_file()
        needed = self.waits.get(stage.place)
        why = f"waits for {needed}" if needed else ""
        return Told(stage.label, OPEN if there else MISSING, why)
