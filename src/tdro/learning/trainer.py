"""Learning a mixture: sentence-transformers' trainer with a weighted row loss."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from sentence_transformers.base.sampler import DefaultBatchSampler
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator
from torch.utils.data import SequentialSampler
from transformers import TrainerCallback

from tdro.encoder import TokenBatch
from tdro.learning.measures import PRESETS, Measure, task_means
from tdro.learning.trajectory import Trajectory
from tdro.plan import Plan
from tdro.progress import Tick
from tdro.row_loss import row_chunks, row_losses
from tdro.settings import LearningSettings
from tdro.tasks.task import Task
from tdro.training import (
    CompleteCheckpoints,
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

    tokens: TokenBatch
    query_of: NDArray[np.int64]
    passage_of: NDArray[np.int64]
    task_of: NDArray[np.int64]
    reference: NDArray[np.float64]


def learn_weights(
    proxy: SentenceTransformer,
    plan: Plan,
    tasks: Sequence[Task],
    reference: NDArray[np.float64],
    settings: LearningSettings,
    directory: Path,
    *,
    precision: str,
    tick: Tick,
    measure: Measure | None = None,
) -> Trajectory:
    """Trains the proxy on the plan and raises the weight of tasks it is behind on.

    A killed call goes on from its last checkpoint in ``directory`` and ends with the same
    trajectory, bit for bit.

    Args:
        proxy: The model to train; it is thrown away afterwards.
        plan: The rows of every step.
        tasks: The tasks, in the order of the plan.
        reference: Reference loss of every planned row, shape ``(steps * batch_size,)``.
        settings: How to learn; learning rate and temperature must be set.
        directory: Holds the checkpoints while learning.
        precision: See ``EncoderSettings``.
        tick: Called after each step.
        measure: Overrides the measure of ``settings.method``.

    Returns:
        The weights and losses of every step.

    Raises:
        FloatingPointError: A loss is not finite.
        ValueError: The settings leave the learning rate or the temperature open.
    """
    if settings.learning_rate is None or settings.temperature is None:
        raise ValueError("learn_weights needs settings with a learning_rate and a temperature.")
    arguments = training_arguments(
        directory,
        settings,
        proxy,
        learning_rate=settings.learning_rate,
        precision=precision,
        seed=plan.seed,
    )
    arguments.batch_sampler = _in_order
    trainer = MixtureTrainer(
        model=proxy,
        args=arguments,
        train_dataset=Dataset.from_dict({"place": np.arange(len(plan.task_of))}),
        data_collator=_PlanCollator(
            proxy.preprocess, read=partial(_read_rows, proxy, plan, tasks, reference)
        ),
        loss=torch.nn.Identity(),
        callbacks=[Ticking(tick)],
    )
    trainer.settings = settings
    trainer.temperature = settings.temperature
    trainer.measure = measure or PRESETS[settings.method](settings)
    trainer.trajectory = Trajectory.start(plan.tasks)
    checkpoint = last_checkpoint(directory)
    if checkpoint:
        trainer.trajectory = Trajectory.load(checkpoint)
    # Added last, so that the mark is made when the trajectory has been saved too.
    trainer.add_callback(_SaveTrajectory(trainer))
    trainer.add_callback(CompleteCheckpoints())
    run_trainer(trainer, directory)
    return trainer.trajectory


def _in_order(dataset: Dataset, batch_size: int, **options: Any) -> DefaultBatchSampler:
    return DefaultBatchSampler(SequentialSampler(dataset), batch_size, drop_last=False)


def _read_rows(
    proxy: SentenceTransformer,
    plan: Plan,
    tasks: Sequence[Task],
    reference: NDArray[np.float64],
    places: NDArray[np.int64],
) -> PlannedRows:
    shown = plan.texts(tasks, places)
    return PlannedRows(
        tokens=TokenBatch(proxy, shown.queries, shown.passages),
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


class MixtureTrainer(SentenceTransformerTrainer):
    """Weights each row's loss by its task and updates the weights after every step.

    The step's loss is ``(1 / B) * sum_i K * alpha_task(i) * loss_i`` with the alpha in force
    before the step. It is a sum over rows, so how the rows are cut into chunks does not matter.
    """

    settings: LearningSettings
    temperature: float
    measure: Measure
    trajectory: Trajectory

    def training_step(
        self, model: torch.nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Runs forward and backward passes chunk by chunk, then updates the task weights."""
        model.train()
        rows: PlannedRows = inputs["rows"]
        count = len(self.trajectory.tasks)
        scale = count * self.trajectory.state.weights[rows.task_of] / len(rows.task_of)
        losses = np.empty(len(rows.task_of))
        step_loss = 0.0
        chunk_tokens = self.settings.chunk_tokens
        for chunk in row_chunks(rows.tokens, rows.query_of, rows.passage_of, chunk_tokens):
            with self.compute_loss_context_manager():
                each = row_losses(
                    model,
                    rows.tokens,
                    rows.query_of[chunk],
                    rows.passage_of[chunk],
                    temperature=self.temperature,
                    chunk_tokens=chunk_tokens,
                )
            loss = (
                each * torch.as_tensor(scale[chunk], dtype=each.dtype, device=each.device)
            ).sum()
            self.accelerator.backward(loss)
            losses[chunk] = each.detach().double().cpu().numpy()
            step_loss += float(loss.detach())
        self._update(rows, losses)
        return torch.tensor(step_loss, device=self.args.device)

    def _update(self, rows: PlannedRows, proxy: NDArray[np.float64]) -> None:
        if not np.isfinite(proxy).all():
            task = self.trajectory.tasks[rows.task_of[int(np.argmin(np.isfinite(proxy)))]]
            raise FloatingPointError(
                f"The proxy loss of a row of task {task!r} is not finite at step "
                f"{self.state.global_step + 1}: lower learning.learning_rate or use fp32."
            )
        count = len(self.trajectory.tasks)
        signal = self.measure(proxy, rows.reference, rows.task_of, count)
        state = self.trajectory.state.updated(
            signal, eta=self.settings.eta, ema_decay=self.settings.ema_decay
        )
        present = np.bincount(rows.task_of, minlength=count) > 0
        self.trajectory = self.trajectory.extended(
            state,
            proxy=np.where(present, task_means(proxy, rows.task_of, count), np.nan),
            reference=np.where(present, task_means(rows.reference, rows.task_of, count), np.nan),
            signal=signal,
        )


class _SaveTrajectory(TrainerCallback):
    def __init__(self, trainer: MixtureTrainer) -> None:
        self.trainer = trainer

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        self.trainer.trajectory.save(folder)
