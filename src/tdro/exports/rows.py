"""Writing the rows of tasks in another library's layout: all of them, or so many of each task."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tdro.errors import InputError
from tdro.files import file_name, make_folder, publish
from tdro.prompts import query_prompt
from tdro.tasks.negatives import Numbers, others
from tdro.tasks.prepare import prepare_task
from tdro.tasks.sources import find_sources
from tdro.tasks.task import Task
from tdro.tasks.training import task_seed, texts

# Texts that are held in memory at once belong to this many rows.
_CHUNK = 1000
# Columns of negatives at most in the layout of sentence-transformers, where rows have as many.
_NEGATIVE_COLUMNS = 7

_Passages = list[tuple[int, str]]
_Record = dict[str, Any]


def _texts(passages: _Passages) -> list[str]:
    return [text for _, text in passages]


def _sentence_transformers(query: str, positives: _Passages, negatives: _Passages) -> _Record:
    # A row is one pair there: its first positive.
    columns = {f"negative_{place}": text for place, (_, text) in enumerate(negatives, start=1)}
    return {"anchor": query, "positive": positives[0][1], **columns}


def _flagembedding(query: str, positives: _Passages, negatives: _Passages) -> _Record:
    return {"query": query, "pos": _texts(positives), "neg": _texts(negatives)}


def _tevatron(query: str, positives: _Passages, negatives: _Passages) -> _Record:
    def objects(passages: _Passages) -> list[dict[str, str]]:
        return [{"docid": str(number), "text": text} for number, text in passages]

    return {
        "query": query,
        "positive_passages": objects(positives),
        "negative_passages": objects(negatives),
    }


def _ms_swift(query: str, positives: _Passages, negatives: _Passages) -> _Record:
    def message(text: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": text}]

    return {
        "messages": message(query),
        "positive_messages": [message(text) for text in _texts(positives)],
        "negative_messages": [message(text) for text in _texts(negatives)],
    }


_LAYOUTS: dict[str, Callable[[str, _Passages, _Passages], _Record]] = {
    "sentence-transformers": _sentence_transformers,
    "flagembedding": _flagembedding,
    "tevatron": _tevatron,
    "ms-swift": _ms_swift,
}
_NEED_NEGATIVES = frozenset({"flagembedding", "tevatron"})


def write_rows(
    data: Path | str,
    rows: Mapping[str, int | None],
    folder: Path | str,
    layout: str,
    seed: int = 0,
) -> None:
    """Writes a JSONL file for each task, in the layout of another library.

    The tasks are read as everywhere here: bad rows are dropped, rows with an equal query become
    one, and rows without negatives get some by BM25. The instruction of a task stands before each
    of its queries. A task that is asked for more rows than it has gives all of them again, each
    pass in another order.

    In the layout of sentence-transformers all rows of a task need as many negatives: as many as the
    row with the most has, seven at most. A row with fewer is filled up by other passages of its
    task, drawn at random, none of them its query or an answer to it; where those are too few,
    negatives repeat. A task no row of which has a negative is written without any.

    Args:
        data: A folder of task files, as for :func:`~tdro.tasks.reading.find_sources`.
        rows: Rows to write of each task; None writes every row once, in its order; 0 no file.
        folder: Receives the files, named by the tasks; what was there is replaced as a whole.
        layout: ``sentence-transformers``, ``flagembedding``, ``tevatron`` or ``ms-swift``.
        seed: Seed of the order of rows, of mining and of what rows are filled up by.

    Raises:
        InputError: A task has no file, or its file cannot be used; or a row has no negative, its
            positives being all passages of its task, and the layout needs one.
    """
    sources = {source.name: source for source in find_sources(Path(data))}
    absent = [name for name in rows if name not in sources]
    if absent:
        raise InputError(f"{data} has no file of task {absent[0]!r}: add it or leave the task out.")
    target = Path(folder)
    make_folder(target.parent)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as space:
        partial = Path(space) / "rows"
        partial.mkdir()
        for name, count in rows.items():
            if count == 0:
                continue
            prepared = Path(space) / "task"
            prepared.mkdir()
            prepare_task(sources[name], prepared, seed=seed)
            task = Task.open(prepared)
            drawing = task_seed(seed, "export", name)
            order = _order(len(task), count, drawing)
            with (partial / f"{file_name(name)}.jsonl").open("w", encoding="utf-8") as lines:
                for record in _records(task, order, layout, drawing):
                    lines.write(json.dumps(record, ensure_ascii=False) + "\n")
            shutil.rmtree(prepared)
        publish(partial, target)


def _order(rows: int, count: int | None, seed: int) -> NDArray[np.int64]:
    if count is None:
        return np.arange(rows)
    passes = [np.random.default_rng([seed, n]).permutation(rows) for n in range(-(-count // rows))]
    return np.concatenate(passes)[:count]


def _records(task: Task, order: NDArray[np.int64], layout: str, seed: int) -> Iterator[_Record]:
    write = _LAYOUTS[layout]
    prompt = query_prompt(task.instruction)
    counts = [len(task.negatives[row]) for row in range(len(task))]
    columns = min(max(counts), _NEGATIVE_COLUMNS) if layout == "sentence-transformers" else None
    if min(counts) == 0 and (columns or layout in _NEED_NEGATIVES):
        raise InputError(
            f"Task {task.name!r} has a row for which no negative can be found, and {layout} needs "
            "one: add negatives or passages, or leave the task out."
        )
    for chunk in _chunks(order):
        queries = texts(task.queries, chunk)
        lists = [
            (task.positives[row], _negatives(task, row, columns, seed)) for row in chunk.tolist()
        ]
        numbers = np.unique(np.concatenate([part for pair in lists for part in pair]))
        found = dict(
            zip(numbers.tolist(), texts(task.passages, numbers.astype(np.int64)), strict=True)
        )
        for query, pair in zip(queries, lists, strict=True):
            positives, negatives = ([(n, found[n]) for n in part.tolist()] for part in pair)
            if columns is not None:
                apart = [passage for passage in negatives if passage[1] != query]
                negatives = list(islice(cycle(apart), columns))
            yield write(prompt + query, positives, negatives)


def _negatives(task: Task, row: int, columns: int | None, seed: int) -> Numbers:
    """Returns the negatives of a row, filled up to one more than the columns there are."""
    given = task.negatives[row]
    if columns is None or len(given) >= columns:
        return given[:columns]
    # One more, since a passage that equals the query is told by its text only, and left out.
    wanted, generator = columns + 1, np.random.default_rng([seed, row])
    drawn = others(len(task.passages), given, task.positives[row], wanted, generator)
    return np.concatenate([given, drawn])


def _chunks(order: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(order), _CHUNK):
        yield order[start : start + _CHUNK]
