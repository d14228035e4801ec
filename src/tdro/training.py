"""Training an embedding model on tasks drawn by a mixture, with sentence-transformers' trainer."""

import itertools
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import transformers
from datasets import Dataset, DatasetDict
from numpy.typing import NDArray
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base import BaseModel
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)
from sentence_transformers.util import cos_sim
from transformers import PrinterCallback, TrainerCallback

from tdro.counting import CountedSteps, counted_tokens
from tdro.draws import TaskDraws, distinct_batches, quota_sequence
from tdro.encoder import uses_bf16
from tdro.errors import InputError
from tdro.files import (
    MODEL_FOLDER,
    SAMPLING_FILE,
    TRAINED_ROWS_FILE,
    TRAINER_FOLDER,
    digest,
    read_json,
    write_json,
)
from tdro.lora import add_adapters, merged
from tdro.mixture import Mixture
from tdro.model_card import TaskCard
from tdro.progress import Tick
from tdro.prompts import query_prompt
from tdro.sampling import BlockBatchSampler
from tdro.settings import LearningSettings, TrainingSettings
from tdro.sharded import ShardableTrainer, whole_model
from tdro.tasks.task import Task
from tdro.tasks.training import TrainingTask, task_seed, texts
from tdro.token_memory import remember_tokens

_COMPLETE = "complete"


def train(
    name: str,
    encoder: Path,
    tasks: Sequence[TrainingTask],
    mixture: Mixture,
    settings: TrainingSettings,
    directory: Path,
    *,
    precision: str,
    seed: int,
    tick: Tick,
    report_to: Sequence[str] = (),
) -> dict[str, int]:
    """Trains an embedding model with InfoNCE over in-batch and hard negatives.

    One task a batch, tasks dealt by the mixture. A killed call goes on from its last checkpoint
    in ``directory`` and ends with the same model. Several processes take equal parts of each batch,
    with the passages of all as negatives, and the first one writes.

    Args:
        name: Name of what is trained, for the record.
        encoder: Folder of the SentenceTransformer to start from.
        tasks: What may be drawn.
        mixture: Weights of the tasks.
        settings: Steps, batch size, learning rate and so on.
        directory: An existing directory; gets ``model/``, ``sampling.json`` and
            ``trained_rows.parquet``. The checkpoints stay there.
        precision: See ``EncoderSettings``.
        seed: Seed of everything drawn.
        tick: Called after each step.
        report_to: Trackers, by the names the trainer knows (``tensorboard``, ``wandb``, ...).

    Returns:
        Counts for the record: steps, rows and tokens.

    Raises:
        FloatingPointError: The loss is not finite.
        InputError: A task cannot be drawn from, or a batch cannot be dealt equally to processes.
    """
    start = partial(_start, encoder, settings, seed)
    model = start()
    # By name, so that tasks in another order are dealt the same batches.
    tasks = sorted(tasks, key=lambda task: task.name)
    weights = mixture.aligned(task.name for task in tasks)
    turns = quota_sequence(weights, settings.steps, seed)
    batches = np.bincount(turns, minlength=len(tasks))
    data = {
        task.name: drawn_rows(task, max(1, int(count)), settings, seed)
        for task, weight, count in zip(tasks, weights, batches, strict=True)
        if weight > 0
    }
    arguments = training_arguments(
        directory,
        settings,
        model,
        learning_rate=settings.learning_rate,
        precision=precision,
        seed=seed,
        run_name=name,
        report_to=report_to,
    )
    processes = arguments.world_size
    arguments.per_device_train_batch_size = _rows_of_a_process(settings.batch_size, processes)
    arguments.batch_sampler = BlockBatchSampler
    arguments.multi_dataset_batch_sampler = mixture.batch_sampler(
        data, batches=settings.steps * processes
    )
    arguments.router_mapping = {"anchor": "query", "positive": "document"}
    arguments.router_mapping |= dict.fromkeys(_negative_names(settings.negatives), "document")
    trainer = ShardableTrainer(
        model=model,
        args=arguments,
        train_dataset=DatasetDict(data),
        loss=_loss(model, settings, across=processes > 1),
        callbacks=[Ticking(tick)],
    )
    tokens = run_trainer(trainer, directory, recomputes=settings.mini_batch_size is not None)
    model = whole_model(trainer, start)
    # A task whose weight earned it no batch had one drawn all the same; it was not trained on.
    rows = [
        len(data[task.name]) if count else 0 for task, count in zip(tasks, batches, strict=True)
    ]
    facts = {"steps": settings.steps, "rows": sum(rows), "tokens": tokens}
    if not trainer.is_world_process_zero():
        return facts
    if settings.lora is not None and not settings.save_adapter:
        model = merged(model, encoder)
    model.save(str(directory / MODEL_FOLDER))
    record = {
        "retriever": name,
        "tasks": [task.name for task in tasks],
        "weights": weights,
        "batches": batches.tolist(),
        "rows": rows,
    }
    write_json(directory / SAMPLING_FILE, record)
    trained = [
        np.unique(data[task.name].with_format("numpy")["row"][:]) if count else np.empty(0, int)
        for task, count in zip(tasks, batches, strict=True)
    ]
    pq.write_table(pa.table({"rows": trained}), directory / TRAINED_ROWS_FILE)
    return facts


