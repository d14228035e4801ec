"""Passages judged by the answers they hold, where nobody has judged them: MKQA.

Passage and answers are decomposed (Unicode NFD), cut into DPR's simple tokens (runs of letters,
digits and marks; any other visible character alone) and lower-cased. A passage is relevant when the
tokens of an answer stand in it side by side. An answer without tokens is in no passage; in the
released code of the paper it was in all.
"""

import functools
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from tdro.errors import require
from tdro.evaluation.benchmark import Benchmark
from tdro.evaluation.corpus import rows_of

METRICS = ("Acc@10", "Acc@20", "Acc@100")
"""Share of all queries that have a relevant passage so far up; Success@k of ir-measures."""

_TOKEN = r"[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]"
_QUERIES_PER_BLOCK = 1000


def judged_by_answers(
    benchmark: Benchmark, run: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, int]]:
    """Judges what was found, down to the first relevant passage of each query.

    No further passage changes whether there is one among the first k.

    Args:
        benchmark: Its answers and documents.
        run: Score of each found document by its id, best first, by query id.

    Returns:
        Judgements in the form of ``qrels``; a query without a hit has none.
    """
    column = benchmark.documents.data.column("text")
    hits: dict[str, dict[str, int]] = {}
    for block in _blocks(list(run)):
        rows = rows_of(
            benchmark.documents, (document for query in block for document in run[query])
        )

        @functools.cache
        def passage(document: str, rows: Mapping[str, int] = rows) -> str:
            return _spaced(column[rows[document]].as_py())

        for query in block:
            answers = [text for text in map(_spaced, benchmark.answers[query]) if text.strip()]
            for document in run[query]:
                if any(answer in passage(document) for answer in answers):
                    hits[query] = {document: 1}
                    break
    return hits


def _spaced(text: str) -> str:
    """Returns the tokens of a text with a space before and after each; no token holds one."""
    tokens = _pattern().findall(unicodedata.normalize("NFD", text))
    return f" {' '.join(tokens)} ".lower() if tokens else ""


@functools.cache
def _pattern() -> Any:
    return require("regex", "run").compile(_TOKEN)


def _blocks(queries: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(queries), _QUERIES_PER_BLOCK):
        yield queries[start : start + _QUERIES_PER_BLOCK]
