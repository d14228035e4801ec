"""Learning a mixture in one call, from Python."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tdro.errors import require
from tdro.learning.measures import Measure
from tdro.learning.method import method_of
from tdro.learning.rules import UpdateRule
from tdro.learning.trainer import learn_weights, mixture_trainer
from tdro.mixture import Mixture
from tdro.plan import make_plan
from tdro.progress import Tick
from tdro.reference import Share, load_losses, score_plan
from tdro.settings import LearningSettings, TrainingSettings
from tdro.similarity import Encoder, require_one_kind, usual_temperature
from tdro.tasks.task import Task
from tdro.tasks.training import hold_out


def learn_mixture(
    proxy: Encoder,
    reference: Encoder,
    tasks: Sequence[Task],
    settings: LearningSettings | None = None,
    *,
    measure: Measure | None = None,
    rule: UpdateRule | None = None,
    seed: int = 0,
    precision: str = "auto",
    trajectory_folder: Path | str | None = None,
    tick: Tick = lambda done, total, loss: None,
) -> Mixture:
    """Learns how much of each task to train on.

    Plans the rows, scores them once with the reference, then trains the proxy on them while the
    weights of the tasks it is behind on rise. A call that is killed starts over; ``tdro run`` goes
    on where it was.

    Args:
        proxy: The model to train meanwhile; it is changed, throw it away afterwards. Dense, sparse
            or multi-vector: the row loss is that of its own similarity.
        reference: A retriever of the same kind, trained on the tasks in equal parts.
        tasks: The tasks (see ``prepare_tasks``).
        settings: How to learn; the learning rate and temperature of ``TrainingSettings`` are
            taken where they are left open, and a temperature of 1 where the similarity is a sum
            (SPLADE, ColBERT).
        measure: Your own measure in place of that of ``settings.method``: any callable that
            takes ``RowLosses`` and returns a signal for each task.
        rule: Your own update rule, likewise: any callable that takes log-weights and signal and
            returns log-weights.
        seed: Seed of the plan.
        precision: See ``EncoderSettings``.
        trajectory_folder: Where to keep the weights and losses of every step, and those of
            every row for a replay; nowhere by default.
        tick: Called with steps done, steps in all, and the loss.

    Returns:
        The mixture that the method keeps: after the last update, or the mean over the steps.

    Raises:
        InputError: A task cannot be drawn from, the rows of a step cannot be dealt equally, or
            proxy and reference are of different kinds.
        FloatingPointError: A loss is not finite.
    """
    require_one_kind(proxy, reference)
    usual = usual_temperature(proxy, TrainingSettings().temperature)
    defaults = TrainingSettings(temperature=usual)
    settings = (settings or LearningSettings()).inheriting(defaults)
    temperature = settings.temperature or defaults.temperature
    # Refuses a method that learns from something else before anything is scored.
    method_of(settings, np.ones(len(tasks)))
    if settings.lora is not None:
        require("peft", "lora")
    plan = make_plan(
        [hold_out(task, 0, seed) for task in tasks],
        steps=settings.steps,
        batch_size=settings.batch_size,
        negatives=settings.negatives,
        seed=seed,
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        score_plan(
            [Share(reference, np.arange(len(plan.task_of)))],
            plan,
            tasks,
            folder,
            temperature=temperature,
            chunk_tokens=settings.chunk_tokens,
            precision=precision,
            tick=tick,
        )
        trainer = mixture_trainer(
            proxy,
            plan,
            tasks,
            load_losses(folder),
            settings,
            folder,
            precision=precision,
            tick=tick,
            measure=measure,
            rule=rule,
        )
        learned = learn_weights(trainer, folder)
    if trajectory_folder is not None:
        Path(trajectory_folder).mkdir(parents=True, exist_ok=True)
        learned.save(Path(trajectory_folder))
    sizes = {task.name: len(task) for task in tasks}
    details = {"method": settings.method, "steps": len(learned.trajectory.steps)}
    return learned.trajectory.mixture(settings.keeps, sizes, details)
