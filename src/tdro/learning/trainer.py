"""Learning a mixture: sentence-transformers' trainer with a weighted row loss."""

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from sentence_transformers.base.sampler import DefaultBatchSampler
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator
from torch.utils.data import SequentialSampler
from transformers import TrainerCallback

from tdro.counting import tokens_at
from tdro.errors import InputError
from tdro.learning.losses import Floats, RowLosses
from tdro.learning.measures import Measure
from tdro.learning.method import Method, method_of
from tdro.learning.record import RECORD_FILE, LossRecord
from tdro.learning.rules import UpdateRule
from tdro.learning.trajectory import STEP_COLUMNS, Trajectory
from tdro.lora import add_adapters
from tdro.plan import Plan
from tdro.progress import Tick
from tdro.row_loss import row_chunks, row_losses
from tdro.settings import LearningSettings
from tdro.sharded import refuse_sharded
from tdro.similarity import Encoder, ScoredTexts, tokenised
from tdro.tasks.task import Task
from tdro.training import (
    Ticking,
    last_checkpoint,
    run_trainer,
    training_arguments,
)


@dataclass(frozen=True)
class PlannedRows:
    """The rows of one step, tokenised.

    Attributes:
        tokens: Their texts, queries first.
        query_of: Place of each row's query in ``tokens``, shape ``(rows,)``.
        passage_of: Places of its passages, the positive first, shape ``(rows, passages)``.
        task_of: Task number of each row, shape ``(rows,)``.
        reference: Reference loss of each row in nats, shape ``(rows,)``.
    """

    tokens: ScoredTexts
    query_of: NDArray[np.int64]
    passage_of: NDArray[np.int64]
    task_of: NDArray[np.int64]
    reference: NDArray[np.float64]


@dataclass(frozen=True)
class Learned:
    """What learning a mixture leaves.

    Attributes:
        trajectory: Weights and losses of every step.
        record: Row losses of every micro-batch, to be replayed with another method.
        tokens: What went through the proxy, on all processes; not saved, None when read back.
    """

    trajectory: Trajectory
    record: LossRecord
    tokens: int | None = None

    def save(self, directory: Path) -> None:
        """Writes the trajectory and the record."""
        self.trajectory.save(directory)
        self.record.save(directory / RECORD_FILE)

    @classmethod
    def load(cls, directory: Path) -> "Learned":
        """Reads what :meth:`save` wrote."""
        return cls(Trajectory.load(directory), LossRecord.load(directory / RECORD_FILE))


def learn_weights(trainer: "MixtureTrainer", directory: Path) -> Learned:
    """Trains the proxy on the plan and raises the weight of tasks it is behind on.

    A killed call goes on from its last checkpoint in ``directory`` and ends with the same
    trajectory, bit for bit. Under ``torchrun`` or ``accelerate launch`` each process takes an
    equal part of every step; the losses are gathered, so all of them learn the same weights.

    Args:
        trainer: What :func:`mixture_trainer` returned.
        directory: The directory it was made for. The checkpoints stay there.

    Returns:
        Weights and losses of every step, the row losses they came from, and what it took.

    Raises:
        FloatingPointError: A loss is not finite.
    """
    checkpoint = last_checkpoint(directory)
    if checkpoint:
        trainer.learned = Learned.load(checkpoint)
        if _settled(trainer.settings, trainer.learned.trajectory):
            return replace(trainer.learned, tokens=tokens_at(checkpoint))
    trainer.add_callback(_StopWhenSettled(trainer))
    trainer.add_callback(_SaveLearned(trainer))
    tokens = run_trainer(trainer, directory)
    return replace(trainer.learned, tokens=tokens)


