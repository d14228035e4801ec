"""The models of a run: encoders to start from, references and retrievers."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.markup import escape

from tdro.evaluation.scores import BASELINE
from tdro.files import (
    CHECKPOINTS,
    MANIFEST_FILE,
    MODEL_FOLDER,
    SAMPLING_FILE,
    TRAINED_ROWS_FILE,
    digest,
    discard,
    file_name,
    files_digest,
    read_json,
    write_json,
)
from tdro.mixture import Mixture
from tdro.progress import Tick
from tdro.prompts import query_prompt
from tdro.run.context import Context
from tdro.settings import EncoderSettings, TrainingSettings
from tdro.stages import Stage, fingerprint_of
from tdro.tasks.training import TrainingTask, halves

REFERENCE = "reference"


@dataclass(frozen=True)
class Training:
    """One model to be trained.

    Attributes:
        name: Its name, for the record.
        label: Name of the stage.
        place: Folder of the stage.
        encoder: Folder of the stage whose model it starts from.
        model: How that model is built.
        tasks: What may be drawn.
        mixture: Weights of the tasks.
        settings: Steps, batch size, learning rate and so on.
        more_inputs: What tells its tasks from those of the run, where they differ.
        twins: Folders of stages that may be the same training; done once, it is copied.
    """

    name: str
    label: str
    place: str
    encoder: Path
    model: EncoderSettings
    tasks: Sequence[TrainingTask]
    mixture: Mixture
    settings: TrainingSettings
    more_inputs: Mapping[str, Any] = field(default_factory=dict)
    twins: Sequence[str] = ()


def complete_encoder(context: Context, settings: EncoderSettings) -> Path:
    """Returns the folder of the pretrained model that a training starts from."""
    name = context.recipe.encoder_name(settings)
    prompts = {
        item.name: query_prompt(item.task.instruction)
        for item in context.tasks_for(settings)
        if item.task.instruction
    }

    def work(directory: Path, tick: Tick) -> dict[str, Any]:
        from tdro.run import work as at_work

        model = at_work.build_encoder(settings, prompts)
        model.save(str(directory / at_work.MODEL_FOLDER))
        return at_work.count_parameters(model)

    # Two roles with the same settings start from the same numbers, whatever their names.
    inputs = {
        "settings": settings.model_dump(),
        "prompts": prompts,
        **_files_of(settings.name_or_path),
    }
    return context.shared.complete(Stage(f"{name} encoder", f"encoders/{name}", inputs, work))


def _files_of(name_or_path: str) -> dict[str, Any]:
    """Returns what tells a model on this machine from a changed one; nothing for one of the hub."""
    path = Path(name_or_path)
    if not path.exists():
        return {}
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return {"files": files_digest(path, files)}


def complete_reference(context: Context) -> Path:
    """Returns the folder of the reference, trained with the uniform mixture."""
    tasks = context.tasks_for(context.recipe.proxy)
    return _reference(context, REFERENCE, REFERENCE, tasks, {})


def complete_folds(context: Context) -> list[tuple[Path, list[TrainingTask]]]:
    """Returns two references and, for each, the half of every task it was trained on."""
    split = [halves(item, context.recipe.seed) for item in context.tasks_for(context.recipe.proxy)]
    folds = []
    for number in (0, 1):
        tasks = [pair[number] for pair in split]
        name, place = f"reference of fold {number + 1}", f"reference_folds/{number + 1}"
        folds.append((_reference(context, name, place, tasks, {"fold": number + 1}), tasks))
    return folds


def complete_retriever(
    context: Context, name: str, mixture: Mixture, settings: TrainingSettings | None = None
) -> Path:
    """Returns the folder of a retriever trained with a mixture.

    Args:
        context: The recipe at work.
        name: Name of the retriever.
        mixture: Weights of the tasks.
        settings: In place of the recipe's ``training``.
    """
    recipe = context.recipe
    training = Training(
        name,
        f"retriever {name}",
        f"retrievers/{file_name(name)}",
        complete_encoder(context, recipe.model),
        recipe.model,
        context.tasks_for(recipe.model),
        mixture,
        settings or recipe.training,
        # Uniform is what a selection is that leaves nothing out.
        twins=(REFERENCE, f"retrievers/{BASELINE}"),
    )
    return complete_training(context, training)


def _reference(
    context: Context,
    name: str,
    place: str,
    tasks: Sequence[TrainingTask],
    more_inputs: dict[str, Any],
) -> Path:
    recipe = context.recipe
    training = Training(
        name,
        name,
        place,
        complete_encoder(context, recipe.proxy),
        recipe.proxy,
        tasks,
        Mixture.uniform(item.name for item in tasks),
        recipe.reference,
        more_inputs,
        twins=(f"retrievers/{BASELINE}",),
    )
    return complete_training(context, training)


def complete_training(context: Context, training: Training) -> Path:
    """Returns the folder of a trained model."""
    inputs = {
        "encoder": fingerprint_of(training.encoder),
        "mixture": dict(training.mixture.weights),
        "settings": training.settings.inputs("folds"),
        **training.more_inputs,
        **context.identity,
    }
    once = context.directory.processes.once

    def work(directory: Path, tick: Tick) -> dict[str, Any]:
        from tdro.run import work as at_work

        if facts := once(lambda: _copied(context, training, digest(inputs), directory)):
            return facts
        return at_work.train(
            training.name,
            training.encoder / at_work.MODEL_FOLDER,
            training.tasks,
            training.mixture,
            training.settings,
            directory,
            precision=training.model.precision,
            seed=context.recipe.seed,
            tick=tick,
            report_to=context.recipe.report_to,
        )

    label, place = training.label, training.place
    stage = Stage(label, place, inputs, work, together=True, aids=[CHECKPOINTS])
    return context.directory.complete(stage)


def _copied(
    context: Context, training: Training, fingerprint: str, directory: Path
) -> dict[str, Any] | None:
    """Copies a twin of a training, if one is the same and has its model.

    Returns:
        What the twin counted, with the seconds it took; None where there is nothing to copy.
    """
    folders = [context.directory.root / twin for twin in training.twins]
    there = (
        twin
        for twin in folders
        if (twin / MODEL_FOLDER).is_dir() and (twin / MANIFEST_FILE).is_file()
    )
    twin = next((one for one in there if fingerprint_of(one) == fingerprint), None)
    if twin is None:
        return None
    manifest = read_json(twin / MANIFEST_FILE)
    # Checkpoints of a training that was killed before its twin was there.
    for left in filter(Path.is_dir, list(directory.iterdir())):
        discard(left)
    shutil.copytree(twin / MODEL_FOLDER, directory / MODEL_FOLDER)
    shutil.copy(twin / TRAINED_ROWS_FILE, directory)
    sampling = read_json(twin / SAMPLING_FILE)
    write_json(directory / SAMPLING_FILE, {**sampling, "retriever": training.name})
    context.directory.say(
        escape(f"{training.label}: the same training as {manifest['stage']}, copied")
    )
    return {**manifest["facts"], "seconds": manifest["seconds"]}
