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

    sources, max_rows = _found(path)
    checked = check_sources(sources, max_rows=max_rows, strict=strict)
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


@app.command("decontaminate")
def decontaminate_tasks(
    source: Annotated[Path, typer.Argument(help="A task file, a folder of them, or a recipe.")],
    against: Annotated[
        list[Path],
        typer.Option(help="A benchmark, or a collection such as MIRACL; may be repeated."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="A new folder.")],
    threshold: Annotated[
        float, typer.Option(help="Jaccard similarity of near duplicates; 1 for equal texts only.")
    ] = 0.8,
    to: Annotated[
        Literal["flagembedding", "tevatron", "sentence-transformers"],
        typer.Option("--to", help="The layout to write."),
    ] = "flagembedding",
) -> None:
    """Take the queries and relevant passages of benchmarks out of tasks; goes on when stopped."""
    from tdro.cleaning.command import render_report
    from tdro.cleaning.decontaminate import REPORT_FILE, Asked, decontaminate
    from tdro.evaluation.loaders.find import find_sources

    tasks, max_rows = _found(source)
    asked = Asked(find_sources(against), threshold, to, max_rows)
    terminal = console()
    terminal.print(render_report(decontaminate(tasks, output, asked, terminal)))
    terminal.print(f"Examples: {output / REPORT_FILE}", highlight=False, soft_wrap=True)


@app.command("inspect")
def inspect_tasks(
    source: Annotated[Path, typer.Argument(help="A task file, a folder of them, or a recipe.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The page to write.")],
    as_json: Annotated[
        Path | None, typer.Option("--json", help="Also write what it shows as JSON.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all samples.", min=0)] = 0,
) -> None:
    """Write a page of what to know of tasks: sizes, difficulty, languages, overlaps, samples."""
    from tdro.report.inspection import inspect_to

    tasks, max_rows = _found(source)
    unusable = inspect_to(
        source.name or str(source), tasks, output, as_json, console(), max_rows=max_rows, seed=seed
    )
    if unusable:
        raise typer.Exit(2)


@app.command("mine")
def mine_negatives(
    source: Annotated[Path, typer.Argument(help="A task file, a folder of them, or a recipe.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A new folder of tasks; goes on there.")
    ],
    model: Annotated[
        str | None, typer.Option(help="A SentenceTransformer: a folder or hub id. Without, BM25.")
    ] = None,
    judge: Annotated[
        str | None, typer.Option(help="A cross-encoder that drops what it rates above a positive.")
    ] = None,
    count: Annotated[int, typer.Option(help="Negatives for each row.")] = 16,
    ranks: Annotated[
        str, typer.Option(help="Skip so many candidates, take none after the second: 10-100.")
    ] = "0-100",
    margin: Annotated[
        float | None, typer.Option(help="Score at most the lowest positive's less this.")
    ] = None,
    relative_margin: Annotated[
        float | None, typer.Option(help="The same, less this share of it: 0.05.")
    ] = None,
    min_score: Annotated[float | None, typer.Option(help="Lowest score of a negative.")] = None,
    max_score: Annotated[float | None, typer.Option(help="Highest score of a negative.")] = None,
    judge_margin: Annotated[
        float, typer.Option(help="As --margin, for the raw scores of the judge.")
    ] = 0.0,
    sampling: Annotated[
        Literal["top", "random"], typer.Option(help="The closest candidates, or any.")
    ] = "top",
    near: Annotated[
        float, typer.Option(help="Jaccard similarity from which a text counts as a positive.")
    ] = 0.8,
    append: Annotated[
        bool, typer.Option("--append/--replace", help="Keep the negatives that rows have.")
    ] = False,
    instructions: Annotated[
        bool | None,
        typer.Option(
            "--instructions/--no-instructions",
            help="Put them before queries; by default where the model was trained with some.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of --sampling random.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Texts of a forward pass.")] = 32,
    to: Annotated[
        Literal["flagembedding", "tevatron", "sentence-transformers"],
        typer.Option("--to", help="The layout to write."),
    ] = "flagembedding",
    form: Annotated[
        Literal["jsonl", "jsonl.gz", "parquet"], typer.Option("--format", help="What to write.")
    ] = "jsonl",
    strict: _Strict = False,
) -> None:
    """Give rows hard negatives, none of them an answer; goes on where it was killed."""
    from tdro.mining.settings import MiningSettings, parse_ranks

    settings = MiningSettings(
        model=model,
        judge=judge,
        count=count,
        ranks=parse_ranks(ranks),
        margin=margin,
        relative_margin=relative_margin,
        min_score=min_score,
        max_score=max_score,
        judge_margin=judge_margin,
        sampling=sampling,
        near=near,
        append=append,
        instructed=instructions,
        seed=seed,
        batch_size=batch_size,
        layout=to,
        form=form,
    )
    from tdro.mining.command import mine_tasks, render_mined

    sources, max_rows = _found(source)
    mined = mine_tasks(sources, output, settings, console(), max_rows=max_rows, strict=strict)
    console().print(render_mined(mined), crop=False)


def _found(path: Path) -> "tuple[list[TaskSource], int | None]":
    """Returns the tasks at a path, and the limit on their rows where it is a recipe."""
    if path.suffix in (".yaml", ".yml"):
        from tdro.recipe_file import load_recipe

        recipe = load_recipe(path)
        return recipe.task_sources(), recipe.max_rows
    from tdro.tasks.sources import find_sources

    return find_sources(path), None
