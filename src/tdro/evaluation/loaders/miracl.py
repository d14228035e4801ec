"""MIRACL: ``miracl-v1.0-xx`` with topics and judgements, ``miracl-corpus-v1.0-xx`` with passages.

Both stand in the folder, or in ``miracl`` and ``miracl-corpus`` in it, as the two repositories of
the hub are named. ``topics/topics.miracl-v1.0-xx-dev.tsv`` has an id and a query a line,
``qrels/qrels.miracl-v1.0-xx-dev.tsv`` is in TREC's format, and ``docs-*.jsonl.gz`` have ``docid``,
``title`` and ``text``. Each language has its own corpus.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tdro.errors import InputError
from tdro.evaluation.benchmark import Benchmark, judged_benchmark
from tdro.evaluation.corpus import map_documents
from tdro.evaluation.judgements import Judgements
from tdro.evaluation.loaders.source import QUESTION_INSTRUCTION, Choice, Source
from tdro.evaluation.reading import (
    Document,
    identifier,
    json_lines,
    lines,
    passage,
    read_queries,
    text_of,
)

LAYOUT = "miracl-v1.0-xx/ with miracl-corpus-v1.0-xx/ (MIRACL)"
LANGUAGES: tuple[str, ...] = (
    *("ar", "bn", "de", "en", "es", "fa", "fi", "fr", "hi"),
    *("id", "ja", "ko", "ru", "sw", "te", "th", "yo", "zh"),
)

NAME = "miracl"
_JUDGED, _CORPUS = "miracl-v1.0-", "miracl-corpus-v1.0-"


def finds(folder: Path) -> bool:
    """Tells whether there is a language."""
    return bool(_languages(folder))


def sources(folder: Path, choice: Choice) -> list[Source]:
    """Returns the languages, named ``miracl/xx``.

    Raises:
        InputError: A language lacks its corpus, or its topics or judgements of the split.
    """
    there = _languages(folder)
    wanted = [xx for xx in there if xx in (choice.languages or there)]
    split = choice.split or "dev"
    found = []
    for language in wanted:
        judged = there[language]
        corpus = _either(folder, f"{_CORPUS}{language}", "miracl-corpus")
        shards = sorted(corpus.glob("docs-*.jsonl.gz"), key=_number) if corpus else []
        if not shards:
            raise InputError(f"{folder} has no {_CORPUS}{language}/docs-*.jsonl.gz.")
        label = f"miracl-v1.0-{language}-{split}"
        one = _Language(
            f"{NAME}/{language}",
            judged / "topics" / f"topics.{label}.tsv",
            judged / "qrels" / f"qrels.{label}.tsv",
            tuple(shards),
        )
        for path in (one.topics, one.qrels):
            if not path.is_file():
                raise InputError(f"{path} does not exist: has the split {split!r} judgements?")
        files = (one.topics, one.qrels, *one.shards)
        found.append(Source(one.name, files, one.read, language=language))
    return found


@dataclass(frozen=True)
class _Language:
    name: str
    topics: Path
    qrels: Path
    shards: tuple[Path, ...]

    def read(self, cache: Path | None) -> Benchmark:
        judgements = self._judgements()
        texts = read_queries(self._topics(), "id", "query")
        queries = judgements.judged(texts, self.topics.name)
        documents = map_documents(self.shards, self._documents, cache, key="docid")
        corpus = self.shards[0].parent.name
        return judged_benchmark(
            self.name, queries, judgements, documents, corpus, instruction=QUESTION_INSTRUCTION
        )

    def _judgements(self) -> Judgements:
        judgements = Judgements()
        for number, line in lines(self.qrels):
            try:
                query, _, document, relevance = line.split()
                value = int(relevance)
            except ValueError:
                raise InputError(
                    f"{self.qrels}:{number} must have TREC's four columns: a query id, Q0, a "
                    "document id and a whole number."
                ) from None
            judgements.add(self.qrels, number, query, document, value)
        if not judgements.qrels:
            raise InputError(f"{self.qrels} holds no judgements.")
        return judgements

    def _topics(self) -> Iterator[tuple[Path, int, dict[str, str]]]:
        for number, line in lines(self.topics):
            query, tab, text = line.partition("\t")
            if not tab:
                raise InputError(f"{self.topics}:{number} must be an id, a tab and a query.")
            yield self.topics, number, {"id": query, "query": text}

    def _documents(self) -> Iterator[Document]:
        for path in self.shards:
            for number, record in json_lines(path):
                name = identifier(record.get("docid"), path, number, "docid")
                text = text_of(record, "text", path, number)
                yield path, number, name, passage(record.get("title"), text)


def _languages(folder: Path) -> dict[str, Path]:
    """Returns the folder of topics and judgements of each language that is there."""
    found = ((xx, _either(folder, f"{_JUDGED}{xx}", "miracl")) for xx in LANGUAGES)
    return {language: path for language, path in found if path}


def _either(folder: Path, name: str, repository: str) -> Path | None:
    return next((p for p in (folder / name, folder / repository / name) if p.is_dir()), None)


def _number(path: Path) -> tuple[int, str]:
    found = re.fullmatch(r"docs-(\d+)\.jsonl\.gz", path.name)
    return int(found[1]) if found else -1, path.name
