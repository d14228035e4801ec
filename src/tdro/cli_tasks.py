"""The commands ``tdro tasks``: training collections before they are trained on."""

from pathlib import Path
from typing import Annotated

import typer

from tdro.terminal import console

app = typer.Typer(help="Look at training collections.", no_args_is_help=True)


@app.command("check")
def check_tasks(
    path: Annotated[Path, typer.Argument(help="A task file, or a folder of them.")],
    strict: Annotated[bool, typer.Option(help="End at the first bad row.")] = False,
) -> None:
    """Read tasks and show what they hold: rows, dropped rows and why, lengths, negatives."""
    from tdro.tasks.check import check, render_check

    checked = check(path, strict=strict)
    console().print(render_check(checked), crop=False)
    if any(one.error for one in checked):
        raise typer.Exit(2)
