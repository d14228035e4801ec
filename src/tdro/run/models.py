"""The models of a run: encoders to start from, references and retrievers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tdro.files import file_name
from tdro.mixture import Mixture
from tdro.progress import Tick
from tdro.prompts import query_prompt
from tdro.run.context import NOT_INPUTS, Context
from tdro.settings import EncoderSettings, TrainingSettings
from tdro.stages import Stage, fingerprint_of
from tdro.tasks.training import TrainingTask, halves


def complete_encoder(context: Context, role: str, settings: EncoderSettings) -> Path:
    """Returns the folder of the pretrained model that ``proxy`` or ``model`` starts from."""
    prompts = {
        item.name: query_prompt(item.task.instruction)
        for item in context.tasks_for(settings)
        if item.task.instruction
    }

    def work(directory: Path, tick: Tick) -> dict[str, Any]:
        from tdro.run import work as at_work

        model = at_work.build_encoder(settings, prompts)
        model.save(str(directory / at_work.MODEL_FOLDER))
        return {"parameters": sum(weight.numel() for weight in model.parameters())}

    # Two roles with the same settings start from the same numbers, whatever their names.
    inputs = {"settings": settings.model_dump(), "prompts": prompts}
    return context.directory.complete(Stage(f"{role} encoder", f"encoders/{role}", inputs, work))


def complete_reference(context: Context) -> Path:
    """Returns the folder of the reference, trained with the uniform mixture."""
    recipe = context.recipe
    tasks = context.tasks_for(recipe.proxy)
    return _reference(context, "reference", "reference", tasks, {})


def complete_folds(context: Context) -> list[tuple[Path, list[TrainingTask]]]:
    """Returns two references and, for each, the half of every task it was trained on."""
    split = [halves(item, context.recipe.seed) for item in context.tasks_for(context.recipe.proxy)]
    folds = []
    for number in (0, 1):
        tasks = [pair[number] for pair in split]
        name, place = f"reference of fold {number + 1}", f"reference_folds/{number + 1}"
        folds.append((_reference(context, name, place, tasks, {"fold": number + 1}), tasks))
    return folds


def complete_retriever(context: Context, name: str, mixture: Mixture) -> Path:
    """Returns the folder of a retriever trained with a mixture."""
    recipe = context.recipe
    return _trained(
        context,
        f"retriever {name}",
        f"retrievers/{file_name(name)}",
        name,
        complete_encoder(context, "model", recipe.model),
        context.tasks_for(recipe.model),
        mixture,
        recipe.training,
        recipe.model,
        {},
    )


def _reference(
    context: Context,
    name: str,
    place: str,
    tasks: Sequence[TrainingTask],
    more_inputs: dict[str, Any],
) -> Path:
    recipe = context.recipe
    return _trained(
        context,
        name,
        place,
        name,
        complete_encoder(context, "proxy", recipe.proxy),
        tasks,
        Mixture.uniform(item.name for item in tasks),
        recipe.reference,
        recipe.proxy,
        more_inputs,
    )


def _trained(
    context: Context,
    label: str,
    place: str,
    name: str,
    encoder: Path,
    tasks: Sequence[TrainingTask],
    mixture: Mixture,
    settings: TrainingSettings,
    model: EncoderSettings,
    more_inputs: dict[str, Any],
) -> Path:
    def work(directory: Path, tick: Tick) -> dict[str, Any]:
        from tdro.run import work as at_work

        return at_work.train(
            name,
            encoder / at_work.MODEL_FOLDER,
            tasks,
            mixture,
            settings,
            directory,
            precision=model.precision,
            seed=context.recipe.seed,
            tick=tick,
            frozen_embeddings=model.freeze_embeddings,
            report_to=context.recipe.report_to,
        )

    inputs = {
        "encoder": fingerprint_of(encoder),
        "mixture": dict(mixture.weights),
        "settings": settings.model_dump(exclude={*NOT_INPUTS, "folds"}),
        **more_inputs,
        **context.identity,
    }
    return context.directory.complete(Stage(label, place, inputs, work))
