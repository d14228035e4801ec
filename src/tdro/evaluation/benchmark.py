"""Benchmarks: judged queries over a corpus, and their BEIR layout.

A folder holds ``corpus.jsonl[.gz]`` (``_id``, ``title``, ``text``), ``queries.jsonl[.gz]``
(``_id``, ``text``), ``qrels/test.tsv`` (``query-id``, ``corpus-id``, ``score``) and, optionally,
``benchmark.json`` (``name``, ``instruction``, ``group``, ``own_ids``). Other layouts: ``loaders/``.
"""

import gzip
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset

from tdro.errors import InputError
from tdro.evaluation.corpus import map_documents
from tdro.evaluation.judgements import Judgements
from tdro.evaluation.reading import (
    Document,
    either,
    identifier,
    json_lines,
    lines,
    passage,
    read_queries,
    text_of,
)
from tdro.files import make_folder, publish, read_json, write_json

DETAILS_FILE = "benchmark.json"
QRELS_FILE = "qrels/test.tsv"
QRELS_HEADER = ("query-id", "corpus-id", "score")


@dataclass(frozen=True)
class Benchmark:
    """Judged queries over a corpus, never trained on.

    Attributes:
        name: Name of the benchmark; ``FAMILY/PART`` where several are parts of one.
        instruction: What a query asks for; empty for the retriever's own query prompt.
        group: One of :data:`tdro.evaluation.scores.GROUPS`.
        queries: Text of each judged query by its id, in the order of the queries file.
        documents: Columns ``id`` and ``text``, memory-mapped, in the order of the corpus file.
        qrels: Relevance of each judged document by its id, for every query of ``queries``; empty
            where answers judge.
        excluded: Documents that are taken out of the ranking of a query, by query id.
        answers: By query id, what a relevant document says; empty where ``qrels`` judge.
        warnings: Sentences on what should make one doubt its scores.
    """

    name: str
    instruction: str
    group: str
    queries: dict[str, str]
    documents: Dataset
    qrels: dict[str, dict[str, int]]
    excluded: Mapping[str, frozenset[str]] = field(default_factory=dict)
    answers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def load_benchmark(
    directory: Path,
    *,
    name: str | None = None,
    cache: Path | None = None,
    split: str = "test",
    own_ids: bool = True,
) -> Benchmark:
    """Reads a benchmark in the BEIR layout; its corpus is streamed to disk, never held in memory.

    Args:
        directory: The folder of the benchmark.
        name: Replaces the name in ``benchmark.json``; without either, the folder's name.
        cache: Folder that keeps the memory-mapped corpus, reused while the corpus file is
            unchanged; without it, a temporary folder that lives as long as this process.
        split: Which judgements: ``qrels/SPLIT.tsv``.
        own_ids: Whether a document with the id of the query may be found for it, unless the folder
            says that it may not.

    Raises:
        InputError: A file is missing, broken or empty, an id is repeated, or all judgements name
            unknown queries or documents; the sentence names the file and the line.
    """
    found = read_judged(directory, split=split)
    own_ids = own_ids and found.own_ids
    return judged_benchmark(
        found.name if name is None else name,
        found.queries,
        found.judgements,
        map_corpus(directory, cache),
        "corpus.jsonl",
        instruction=found.instruction,
        group=found.group,
        excluded={} if own_ids else {query: frozenset([query]) for query in found.queries},
    )


def judged_benchmark(
    name: str,
    queries: dict[str, str],
    judgements: Judgements,
    documents: Dataset,
    file: str,
    *,
    instruction: str = "",
    group: str = "external",
    excluded: Mapping[str, frozenset[str]] | None = None,
) -> Benchmark:
    """Returns a benchmark that judgements judge, which are checked against its documents.

    Args:
        name: Its name.
        queries: The judged queries, by what ``judgements.judged`` returned.
        judgements: The judgements.
        documents: The corpus.
        file: What its file is called in a sentence.
        instruction: What a query asks for.
        group: One of :data:`tdro.evaluation.scores.GROUPS`.
        excluded: Documents that are taken out of the ranking of a query, by query id.

    Raises:
        InputError: None of the judged documents is there.
    """
    judgements.check(documents, file)
    return Benchmark(
        name,
        instruction,
        group,
        queries,
        documents,
        judgements.qrels,
        excluded or {},
        warnings=tuple(judgements.warnings),
    )


@dataclass(frozen=True)
class Judged:
    """What a benchmark holds beside its documents.

    Attributes:
        name: Its name.
        instruction: What a query asks for; may be empty.
        group: One of :data:`tdro.evaluation.scores.GROUPS`.
        queries: Text of each judged query by its id, in the order of the queries file.
        judgements: The judgements.
        corpus: The file of the documents.
        own_ids: Whether a document with the id of the query may be found for it.
    """

    name: str
    instruction: str
    group: str
    queries: dict[str, str]
    judgements: Judgements
    corpus: Path
    own_ids: bool = True


