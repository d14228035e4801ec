"""What each stage of a run takes: memory, rows, tokens and work."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tdro.estimate.drawn import Drawn
from tdro.estimate.flops import Work, inference_work, passes_again, training_work
from tdro.estimate.memory import (
    Memory,
    Model,
    inference_memory,
    learning_memory,
    least_memory,
    training_memory,
)
from tdro.estimate.rehearsal import Texts
from tdro.estimate.volume import (
    largest_batch,
    learning_volume,
    training_volume,
    window_volume,
)
from tdro.reference import HELD_OUT_ROWS
from tdro.run.outline import Planned
from tdro.settings import LearningSettings, TrainingSettings

_FLOAT = 4
# What search and development sets put through a model at once.
_ENCODED_TOGETHER = 64
_DEVELOPMENT_TOKENS = 4096
# Of a search: documents and queries that are scored together, and what is kept of each query.
_DOCUMENTS_TOGETHER = 4096
_QUERIES_TOGETHER = 1024
_FOUND = 100
_KEY = 8
# What decides about memory; the rest is left as it is by default, so that stages share a rehearsal.
_OF_TRAINING = ("batch_size", "mini_batch_size", "gradient_checkpointing", "lora", "save_adapter")
_OF_LEARNING = ("batch_size", "chunk_tokens", "gradient_checkpointing", "lora")


@dataclass(frozen=True)
class StageEstimate:
    """What a stage takes.

    Attributes:
        stage: The stage.
        memory: On one device; None where no model is at work.
        host: Bytes that it holds in the machine's own memory, whatever the device.
        rows: Rows; queries and documents of a stage that judges.
        tokens: Real tokens, each as often as it goes through a model.
        work: Floating-point operations of all devices together.
        size: Bytes of the file that it reads, for a task.
        parameters: Parameters of the model.
        trained: Those that are trained.
        exact: Whether rows were counted and not told from a part of a file.
    """

    stage: Planned
    memory: Memory | None = None
    host: int = 0
    rows: float = 0
    tokens: float = 0
    work: Work = field(default_factory=Work)
    size: int = 0
    parameters: int = 0
    trained: int = 0
    exact: bool = True


class Estimator:
    """Estimates the stages of a run, one by one.

    Args:
        drawn: What stages draw from.
        devices: Devices that share the work; each holds all of a model.
    """

    def __init__(self, drawn: Drawn, devices: int = 1) -> None:
        self.drawn = drawn
        self.devices = devices

    def estimate(self, stage: Planned) -> StageEstimate:
        """Returns what a stage takes.

        Raises:
            InputError: The configuration of its model cannot be read.
        """
        ways: Mapping[str, Callable[[Planned, Model], StageEstimate]] = {
            "encoder": self._encoder,
            "training": self._training,
            "losses": self._losses,
            "learning": self._learning,
            "search": self._development,
            "judging": self._development,
            "scores": self._scores,
        }
        if stage.kind == "task":
            glance = self.drawn.glances[stage.task]
            return StageEstimate(stage, rows=glance.rows, size=glance.size, exact=glance.exact)
        if stage.kind == "plan":
            learning = _learning_of(stage)
            return StageEstimate(stage, rows=learning.steps * learning.batch_size)
        if stage.model is None:
            return StageEstimate(stage)
        return ways[stage.kind](stage, self.drawn.model(stage.model))

    def least(self, stage: Planned) -> int:
        """Returns the bytes that a training takes before a single text goes through its model.

        Raises:
            InputError: The configuration of its model cannot be read.
        """
        assert stage.model is not None
        assert isinstance(stage.settings, TrainingSettings | LearningSettings)
        return least_memory(self.drawn.model(stage.model), stage.settings.lora)

    def _encoder(self, stage: Planned, model: Model) -> StageEstimate:
        parameters = model.size().parameters
        weights = parameters * _FLOAT
        # It is saved cut and read again.
        return StageEstimate(
            stage,
            Memory(parameters=weights, peak=weights),
            host=2 * weights,
            parameters=parameters,
        )

    def _training(self, stage: Planned, model: Model) -> StageEstimate:
        settings = _training_of(stage)
        tasks = self.drawn.tasks(model.settings, stage)
        weights = self.drawn.weights(stage)
        given = [task for task, weight in zip(tasks, weights, strict=True) if weight]
        batch = largest_batch(given, settings, self.devices)
        alike = {name: getattr(settings, name) for name in _OF_TRAINING}
        volume = training_volume(tasks, weights, settings, model.static)
        size = model.size(settings.lora)
        return StageEstimate(
            stage,
            training_memory(model, TrainingSettings(**alike), batch),
            rows=volume.rows,
            tokens=volume.tokens * (1 + (settings.mini_batch_size is not None)),
            work=training_work(size, volume, passes_again(settings)),
            parameters=size.parameters,
            trained=size.trained,
            exact=self.drawn.exact,
        )

    def _learning(self, stage: Planned, model: Model) -> StageEstimate:
        settings = _learning_of(stage)
        tasks = self.drawn.tasks(model.settings, stage)
        volume, chunk = learning_volume(tasks, settings, self.devices, model.static)
        alike = {name: getattr(settings, name) for name in _OF_LEARNING}
        size = model.size(settings.lora)
        # The released form looks at its last micro-batch once more before it weights it.
        twice = 1 / settings.accumulation if settings.method == "tdro-released" else 0
        return StageEstimate(
            stage,
            learning_memory(model, LearningSettings(**alike), chunk, self.devices),
            rows=volume.rows,
            tokens=volume.tokens * (1 + twice),
            work=training_work(size, volume, settings.gradient_checkpointing + twice),
            parameters=size.parameters,
            trained=size.trained,
            exact=self.drawn.exact,
        )

    def _losses(self, stage: Planned, model: Model) -> StageEstimate:
        settings = _learning_of(stage)
        tasks = self.drawn.tasks(model.settings, stage)
        planned = settings.steps * settings.batch_size / len(tasks)
        volume, passes = window_volume(tasks, planned, settings, 1 / stage.models, model.static)
        held = self.drawn.held_out(tasks)
        if stage.models == 1 and held:
            # One reference scores a few rows of every task besides that it has not seen.
            volume += window_volume(held, HELD_OUT_ROWS, settings, 1, model.static)[0]
        size = model.size()
        embeddings = sum(texts.count for texts in passes) * size.dimensions * _FLOAT
        longest = max(passes, key=lambda texts: texts.tokens)
        return StageEstimate(
            stage,
            inference_memory(model, (longest,), beside=embeddings, models=stage.models),
            rows=volume.rows,
            tokens=volume.tokens,
            work=inference_work(size, volume),
            parameters=size.parameters,
            exact=self.drawn.exact,
        )

    def _development(self, stage: Planned, model: Model) -> StageEstimate:
        size = model.size()
        volume, texts = self.drawn.development(model.settings)
        longest = model.settings.max_passage_length
        passes = (Texts(max(1, _DEVELOPMENT_TOKENS // longest), longest),)
        beside = texts * size.dimensions * _FLOAT
        # A search holds all experts side by side, and their average.
        host = (stage.models + 1) * size.parameters * _FLOAT if stage.kind == "search" else 0
        return StageEstimate(
            stage,
            inference_memory(model, passes, beside=beside),
            host=host,
            rows=volume.rows,
            tokens=volume.tokens * stage.passes,
            work=inference_work(size, volume, stage.passes),
            parameters=size.parameters,
            exact=self.drawn.exact,
        )

    def _scores(self, stage: Planned, model: Model) -> StageEstimate:
        size = model.size()
        volume, queries, longest = self.drawn.judged(model.settings)
        together = min(queries, _QUERIES_TOGETHER)
        beside = (
            (queries + _DOCUMENTS_TOGETHER) * size.dimensions * _FLOAT
            + together * _DOCUMENTS_TOGETHER * _FLOAT
            + queries * _FOUND * _KEY
        )
        passes = (Texts(_ENCODED_TOGETHER, longest),)
        return StageEstimate(
            stage,
            inference_memory(model, passes, beside=beside),
            rows=volume.rows,
            tokens=volume.tokens,
            work=inference_work(size, volume),
            parameters=size.parameters,
            exact=self.drawn.exact,
        )


def _training_of(stage: Planned) -> TrainingSettings:
    assert isinstance(stage.settings, TrainingSettings)
    return stage.settings


def _learning_of(stage: Planned) -> LearningSettings:
    assert isinstance(stage.settings, LearningSettings)
    return stage.settings
