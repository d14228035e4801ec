"""MKQA: questions in many languages, answered by the English Wikipedia passages of BEIR's NQ.

``mkqa.jsonl[.gz]`` stands in the folder or its ``dataset``, as in Apple's repository; the corpus is
``nq/corpus.jsonl[.gz]``, or ``corpus.jsonl[.gz]`` in the folder. Nobody judged the passages: one is
relevant when it holds an English answer (see :mod:`tdro.evaluation.answers`).

Of the 10,000 questions those count that the published figures count: not the ones whose answer is
missing, yes or no, or long. What decides is the type of the last English answer, as in the script
that made the evaluated files.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tdro.errors import InputError
from tdro.evaluation.benchmark import Benchmark, map_corpus
from tdro.evaluation.loaders.source import QUESTION_INSTRUCTION, Choice, Source, only_split
from tdro.evaluation.reading import as_id, either, identifier, json_lines, repeated

LAYOUT = "mkqa.jsonl with nq/corpus.jsonl (MKQA)"
LANGUAGES: tuple[str, ...] = (
    *("ar", "da", "de", "en", "es", "fi", "fr", "he", "hu", "it", "ja", "km", "ko"),
    *("ms", "nl", "no", "pl", "pt", "ru", "sv", "th", "tr", "vi", "zh_cn", "zh_hk", "zh_tw"),
)

NAME = "mkqa"
_CORPUS_LANGUAGE = "en"
"""Not a language by default: the corpus is English, and the task is to search across languages."""
_UNUSABLE = ("unanswerable", "binary", "long_answer")


def finds(folder: Path) -> bool:
    """Tells whether the questions are there."""
    return _questions_file(folder) is not None


def sources(folder: Path, choice: Choice) -> list[Source]:
    """Returns the languages, named ``mkqa/xx``; all share the corpus.

    Raises:
        InputError: The corpus is missing.
    """
    only_split(folder, choice, "test")
    path = _questions_file(folder)
    home = next((p for p in (folder / "nq", folder) if either(p, "corpus.jsonl")), None)
    corpus = either(home, "corpus.jsonl") if home else None
    if path is None or home is None or corpus is None:
        raise InputError(
            f"{folder} has no nq/corpus.jsonl (or .gz): MKQA is searched in the corpus of NQ."
        )
    wanted = [xx for xx in LANGUAGES if xx in choice.languages] if choice.languages else LANGUAGES
    questions = functools.cache(functools.partial(_read, path))
    return [
        Source(
            f"{NAME}/{xx}",
            (path, corpus),
            _Language(xx, path, home, questions).read,
            language=xx,
        )
        for xx in wanted
        if choice.languages or xx != _CORPUS_LANGUAGE
    ]


@dataclass(frozen=True)
class _Question:
    line: int
    queries: Mapping[str, str]
    answers: tuple[str, ...]


@dataclass(frozen=True)
class _Language:
    language: str
    path: Path
    home: Path
    questions: Callable[[], dict[str, _Question]]

    def read(self, cache: Path | None) -> Benchmark:
        queries = {}
        for name, question in self.questions().items():
            text = question.queries.get(self.language)
            if not isinstance(text, str) or not text.strip():
                raise InputError(
                    f"{self.path}:{question.line} has no query in the language {self.language!r}."
                )
            queries[name] = text
        return Benchmark(
            name=f"{NAME}/{self.language}",
            instruction=QUESTION_INSTRUCTION,
            group="external",
            queries=queries,
            documents=map_corpus(self.home, cache),
            qrels={},
            answers={name: question.answers for name, question in self.questions().items()},
        )


def _read(path: Path) -> dict[str, _Question]:
    """Returns the questions that count, by id."""
    found: dict[str, _Question] = {}
    for line, record in json_lines(path):
        name = identifier(as_id(record.get("example_id")), path, line, "example_id")
        if name in found:
            raise repeated(path, line, "example_id", name)
        queries, answers = record.get("queries"), record.get("answers")
        english = answers.get(_CORPUS_LANGUAGE) if isinstance(answers, dict) else None
        if not isinstance(queries, dict) or not isinstance(english, list):
            raise InputError(
                f"{path}:{line} must have 'queries' by language and 'answers' with a list for 'en'."
            )
        usable = [_accepted(answer, path, line) for answer in english]
        if usable and usable[-1] is not None:
            texts = tuple(text for accepted in usable if accepted is not None for text in accepted)
            found[name] = _Question(line, queries, texts)
    if not found:
        raise InputError(f"{path} holds no question with a short answer.")
    return found


def _accepted(answer: Any, path: Path, line: int) -> tuple[str, ...] | None:
    """Returns the wordings of an answer, or nothing where its type does not count."""
    if not isinstance(answer, dict) or not isinstance(answer.get("type"), str):
        raise InputError(f"{path}:{line} has an answer without a 'type'.")
    if answer["type"] in _UNUSABLE:
        return None
    aliases = answer.get("aliases") or []
    texts = [*aliases, answer.get("text")] if isinstance(aliases, list) else [aliases]
    given = [text for text in texts if text is not None]
    if not all(isinstance(text, str) for text in given):
        raise InputError(f"{path}:{line} has an answer whose 'text' or 'aliases' are no texts.")
    return tuple(given)


def _questions_file(folder: Path) -> Path | None:
    return either(folder, "mkqa.jsonl") or either(folder / "dataset", "mkqa.jsonl")