def read_judged(directory: Path, *, split: str = "test") -> Judged:
    """Reads all of a benchmark but its corpus, whose file has to be there.

    Args:
        directory: The folder of the benchmark.
        split: Which judgements: ``qrels/SPLIT.tsv``.

    Raises:
        InputError: A file is missing or broken, an id is repeated, or all judgements name unknown
            queries; the sentence names the file and the line.
    """
    if not directory.is_dir():
        raise InputError(f"The benchmark folder {directory} does not exist.")
    details = _read_details(directory / DETAILS_FILE)
    judgements = _read_qrels(directory, split)
    source = _needed(directory, "queries.jsonl")
    records = ((source, number, record) for number, record in json_lines(source))
    queries = judgements.judged(read_queries(records, "_id", "text"), "queries.jsonl")
    return Judged(
        name=details.get("name", directory.resolve().name),
        instruction=details.get("instruction", ""),
        group=details.get("group", "external"),
        queries=queries,
        judgements=judgements,
        corpus=_needed(directory, "corpus.jsonl"),
        own_ids=details.get("own_ids", True),
    )


def map_corpus(directory: Path, cache: Path | None) -> Dataset:
    """Maps ``corpus.jsonl[.gz]`` of a folder into memory.

    Raises:
        InputError: It is missing, broken or empty, or an id is repeated.
    """
    path = _needed(directory, "corpus.jsonl")

    return map_documents([path], partial(read_documents, path), cache)


def read_documents(corpus: Path) -> Iterator[Document]:
    """Reads the documents of a ``corpus.jsonl[.gz]`` one by one.

    Raises:
        InputError: A document is broken or has no id.
    """
    for number, record in json_lines(corpus):
        text = text_of(record, "text", corpus, number)
        name = identifier(record.get("_id"), corpus, number, "_id")
        yield corpus, number, name, passage(record.get("title"), text)


def write_benchmark(
    directory: Path,
    *,
    name: str,
    instruction: str,
    group: str,
    queries: Iterable[tuple[str, str]],
    documents: Iterable[tuple[str, str]],
    qrels: Iterable[tuple[str, str, int]],
    own_ids: bool = True,
) -> None:
    """Writes a benchmark that :func:`load_benchmark` and other BEIR tools read.

    The same input gives the same bytes. The ids are checked when the benchmark is read.

    Args:
        directory: The folder to write; replaced at once when it exists.
        name: Name of the benchmark.
        instruction: What a query asks for; may be empty.
        group: One of :data:`tdro.evaluation.scores.GROUPS`.
        queries: Pairs of id and text.
        documents: Pairs of id and text; consumed as a stream.
        qrels: Triples of query id, document id and relevance.
        own_ids: Whether a document with the id of the query may be found for it.
    """
    make_folder(directory.parent)
    partial = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        partial.chmod(0o755)
        _write_records(
            partial / "corpus.jsonl.gz",
            ({"_id": document, "title": "", "text": text} for document, text in documents),
        )
        _write_records(
            partial / "queries.jsonl.gz", ({"_id": query, "text": text} for query, text in queries)
        )
        (partial / QRELS_FILE).parent.mkdir()
        with (partial / QRELS_FILE).open("w", encoding="utf-8", newline="\n") as file:
            file.write("\t".join(QRELS_HEADER) + "\n")
            file.writelines(f"{query}\t{document}\t{score}\n" for query, document, score in qrels)
        details = {"name": name, "instruction": instruction, "group": group}
        write_json(partial / DETAILS_FILE, details | ({} if own_ids else {"own_ids": False}))
        publish(partial, directory)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_records(path: Path, records: Iterable[Mapping[str, str]]) -> None:
    """Writes gzipped JSON lines without a time stamp, so that equal records give equal bytes."""
    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
    ):
        for record in records:
            packed.write((json.dumps(record, ensure_ascii=False) + "\n").encode())


def _read_details(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    details = read_json(path)
    known = {"name": str, "instruction": str, "group": str, "own_ids": bool}
    if not isinstance(details, dict) or not all(
        key in known and isinstance(value, known[key]) for key, value in details.items()
    ):
        raise InputError(
            f"{path} must be a JSON object with the texts 'name', 'instruction' and 'group' and "
            "with 'own_ids', true or false, only."
        )
    return details


def _needed(directory: Path, name: str) -> Path:
    path = either(directory, name)
    if path is None:
        raise InputError(f"The benchmark {directory} has no {name} (or {name}.gz).")
    return path


def _read_qrels(directory: Path, split: str) -> Judgements:
    path = directory / "qrels" / f"{split}.tsv"
    if not path.is_file():
        there = sorted(other.stem for other in path.parent.glob("*.tsv"))
        more = f": there is the split {', '.join(there)}" if there else ""
        raise InputError(f"The judgements {path} are missing{more}.")
    found = lines(path)
    header = tuple(next(found, (1, ""))[1].split("\t"))
    if header != QRELS_HEADER:
        raise InputError(
            f"{path} must begin with the columns {', '.join(QRELS_HEADER)}, separated by tabs, "
            f"not {' '.join(header)!r}."
        )
    judgements = Judgements()
    for number, line in found:
        try:
            query, document, relevance = line.split("\t")
            judgements.add(path, number, query, document, int(relevance))
        except InputError:
            raise
        except ValueError:
            raise InputError(
                f"{path}:{number} must be a query id, a document id and a whole number, "
                "separated by tabs."
            ) from None
    if not judgements.qrels:
        raise InputError(f"{path} holds no judgements.")
    return judgements
