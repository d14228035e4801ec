"""The commands ``tdro mixture``: mixture files."""

from pathlib import Path
from typing import Annotated

import typer

from tdro.errors import InputError
from tdro.terminal import console

app = typer.Typer(help="Look at mixtures, select from them, export them.", no_args_is_help=True)


@app.command("show")
def show_mixture(
    file: Annotated[Path, typer.Argument(help="A mixture file, ours or the authors'.")],
) -> None:
    """Show the weights of a mixture beside uniform and task size, and what rows gain if told."""
    from tdro.mixture import Mixture
    from tdro.tables import mixture_table

    console().print(mixture_table(Mixture.load(file)))


@app.command("top")
def select_top(
    file: Annotated[Path, typer.Argument(help="A mixture file, ours or the authors'.")],
    fraction: Annotated[str, typer.Argument(help="Share of the tasks to keep, such as 0.7.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")],
) -> None:
    """Select the heaviest tasks of a mixture and give them equal weights."""
    from tdro.mixture import Mixture
    from tdro.tables import mixture_table

    selected = Mixture.load(file).top(fraction)
    selected.save(output)
    console().print(mixture_table(selected))


@app.command("helped")
def select_helped(
    file: Annotated[Path, typer.Argument(help="A mixture of learning-curve or regression.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")],
) -> None:
    """Select the tasks of a mixture that further rows help and give them equal weights."""
    from tdro.mixture import Mixture
    from tdro.selection import HELPED, selected
    from tdro.tables import mixture_table

    try:
        helped = selected(Mixture.load(file), HELPED)
    except InputError as error:
        told = str(error)
        raise InputError(told if str(file) in told else f"{file}: {told}") from None
    helped.save(output)
    console().print(mixture_table(helped))


@app.command("replay")
def replay_losses(
    losses: Annotated[
        Path, typer.Argument(help="Recorded row losses: row_losses.parquet of a run, or JSON.")
    ],
    method: Annotated[str, typer.Option(help="The method to replay them with.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The JSON file to write.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="eta, cut, smoothing or ema_decay."),
    ] = None,
) -> None:
    """Recompute a mixture from recorded losses with another method, eta or cut, in seconds."""
    from tdro.recipe_file import replay_settings

    settings = replay_settings(method, overrides or ())
    from tdro.learning.command import replay_file

    replay_file(losses, settings, output, console())


@app.command("export")
def export(
    file: Annotated[Path, typer.Argument(help="A mixture file, ours or the authors'.")],
    to: Annotated[
        str,
        typer.Option(
            help="sentence-transformers, datasets, trl, flagembedding, ms-swift or tevatron."
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to write to, not the terminal.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="The folder of the task files.")] = None,
    rows: Annotated[
        int | None,
        typer.Option(
            help="Rows to share out, where the library takes no weights; default: all there are."
        ),
    ] = None,
) -> None:
    """Write a mixture as a script or configuration of another training library."""
    from tdro.exports.targets import export_mixture, write_rendered

    rendered = export_mixture(file, to, data=data, folder=output or Path(), rows=rows)
    if output is not None:
        for path in write_rendered(rendered, output):
            typer.echo(str(path))
        return
    for name, text in rendered.files.items():
        typer.echo(text if len(rendered.files) == 1 else f"# ---- {name} ----\n{text}")
