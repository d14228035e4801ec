"""The commands ``tdro tasks``: training collections before they are trained on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tdro.terminal import console

if TYPE_CHECKING:
    from tdro.tasks.task import TaskSource

app = typer.Typer(help="Look at training collections.", no_args_is_help=True)

_Strict = Annotated[bool, typer.Option("--strict", help="End at the first bad row.")]


@app.command("check")
def check_tasks(
    path: Annotated[Path, typer.Argument(help="A task file, a folder of them, or a recipe.")],
    strict: _Strict = False,
) -> None:
    """Read tasks and show what they hold: rows, dropped rows and why, lengths, negatives."""
    from tdro.tasks.check import check_sources, render_check

    checked = check_sources(_found(path)[0], strict=strict)
    console().print(render_check(checked), crop=False)
    if any(one.error for one in checked):
        raise typer.Exit(2)


@app.command("convert")
def convert_tasks(
    source: Annotated[Path, typer.Argument(help="A task file, a folder of them, or a recipe.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A new folder; or a new file, for one task.")
    ],
    to: Annotated[
        Literal["flagembedding", "tevatron", "sentence-transformers"],
        typer.Option("--to", help="The layout to write."),
    ],
    form: Annotated[
        Literal["jsonl", "jsonl.gz", "parquet"] | None,
        typer.Option("--format", help="By default that of the file, or jsonl."),
    ] = None,
    strict: _Strict = False,
) -> None:
    """Write tasks in another layout, by the columns and filters that are said of them."""
    from tdro.tasks.convert import convert

    sources, max_rows = _found(source)
    for done in convert(sources, output, to, form, max_rows=max_rows, strict=strict):
        facts = [
            f"{done.rows:,} rows",
            *(f"{n:,} dropped, {why}" for why, n in done.dropped.items()),
        ]
        facts += [f"{n:,} passages left out, {why}" for why, n in done.left_out.items()]
        console().print(
            f"{done.path}: {'; '.join(facts)}", highlight=False, markup=False, soft_wrap=True
        )


def _found(path: Path) -> "tuple[list[TaskSource], int | None]":
    """Returns the tasks at a path, and the limit on their rows where it is a recipe."""
    if path.suffix in (".yaml", ".yml"):
        from tdro.recipe_file import load_recipe

        recipe = load_recipe(path)
        return recipe.task_sources(), recipe.max_rows
    from tdro.tasks.sources import find_sources

    return find_sources(path), None