def mixture_trainer(
    proxy: Encoder,
    plan: Plan,
    tasks: Sequence[Task],
    reference: NDArray[np.float64],
    settings: LearningSettings,
    directory: Path,
    *,
    precision: str,
    tick: Tick,
    measure: Measure | None = None,
    rule: UpdateRule | None = None,
    report_to: Sequence[str] = (),
) -> "MixtureTrainer":
    """Returns the trainer that learns a mixture, before its first step.

    Args:
        proxy: The model to train; it is thrown away afterwards.
        plan: The rows of every step.
        tasks: The tasks, in the order of the plan.
        reference: Reference loss of every planned row, shape ``(steps * batch_size,)``.
        settings: How to learn; learning rate and temperature must be set.
        directory: Holds the checkpoints while learning, and what trackers write to files.
        precision: See ``EncoderSettings``.
        tick: Called after each step.
        measure: In place of that of ``settings.method``.
        rule: Likewise.
        report_to: Trackers, by the names the trainer knows (``tensorboard``, ``wandb``, ...).

    Raises:
        InputError: The batch size is no multiple of processes times micro-batches, or the method
            does not learn from row losses, or peft is not installed and ``lora`` is set, or the
            processes hold parts of the proxy.
        ValueError: The settings leave the learning rate or the temperature open.
    """
    if settings.learning_rate is None or settings.temperature is None:
        raise ValueError("mixture_trainer needs settings with a learning_rate and a temperature.")
    if settings.lora is not None:
        add_adapters(proxy, settings.lora, plan.seed)
    arguments = training_arguments(
        directory,
        settings,
        proxy,
        learning_rate=settings.learning_rate,
        precision=precision,
        seed=plan.seed,
        run_name="mixture",
        report_to=report_to,
    )
    arguments.per_device_train_batch_size = _rows_of_a_process(settings, arguments.world_size)
    arguments.batch_sampler = _in_order
    trainer = MixtureTrainer(
        # Of the model it uses only what all kinds of encoders share.
        model=cast(SentenceTransformer, proxy),
        args=arguments,
        train_dataset=Dataset.from_dict({"place": np.arange(len(plan.task_of))}),
        data_collator=_PlanCollator(
            proxy.preprocess, read=partial(_read_rows, proxy, plan, tasks, reference)
        ),
        loss=_Holder(proxy),
        callbacks=[Ticking(tick)],
    )
    refuse_sharded(trainer)
    trainer.settings = settings
    trainer.temperature = settings.temperature
    everything = RowLosses(reference, reference, plan.task_of, len(plan.tasks))
    reference_of_task = everything.task_means(reference)
    method = method_of(settings, reference_of_task)
    trainer.method = replace(method, measure=measure or method.measure, rule=rule or method.rule)
    trainer.learned = Learned(
        Trajectory.start(plan.tasks),
        LossRecord(plan.tasks, settings.accumulation, reference_of_task),
    )
    return trainer


def _rows_of_a_process(settings: LearningSettings, processes: int) -> int:
    if settings.batch_size % (processes * settings.accumulation):
        raise InputError(
            f"learning.batch_size is {settings.batch_size}: with {processes} processes and an "
            f"accumulation of {settings.accumulation} it must be a multiple of "
            f"{processes * settings.accumulation}."
        )
    return settings.batch_size // processes


def _settled(settings: LearningSettings, trajectory: Trajectory) -> bool:
    if settings.patience is None or settings.tolerance is None:
        return False
    return trajectory.settled(settings.patience, settings.tolerance)


def _in_order(dataset: Dataset, batch_size: int, **options: Any) -> DefaultBatchSampler:
    return DefaultBatchSampler(SequentialSampler(dataset), batch_size, drop_last=False)


def _read_rows(
    proxy: Encoder,
    plan: Plan,
    tasks: Sequence[Task],
    reference: NDArray[np.float64],
    places: NDArray[np.int64],
) -> PlannedRows:
    shown = plan.texts(tasks, places)
    return PlannedRows(
        tokens=tokenised(proxy, shown.queries, shown.passages),
        query_of=shown.query_of,
        passage_of=shown.passage_of + len(shown.queries),
        task_of=plan.task_of[places],
        reference=reference[places],
    )


@dataclass
class _PlanCollator(SentenceTransformerDataCollator):
    """Reads and tokenises the rows of a step, each distinct text once."""

    read: Any = None

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        return {"rows": self.read(np.array([item["place"] for item in features]))}


class _Holder(torch.nn.Module):
    """Stands where the trainer expects a loss: it optimises the parameters that the loss holds."""

    def __init__(self, model: Encoder) -> None:
        super().__init__()
        self.model = model


