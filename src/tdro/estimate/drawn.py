"""What the stages of a recipe draw from: tasks by their sizes, mixtures, and what is judged on."""

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch

from tdro.compare_settings import is_temperature
from tdro.encoder import uses_bf16
from tdro.estimate.lengths import Lengths, Measure
from tdro.estimate.memory import Model
from tdro.estimate.rows import BenchmarkGlance, TaskGlance
from tdro.estimate.volume import SizedTask, Volume
from tdro.mixture import Mixture
from tdro.prompts import query_prompt
from tdro.recipe import Recipe
from tdro.run.evaluation import outside_sources
from tdro.run.outline import Planned
from tdro.selection import selected, split_selection
from tdro.settings import EncoderSettings
from tdro.tasks.training import held_out_rows


class Drawn:
    """Tasks and benchmarks of a recipe, measured in the tokens of any model.

    Args:
        recipe: The resolved recipe.
        glances: What was seen of each task, excluded ones among them.
        benchmarks: What was seen of each outside benchmark.
        local: Ask no hub for the configuration of a model.

    Attributes:
        glances: What was seen of each task, by name, as far as ``max_rows`` goes.
        exact: Whether all rows were counted.
        unseen: Names of benchmarks whose documents cannot be counted before they are read.
    """

    def __init__(
        self,
        recipe: Recipe,
        glances: Sequence[TaskGlance],
        benchmarks: Sequence[BenchmarkGlance],
        *,
        local: bool = False,
    ) -> None:
        self.glances = {one.name: one.limited(recipe.max_rows) for one in glances}
        self.exact = all(one.exact for one in self.glances.values())
        self._recipe = recipe
        self.unseen = [
            source.name
            for entry in recipe.benchmarks
            for source in outside_sources(entry)
            if source.glimpse is None
        ]
        self._benchmarks = benchmarks
        self._local = local
        self._trained = [name for name in self.glances if name not in recipe.exclude_tasks]
        self._measures: dict[EncoderSettings, Measure] = {}
        self._lengths: dict[tuple[EncoderSettings, str], Lengths] = {}

    def of(self, recipe: Recipe) -> "Drawn":
        """Returns the same for a recipe with the same tasks and benchmarks, measured once."""
        other = copy.copy(self)
        other._recipe = recipe
        return other

    def model(self, settings: EncoderSettings) -> Model:
        """Returns a model at the precision that this machine gives it."""
        device = torch.accelerator.current_accelerator() or torch.device("cpu")
        return Model(settings, uses_bf16(settings.precision, device), self._local)

    def measure(self, settings: EncoderSettings) -> Measure:
        """Returns what measures texts in tokens of a model."""
        if settings not in self._measures:
            self._measures[settings] = Measure(settings, local=self._local)
        return self._measures[settings]

    def rows(self, name: str) -> int:
        """Returns how many rows of a task may be trained on."""
        there = self.glances[name].rows
        return there - held_out_rows(self._recipe.holdout, there)

    def tasks(self, settings: EncoderSettings, stage: Planned) -> list[SizedTask]:
        """Returns the tasks that a stage draws from."""
        apart = self._development[0] if stage.apart else 0
        found = []
        for name in self._trained:
            glance, rows = self.glances[name], self.rows(name)
            rows = max(1, round((rows - held_out_rows(apart, rows)) * stage.share))
            found.append(
                SizedTask(
                    name, rows, glance.passages, glance.negatives, self._measured(settings, name)
                )
            )
        return found

    def weights(self, stage: Planned) -> list[float]:
        """Returns the weights a training draws its tasks with; equal ones where not yet known.

        Raises:
            InputError: A mixture file is broken or names other tasks.
        """
        sizes = {name: self.rows(name) for name in self._trained}
        entry, selection = split_selection(stage.mixture)
        mixture = Mixture.uniform(sizes)
        if stage.task:
            mixture = Mixture({stage.task: 1.0})
        elif entry == "proportional":
            mixture = Mixture.proportional(sizes)
        elif is_temperature(entry):
            mixture = Mixture.proportional(sizes, float(entry.removeprefix("temperature-")))
        elif entry.endswith(".json"):
            mixture = Mixture.load(entry)
        if selection:
            mixture = selected(mixture, selection)
        return mixture.aligned(self._trained)

    def held_out(self, tasks: Sequence[SizedTask]) -> list[SizedTask]:
        """Returns the rows of tasks that are held out, as tasks of their own."""
        counts = [
            held_out_rows(self._recipe.holdout, self.glances[task.name].rows) for task in tasks
        ]
        pairs = zip(tasks, counts, strict=True)
        return [replace(task, rows=count) for task, count in pairs if count]

    def development(self, settings: EncoderSettings) -> tuple[Volume, int]:
        """Returns what a learner without a loop scores one model on, and how many texts that is."""
        rows, passages = self._development
        total, texts = Volume(), 0
        for name in self._trained:
            queries = held_out_rows(rows, self.rows(name))
            documents = min(passages, self.glances[name].passages)
            total += self._encoded(self._measured(settings, name), queries, documents)
            texts += queries + documents
        return total, texts

    def judged(self, settings: EncoderSettings) -> tuple[Volume, int, int]:
        """Returns what a retriever is judged on: texts, most queries, and the longest text."""
        recipe = self._recipe
        total, most, longest = Volume(), 0, 1
        for name, glance in self.glances.items():
            queries = held_out_rows(recipe.holdout, glance.rows)
            if not queries:
                continue
            lengths = self._measured(settings, name)
            documents = min(recipe.holdout_passages, glance.passages)
            total += self._encoded(lengths, queries, documents)
            most, longest = max(most, queries), max(longest, int(lengths.passages.max()))
        measure = self.measure(settings)
        for benchmark in self._benchmarks:
            prompt = query_prompt(benchmark.instruction) if settings.instructed else ""
            asked = measure.texts([prompt + text for text in benchmark.queries], query=True)
            found = measure.texts(benchmark.sample)
            lengths = Lengths(asked, found, found)
            total += self._encoded(lengths, len(asked), benchmark.documents)
            most, longest = max(most, len(asked)), max(longest, int(found.max()))
        return total, most, longest

    @property
    def _development(self) -> tuple[int, int]:
        recipe = self._recipe
        section = getattr(recipe, recipe.learning.section)
        return section.development, section.passages

    def _measured(self, settings: EncoderSettings, name: str) -> Lengths:
        if (settings, name) not in self._lengths:
            measured = self.measure(settings).task(self.glances[name])
            self._lengths[settings, name] = measured
        return self._lengths[settings, name]

    @staticmethod
    def _encoded(lengths: Lengths, queries: int, documents: int) -> Volume:
        """Returns what encoding takes; texts are sorted by length, so that hardly any is padded."""
        asked, found = lengths.queries, lengths.passages
        tokens = queries * float(asked.mean()) + documents * float(found.mean())
        squares = queries * float((asked**2).mean()) + documents * float((found**2).mean())
        return Volume(queries + documents, tokens, tokens, squares)
