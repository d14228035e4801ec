"""Mining several tasks into a folder of tasks, resumably, and showing what was filtered."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tdro.errors import InputError
from tdro.files import file_name, locked, make_folder, read_json, write_json
from tdro.mining.choosing import FILTERED
from tdro.mining.ranking import Bm25Ranker, Ranker
from tdro.mining.settings import MiningSettings
from tdro.mining.task import REPORT_FILE, MinedTask, mine_task, rows_file
from tdro.mining.texts import TaskTexts
from tdro.progress import Tick
from tdro.stages import RunDirectory, Stage
from tdro.tasks.identity import reading_options, source_identity
from tdro.tasks.sources import INDEX_FILE, INDEXED_FOLDER
from tdro.tasks.task import TaskSource

_LOCK_FILE = ".mining.lock"


def mine_tasks(
    sources: Sequence[TaskSource],
    output: Path,
    settings: MiningSettings,
    console: Console,
    *,
    max_rows: int | None = None,
    strict: bool = False,
) -> dict[str, MinedTask]:
    """Mines hard negatives for tasks and writes them as a folder of tasks.

    Called again with the same settings, it goes on where it was killed and ends with the same bits.

    Args:
        sources: The tasks.
        output: Gets ``tasks.json``, a folder a task and ``mined.json``: the settings, and by task
            what :class:`~tdro.mining.task.MinedTask` tells.
        settings: What is asked of mining.
        console: Where to say what is done.
        max_rows: Distinct queries of a task to read, the first ones; a task's own limit holds too.
        strict: Raise at the first bad row of a task instead of dropping it.

    Returns:
        What was made of each task, by its name.

    Raises:
        InputError: A task or model cannot be read, a task has one passage, or the folder is there
            and is of other settings.
    """
    models = _Models(settings)
    inputs = {
        **settings.inputs(),
        "max_rows": max_rows,
        "strict": strict,
        "model_content": models.identity,
        "judge_content": models.judge_identity,
    }
    told = {"settings": inputs}
    _check_place(output, inputs)
    make_folder(output)
    try:
        with locked(output / _LOCK_FILE, wait=False):
            write_json(output / REPORT_FILE, told)
            mined = _mine_all(sources, output, inputs, settings, models, console)
            write_json(output / INDEX_FILE, _index(sources, settings))
            write_json(output / REPORT_FILE, {**told, "tasks": mined})
    except BlockingIOError:
        raise InputError(
            f"Another process mines into {output}: wait for it or give another folder."
        ) from None
    return {name: MinedTask(**one) for name, one in mined.items()}


def _mine_all(
    sources: Sequence[TaskSource],
    output: Path,
    inputs: Mapping[str, Any],
    settings: MiningSettings,
    models: "_Models",
    console: Console,
) -> dict[str, dict[str, Any]]:
    directory = RunDirectory(output, console)
    mined = {}
    for source in sources:

        def work(folder: Path, tick: Tick, source: TaskSource = source) -> dict[str, Any]:
            done = mine_task(
                source,
                settings,
                folder,
                partial(models.ranker, source),
                models.judge,
                tick,
                max_rows=inputs["max_rows"],
                strict=inputs["strict"],
            )
            return {"rows": done.rows, "without_negatives": done.without}

        own = {**inputs, **_identity(source)}
        place = f"{INDEXED_FOLDER}/{file_name(source.name)}"
        done = directory.complete(Stage(f"negatives of {source.name}", place, own, work))
        mined[source.name] = read_json(done / REPORT_FILE)
    return mined


class _Models:
    """The models that are asked for, each loaded once."""

    def __init__(self, settings: MiningSettings) -> None:
        self._settings = settings

    @cached_property
    def _model(self) -> Any:
        from tdro.evaluation.command import load_model
        from tdro.training import quiet_libraries

        quiet_libraries()
        return load_model(str(self._settings.model))

    @cached_property
    def judge(self) -> Any:
        """The judge, where there is one."""
        if self._settings.judge is None:
            return None
        from tdro.mining.dense import CrossEncoderJudge
        from tdro.training import quiet_libraries

        quiet_libraries()
        return CrossEncoderJudge(self._settings.judge, self._settings.batch_size)

    @property
    def identity(self) -> str | None:
        """What tells the model from a changed one."""
        if self._settings.model is None:
            return None
        from tdro.evaluation.command import model_identity

        return model_identity(self._settings.model, self._model)

    @property
    def judge_identity(self) -> str | None:
        """What tells the judge from a changed one."""
        if self._settings.judge is None:
            return None
        from tdro.evaluation.command import model_identity

        return model_identity(self._settings.judge, self.judge.model)

    def ranker(
        self, source: TaskSource, texts: TaskTexts, folder: Path, deepest: int, tick: Tick
    ) -> Ranker:
        """Makes what finds passages in a task."""
        if self._settings.model is None:
            return Bm25Ranker(texts)
        from tdro.mining.dense import DenseRanker, prompt_for

        asked = self._settings.instructed
        return DenseRanker(
            self._model,
            texts,
            folder,
            prompt=prompt_for(self._model, source.name, source.instruction, asked),
            deepest=deepest,
            batch_size=self._settings.batch_size,
            tick=tick,
        )


def _identity(source: TaskSource) -> dict[str, Any]:
    whole = replace(source, path=source.path and source.path.resolve())
    return {
        "source": source_identity(whole),
        "instruction": source.instruction,
        **reading_options(source),
    }


def _index(sources: Sequence[TaskSource], settings: MiningSettings) -> dict[str, dict[str, str]]:
    return {
        source.name: {
            "path": f"{INDEXED_FOLDER}/{file_name(source.name)}/{rows_file(settings)}",
            "instruction": source.instruction,
        }
        for source in sources
    }


def _check_place(output: Path, settings: Mapping[str, Any]) -> None:
    """Checks that a folder is free, or one that the same settings were mined into.

    The tasks may be others: one that has not changed is not mined again.
    """
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not (output / REPORT_FILE).is_file():
        raise InputError(
            f"{output} is there already and holds nothing that was mined: remove it or give "
            "another name."
        )
    before = read_json(output / REPORT_FILE)["settings"]
    for key in (*settings, *before):
        if before.get(key) != settings.get(key):
            raise InputError(
                f"{output} was mined with other settings ({key} was {before.get(key)!r} and is "
                f"{settings.get(key)!r}): give another folder, or remove this one."
            )


def render_mined(mined: Mapping[str, MinedTask]) -> Table:
    """Shows one line for each task: rows, negatives a row, and the shares left out by reason."""
    table = Table(
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        caption="Shares: of the passages found, those left out by reason; of those the judge was "
        "asked about, those it rates above a positive.",
        caption_justify="left",
    )
    table.add_column("task", min_width=14, overflow="fold")
    titles = ["queries", "negatives\nmin / med.", "without"]
    for title in (*titles, *(reason.replace("_", "-\n") for reason in FILTERED)):
        table.add_column(title, justify="right", no_wrap=True)
    for name, one in mined.items():
        least, middle = one.negatives["min"], one.negatives["median"]
        cells = [f"{one.rows:,}", f"{least:g} / {middle:g}", f"{one.without:,}"]
        shares = [
            "-" if reason == "judge" and not one.judged else f"{one.shares[reason]:.2%}"
            for reason in FILTERED
        ]
        table.add_row(Text(name), *cells, *shares)
    return table