def _start(encoder: Path, settings: TrainingSettings, seed: int) -> SentenceTransformer:
    # Adapters that are saved apart name the folder of the model they belong to.
    card = TaskCard(generate_widget_examples=False)
    model = SentenceTransformer(str(encoder.resolve()), local_files_only=True, model_card_data=card)
    if settings.lora is not None:
        add_adapters(model, settings.lora, seed)
    return remember_tokens(model)


def _rows_of_a_process(batch_size: int, processes: int) -> int:
    if batch_size % processes:
        raise InputError(
            f"The batch size of a training is {batch_size}: with {processes} processes it must be "
            f"a multiple of {processes}."
        )
    return batch_size // processes


def read_trained_rows(directory: Path) -> dict[str, NDArray[np.int64]]:
    """Reads which rows of each task a finished training was given, by the task's name."""
    rows = pq.read_table(directory / TRAINED_ROWS_FILE)["rows"].to_pylist()
    names = read_json(directory / SAMPLING_FILE)["tasks"]
    return {name: np.array(mine, dtype=np.int64) for name, mine in zip(names, rows, strict=True)}


def drawn_rows(task: TrainingTask, count: int, settings: TrainingSettings, seed: int) -> Dataset:
    """Draws ``count`` batches of a task as a dataset of numbers that reads its texts lazily."""
    draws = TaskDraws(task, settings.negatives, task_seed(seed, "training", task.name))
    batches = list(itertools.islice(distinct_batches(draws, settings.batch_size), count))
    passages = np.concatenate([passages for _, passages in batches])
    ends = np.arange(len(passages) + 1, dtype=np.int32) * settings.negatives
    columns = {
        "block": np.repeat(np.arange(count), [len(rows) for rows, _ in batches]),
        "row": np.concatenate([rows for rows, _ in batches]),
        "positive": passages[:, 0],
        "negatives": pa.ListArray.from_arrays(ends, passages[:, 1:].ravel()),
    }
    drawn = digest([task.task.content, settings.inputs(), draws.seed, count])
    numbers = Dataset(pa.table(columns), fingerprint=drawn)
    return numbers.with_transform(_TextsOf(task.task))


@dataclass(frozen=True)
class _TextsOf:
    """Reads the texts that the numbers of a batch stand for.

    Attributes:
        task: The task whose rows and passages are numbered.
    """

    task: Task

    def __call__(self, numbers: dict[str, list[Any]]) -> dict[str, list[str]]:
        prompt = query_prompt(self.task.instruction)
        queries = texts(self.task.queries, np.array(numbers["row"]))
        columns = {
            "anchor": [prompt + query for query in queries],
            "positive": texts(self.task.passages, np.array(numbers["positive"])),
        }
        negatives = np.array(numbers["negatives"], dtype=np.int64).reshape(len(queries), -1)
        for place, name in enumerate(_negative_names(negatives.shape[1])):
            columns[name] = texts(self.task.passages, negatives[:, place])
        return columns

    def __deepcopy__(self, memo: dict[int, Any]) -> "_TextsOf":
        # A dataset copies its transform with every change of format, which took all tables along.
        return self


def _negative_names(count: int) -> list[str]:
    return [f"negative_{number}" for number in range(1, count + 1)]