class MixtureTrainer(SentenceTransformerTrainer):
    """Weights each row's loss by its task and moves the weights at every step.

    How a step's losses become a signal and its rows are weighted is up to the method's form.
    """

    settings: LearningSettings
    temperature: float
    method: Method
    learned: Learned

    def training_step(
        self, model: torch.nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Runs forward and backward passes chunk by chunk and moves the task weights."""
        model.train()
        rows: PlannedRows = inputs["rows"]
        micro_batches = np.array_split(np.arange(len(rows.task_of)), self.settings.accumulation)
        *_, last = micro_batches
        gathered: list[RowLosses] = []
        step_loss = 0.0
        for micro in micro_batches:
            ahead = micro is last and self.method.form.updates_before_last
            if ahead:
                with torch.no_grad():
                    losses, _ = self._pass(model, rows, micro, None)
                gathered.append(self._gathered(rows, micro, losses))
                self._advance(gathered)
            weights = self.learned.trajectory.state.weights
            factors = self.method.form.row_weights(weights, rows.task_of[micro], len(micro_batches))
            losses, loss = self._pass(model, rows, micro, factors, synchronised=micro is last)
            step_loss += loss
            if not ahead:
                gathered.append(self._gathered(rows, micro, losses))
        if not self.method.form.updates_before_last:
            self._advance(gathered)
        return torch.tensor(step_loss, device=self.args.device)

    def _pass(
        self,
        model: torch.nn.Module,
        rows: PlannedRows,
        micro: NDArray[np.int64],
        factors: Floats | None,
        synchronised: bool = False,
    ) -> tuple[Floats, float]:
        """Computes the losses of a micro-batch, with factors their weighted sum's gradient too."""
        query_of, passage_of = rows.query_of[micro], rows.passage_of[micro]
        chunk_tokens = self.settings.chunk_tokens
        chunks = list(row_chunks(rows.tokens, query_of, passage_of, chunk_tokens))
        losses = np.empty(len(micro))
        total = 0.0
        for number, chunk in enumerate(chunks, start=1):
            # Processes may have cut their rows into different numbers of chunks: gradients are
            # exchanged once, at the last chunk of each. It is the forward pass that decides.
            final = factors is None or (synchronised and number == len(chunks))
            with contextlib.nullcontext() if final else self.accelerator.no_sync(model):
                with self.compute_loss_context_manager():
                    each = row_losses(
                        model,
                        rows.tokens,
                        query_of[chunk],
                        passage_of[chunk],
                        temperature=self.temperature,
                        chunk_tokens=chunk_tokens,
                    )
                losses[chunk] = each.detach().double().cpu().numpy()
                if factors is not None:
                    factor = torch.as_tensor(factors[chunk], dtype=each.dtype, device=each.device)
                    loss = (each * factor).sum()
                    self.accelerator.backward(loss)
                    total += float(loss.detach())
        return losses, total

    def _gathered(self, rows: PlannedRows, micro: NDArray[np.int64], proxy: Floats) -> RowLosses:
        """Returns the losses of a micro-batch over all processes."""
        columns = np.stack([proxy, rows.reference[micro], rows.task_of[micro].astype(np.float64)])
        if self.accelerator.num_processes > 1:
            mine = torch.as_tensor(columns.T.copy(), device=self.accelerator.device)
            columns = self.accelerator.gather(mine).cpu().numpy().T
        task_of = columns[2].astype(np.int64)
        tasks = self.learned.trajectory.tasks
        if not np.isfinite(columns[0]).all():
            task = tasks[task_of[int(np.argmin(np.isfinite(columns[0])))]]
            raise FloatingPointError(
                f"The proxy loss of a row of task {task!r} is not finite at step "
                f"{self.state.global_step + 1}: lower learning.learning_rate or use fp32."
            )
        return RowLosses(columns[0], columns[1], task_of, len(tasks))

    def _advance(self, step: list[RowLosses]) -> None:
        self.learned = Learned(
            self.learned.trajectory.advanced(self.method, step, self.settings.ema_decay),
            self.learned.record.extended(step),
        )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds what the step told of every task, for the trackers."""
        trajectory = self.learned.trajectory
        if "loss" in logs and trajectory.steps and self.args.report_to:
            logs = {**logs, **_tracked(trajectory)}
        super().log(logs, start_time)


def _tracked(trajectory: Trajectory) -> dict[str, float]:
    last = trajectory.steps[-1]
    steps = len(trajectory.steps)
    told = {
        "signal_norm": float(last.norm[0]),
        "moved_last_tenth": trajectory.moved(max(1, steps // 10)),
    }
    for column in STEP_COLUMNS:
        if column != "norm":
            values = zip(trajectory.tasks, getattr(last, column).tolist(), strict=True)
            told |= {f"{column}/{task}": value for task, value in values if math.isfinite(value)}
    return told


class _StopWhenSettled(TrainerCallback):
    def __init__(self, trainer: MixtureTrainer) -> None:
        self.trainer = trainer

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if _settled(self.trainer.settings, self.trainer.learned.trajectory):
            control.should_training_stop = True


class _SaveLearned(TrainerCallback):
    def __init__(self, trainer: MixtureTrainer) -> None:
        self.trainer = trainer

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            self.trainer.learned.save(folder)
