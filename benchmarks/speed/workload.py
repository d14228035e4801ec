"""What the scripts about the model share: real rows by a plan, models, and the plain form."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from transformers import LlamaConfig, LlamaModel, set_seed

from tdro.encoder import build_encoder
from tdro.learning.trainer import MixtureTrainer, mixture_trainer
from tdro.plan import Plan, make_plan
from tdro.reference import Share, load_losses, score_plan
from tdro.settings import EncoderSettings, LearningSettings
from tdro.tasks.prepare import prepare_task
from tdro.tasks.sources import find_sources
from tdro.tasks.task import Task
from tdro.tasks.training import hold_out
from tdro.training import quiet_libraries

TEMPERATURE = 0.02
LEARNING_RATE = 1e-4
MOST_DIFFERENCE = 1e-3


@dataclass(frozen=True)
class Workload:
    """Rows of real tasks, in the order of a plan.

    Attributes:
        plan: The plan.
        tasks: Its tasks.
    """

    plan: Plan
    tasks: list[Task]

    def places(self, first: int, steps: int = 1) -> NDArray[np.int64]:
        """Returns the places of the rows of some steps."""
        rows = self.plan.batch_size
        return np.arange(first * rows, (first + steps) * rows)


def workload(
    data: Path, folder: Path, *, rows: int | None, steps: int, batch_size: int, negatives: int = 7
) -> Workload:
    """Prepares the tasks of ``data`` in ``folder`` (first ``rows`` of each) and plans on them."""
    tasks = []
    for source in find_sources(data):
        target = folder / source.name
        target.mkdir(parents=True)
        prepare_task(source, target, max_rows=rows)
        tasks.append(Task.open(target))
    drawn = [hold_out(task, 0, seed=0) for task in tasks]
    plan = make_plan(drawn, steps=steps, batch_size=batch_size, negatives=negatives, seed=0)
    return Workload(plan, tasks)


def encoder(model: str, layers: int | None = None) -> SentenceTransformer:
    """Returns (the first layers of) a model with queries to 64 tokens and passages to 128."""
    quiet_libraries()
    settings = EncoderSettings(
        name_or_path=model,
        layers=layers,
        max_query_length=64,
        max_passage_length=128,
        precision="fp32",
    )
    built: SentenceTransformer = build_encoder(settings)
    return built


def random_decoder(model: str, folder: Path) -> SentenceTransformer:
    """Returns a decoder of 4 million random parameters beside its embeddings of MODEL's tokens."""
    tokenizer = encoder(model, layers=1).tokenizer
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=4,
    )
    set_seed(0)
    LlamaModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return encoder(str(folder))


def optimizer_of(model: torch.nn.Module, fused: bool = True) -> torch.optim.Optimizer:
    """Returns the optimizer that both sides use."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(trained, lr=LEARNING_RATE, fused=fused)


def trainer_of(
    model: SentenceTransformer,
    work: Workload,
    reference: NDArray[np.float64],
    folder: Path,
    precision: str = "fp32",
    **settings: Any,
) -> MixtureTrainer:
    """Returns the product's own trainer, as learning a mixture builds it."""
    plan = work.plan
    learning = LearningSettings(
        steps=plan.steps,
        batch_size=plan.batch_size,
        learning_rate=LEARNING_RATE,
        temperature=TEMPERATURE,
        **settings,
    )
    return mixture_trainer(
        model, plan, work.tasks, reference, learning, folder, precision=precision, tick=_silent
    )


def score(
    model: SentenceTransformer, work: Workload, places: NDArray[np.int64], folder: Path
) -> NDArray[np.float64]:
    """Scores rows as the stage of a run does; returns their losses in the order of the plan."""
    folder.mkdir(parents=True, exist_ok=True)
    score_plan(
        [Share(model, places)],
        work.plan,
        work.tasks,
        folder,
        temperature=TEMPERATURE,
        chunk_tokens=LearningSettings().chunk_tokens,
        precision="fp32",
        tick=_silent,
    )
    return load_losses(folder)


def _silent(done: int, total: int, loss: float) -> None:
    pass


@dataclass(frozen=True)
class PlainRows:
    """Rows as the plain form holds them: every text as often as it is shown, in two batches.

    Attributes:
        queries: Tokens of the queries, padded to their longest.
        passages: Tokens of the passages of all rows, padded to their longest.
    """

    queries: dict[str, Any]
    passages: dict[str, Any]

    def losses(self, model: torch.nn.Module) -> torch.Tensor:
        """Returns the row losses, shape ``(rows,)``."""
        of_query = model(dict(self.queries))["sentence_embedding"]
        of_passage = model(dict(self.passages))["sentence_embedding"]
        of_passage = of_passage.view(len(of_query), -1, of_query.shape[1])
        scores = torch.einsum("rd,rpd->rp", of_query, of_passage) / TEMPERATURE
        target = torch.zeros(len(scores), dtype=torch.long)
        return torch.nn.functional.cross_entropy(scores, target, reduction="none")


def plain_rows(model: SentenceTransformer, work: Workload, places: NDArray[np.int64]) -> PlainRows:
    """Reads and tokenises rows in the plain form."""
    shown = work.plan.texts(work.tasks, places)
    queries = [shown.queries[number] for number in shown.query_of]
    passages = [shown.passages[number] for number in shown.passage_of.ravel()]
    return PlainRows(
        model.preprocess(queries, task="query"), model.preprocess(passages, task="document")
    )


def agreement(ours: Sequence[float], plain: Sequence[float]) -> float:
    """Returns the largest difference of row losses.

    Raises:
        SystemExit: It is above 1e-3 nats, so the two sides do not compute the same.
    """
    difference = float(np.abs(np.asarray(ours) - np.asarray(plain)).max())
    if not difference <= MOST_DIFFERENCE:
        raise SystemExit(f"Row losses differ by {difference:.2g} nats: this compares nothing.")
    return difference