def _loss(
    model: SentenceTransformer, settings: TrainingSettings, *, across: bool
) -> torch.nn.Module:
    options: dict[str, Any] = {
        "scale": 1 / settings.temperature,
        "similarity_fct": float32_cosine,
        "gather_across_devices": across,
    }
    if settings.mini_batch_size is None:
        return MultipleNegativesRankingLoss(model, **options)
    return CachedMultipleNegativesRankingLoss(
        model, mini_batch_size=settings.mini_batch_size, **options
    )


def float32_cosine(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Returns cosine similarities in float32 whatever the autocast, shape ``(left, right)``.

    In bfloat16 a cosine near one is known to 0.004, which a temperature of 0.02 makes 0.2 in the
    logits.
    """
    with torch.autocast(left.device.type, enabled=False):
        similarities: torch.Tensor = cos_sim(left.float(), right.float())
    return similarities


def training_arguments(
    directory: Path,
    settings: TrainingSettings | LearningSettings,
    model: BaseModel,
    *,
    learning_rate: float,
    precision: str,
    seed: int,
    run_name: str,
    report_to: Sequence[str],
) -> SentenceTransformerTrainingArguments:
    """Returns the trainer arguments that training and learning share (paper: cosine to a tenth)."""
    return SentenceTransformerTrainingArguments(
        output_dir=str(directory / TRAINER_FOLDER),
        run_name=run_name,
        max_steps=settings.steps,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=learning_rate,
        weight_decay=settings.weight_decay,
        warmup_steps=settings.warmup,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": 0.1},
        # Processes may make different numbers of forward passes, and no model here has buffers that
        # training changes.
        ddp_broadcast_buffers=False,
        activation_checkpointing=settings.gradient_checkpointing,
        # The reentrant kind would drop the gradients of embeddings that are looked up outside.
        activation_checkpointing_kwargs={"use_reentrant": False},
        bf16=uses_bf16(precision, model.device),
        use_cpu=model.device.type == "cpu",
        dataloader_pin_memory=model.device.type == "cuda",
        seed=seed,
        save_strategy="steps",
        save_steps=settings.save_every,
        save_total_limit=2,
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to=list(report_to) or "none",
        disable_tqdm=True,
    )


def run_trainer(
    trainer: SentenceTransformerTrainer, directory: Path, *, recomputes: bool = False
) -> int:
    """Trains from the last complete checkpoint in ``directory``.

    The checkpoints stay, for what is left to do with the model can be killed, too.

    Args:
        trainer: The trainer.
        directory: Where its folder is.
        recomputes: The texts of a step first pass without gradients (GradCache), and again with
            them; they are counted once.

    Returns:
        Tokens of all steps, those before the checkpoint too.
    """
    # Without its bar the trainer prints every log line; the stage's own bar shows them.
    trainer.remove_callback(PrinterCallback)
    # Added last, so that the mark is made when the other callbacks have saved what is theirs.
    trainer.add_callback(_CompleteCheckpoints())
    checkpoint = last_checkpoint(directory)
    with counted_tokens(trainer.model, with_gradients=recomputes) as count:
        trainer.add_callback(CountedSteps(trainer, count))
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return int(trainer.state.num_input_tokens_seen)


def last_checkpoint(directory: Path) -> Path | None:
    """Returns the newest checkpoint that was written to its end, if there is one."""
    found = [mark.parent for mark in (directory / TRAINER_FOLDER).glob(f"*/{_COMPLETE}")]
    return max(found, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


class _CompleteCheckpoints(TrainerCallback):
    """Marks a checkpoint once all of it is on disk; a kill in mid-save then does no harm."""

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Writes the mark."""
        # Each process has saved its part: of the optimizer, of its random numbers.
        if torch.distributed.is_initialized():
            torch.distributed.barrier()
        if state.is_world_process_zero:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / _COMPLETE).touch()


class Ticking(TrainerCallback):
    """Tells the progress bar of each step and its loss, and ends a run that has diverged."""

    def __init__(self, tick: Tick) -> None:
        self.tick = tick

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Tells one step."""
        loss = kwargs.get("logs", {}).get("loss")
        if loss is None:
            return
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"The loss is not finite at step {state.global_step}: "
                "lower the learning rate or use precision: fp32."
            )
        self.tick(state.global_step, state.max_steps, loss)


def quiet_libraries() -> None:
    """Silences the bars and notices of the libraries; the stages speak for themselves."""
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    datasets.disable_progress_bars()
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
