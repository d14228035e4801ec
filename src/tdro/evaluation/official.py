"""Judging a model through ``mteb``, which leaves the result files of its leaderboard."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer

from tdro.errors import InputError, require
from tdro.files import digest
from tdro.prompts import query_prompt, takes_instructions


def official_tasks(names: Sequence[str], languages: Sequence[str] = ()) -> list[Any]:
    """Returns tasks of mteb by their names.

    Args:
        names: Such as ``SciFact`` or ``MIRACLRetrieval``.
        languages: Languages or subsets, as mteb names them; all when empty.

    Raises:
        InputError: mteb is not installed, or does not know a task.
    """
    mteb = require("mteb", "mteb")
    try:
        return [mteb.get_task(name, hf_subsets=list(languages) or None) for name in names]
    except (KeyError, ValueError) as error:
        reason = str(error.args[0]).removeprefix("KeyError: ").rstrip(".")
        raise InputError(f"mteb does not know what --mteb asks for: {reason}.") from None


def judge_officially(
    name: str,
    identity: str,
    model: SentenceTransformer,
    tasks: Sequence[Any],
    *,
    instruction: str,
    output: Path,
) -> dict[str, float]:
    """Runs a model through tasks of mteb; a task whose result file is there is not run again.

    Its queries get our prompt: with the instruction that is given, or, where the model was trained
    with instructions, the one that mteb has for the task. Documents get none.

    Args:
        name: Name of the model in the result files.
        identity: What tells the model from a changed one; part of the revision in the files.
        model: The model.
        tasks: Tasks of mteb.
        instruction: What the queries of all tasks ask for; may be empty.
        output: Gets ``results/NAME/REVISION/TASK.json`` and ``model_meta.json`` beside them.

    Returns:
        The main score of each task by its name.

    Raises:
        InputError: mteb is not installed, or a task's data cannot be had.
    """
    mteb = require("mteb", "mteb")
    wrapper_of = require("mteb.models.sentence_transformer_wrapper", "mteb")
    own = dict(model.prompts)
    instructed = takes_instructions(own)
    cache = mteb.ResultCache(output)
    scores = {}
    try:
        for task in tasks:
            asked = instruction or (_instruction_of(task) if instructed else "")
            prompts = {"query": query_prompt(asked), "document": ""}
            with warnings.catch_warnings():
                # It tells that the prompts the model keeps for its training tasks are not its own.
                warnings.simplefilter("ignore")
                wrapped = wrapper_of.SentenceTransformerEncoderWrapper(model, model_prompts=prompts)
            revision = digest([identity, instruction])
            wrapped.mteb_model_meta = wrapped.mteb_model_meta.model_copy(
                update={"name": name, "revision": revision}
            )
            try:
                found = mteb.evaluate(wrapped, task, cache=cache, show_progress_bar=False)
            except (OSError, ConnectionError) as error:
                reason = str(error).strip().splitlines()[0]
                raise InputError(
                    f"The data of mteb's task {task.metadata.name!r} cannot be had: {reason}"
                ) from None
            for result in found.task_results:
                scores[result.task_name] = float(result.get_score())
    finally:
        # The wrapper puts its prompts into the model.
        model.prompts = own
    return scores


def _instruction_of(task: Any) -> str:
    prompt = task.metadata.prompt
    asked = prompt.get("query", "") if isinstance(prompt, dict) else prompt
    return asked or ""
