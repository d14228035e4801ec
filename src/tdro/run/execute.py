"""A run from beginning to end: what is missing or stale is done, in order."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from rich.console import Console

from tdro.errors import InputError
from tdro.evaluation.scores import SCORES_FILE, render_scores
from tdro.files import RECIPE_FILE, WARNINGS_FILE, locked, write_json, write_table, write_text
from tdro.processes import Processes, joined
from tdro.recipe import Recipe, retriever_name
from tdro.report.page import write_report
from tdro.run.context import Context, open_context
from tdro.run.evaluation import complete_scores, holdout_judges, outside_judges, scores_stage
from tdro.run.mixture import check_mixture_files, complete_mixture, mixture_named
from tdro.run.models import complete_reference, complete_retriever
from tdro.run.overlap import warn_of_overlaps
from tdro.stages import RunDirectory
from tdro.tables import mixture_table


def execute(recipe: Recipe, root: Path, console: Console, *, profile: bool = False) -> Path:
    """Does every stage of a run that is missing or stale, and prints the outcome.

    Args:
        recipe: The resolved recipe.
        root: The run directory.
        console: Where progress and tables go.
        profile: Also trace where the time of each stage goes (see ``tdro.profile``).

    Returns:
        Path of the report.

    Raises:
        InputError: Something in the recipe's files is wrong, or another process is at work in
            the directory.
    """
    check_trackers(recipe)
    with joined() as processes, alone(root, processes):
        console = processes.speaking(console)
        processes.once(lambda: write_text(root / RECIPE_FILE, recipe.to_yaml()))
        directory = RunDirectory(root, console, profile=profile, processes=processes)
        context = open_context(recipe, directory)
        if recipe.retrievers:
            scores = _scores(context)
            processes.once(lambda: write_table(root / SCORES_FILE, scores))
            console.print(render_scores(scores))
        else:
            warn_of_overlaps(context, ())
            learned = complete_mixture(context)
            console.print(mixture_table(mixture_named(context, "learned", learned)))
        processes.once(lambda: write_json(root / WARNINGS_FILE, directory.warnings))
        report = processes.once(lambda: write_report(root))
        console.print(f"Report: {report}", highlight=False, soft_wrap=True)
    return report


def check_trackers(recipe: Recipe) -> None:
    """Checks ``report_to`` before anything is done.

    Raises:
        InputError: A tracker is unknown or not installed.
    """
    for sentence in wrong_trackers(recipe):
        raise InputError(sentence)


def wrong_trackers(recipe: Recipe) -> list[str]:
    """Returns a sentence for each tracker of ``report_to`` that is unknown or not installed."""
    if not recipe.report_to:
        return []
    from transformers.integrations import integration_utils

    known = integration_utils.get_available_reporting_integrations()  # type: ignore[no-untyped-call]
    return [
        f"report_to names {name!r}, which is unknown or not installed; "
        f"installed here: {', '.join(sorted(known)) or 'none'}."
        for name in recipe.report_to
        if name not in known
    ]


@contextlib.contextmanager
def alone(root: Path, processes: Processes) -> Iterator[None]:
    """Keeps other runs out of a run directory.

    Raises:
        InputError: Another run is at work in it.
    """
    with contextlib.ExitStack() as held:

        def hold() -> None:
            try:
                held.enter_context(locked(root / ".lock", wait=False))
            except BlockingIOError:
                raise InputError(
                    f"Another process is at work in {root}: wait for it or use another --output."
                ) from None

        processes.once(hold)
        yield


def _scores(context: Context) -> pa.Table:
    check_mixture_files(context.recipe.retrievers, context.sizes)
    outside = outside_judges(context)
    warn_of_overlaps(context, outside)
    learned = complete_mixture(context) if context.recipe.needs_learning else None
    models = {}
    for entry in context.recipe.retrievers:
        if entry == "reference":
            models[entry] = complete_reference(context), context.recipe.proxy
        else:
            name = retriever_name(entry)
            mixture = mixture_named(context, entry, learned)
            models[name] = complete_retriever(context, name, mixture), context.recipe.model
    judges = holdout_judges(context) + outside
    return pa.concat_tables(
        [
            complete_scores(context, scores_stage(context, name, model, judges, settings))
            for name, (model, settings) in models.items()
        ]
    )
