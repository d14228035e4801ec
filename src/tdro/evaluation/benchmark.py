"""Benchmarks: judged queries over a corpus, in the BEIR layout.

A folder holds ``corpus.jsonl[.gz]`` (``_id``, ``title``, ``text``), ``queries.jsonl[.gz]``
(``_id``, ``text``), ``qrels/test.tsv`` (``query-id``, ``corpus-id``, ``score``) and, optionally,
``benchmark.json`` (``name``, ``instruction``, ``group``).
"""

import atexit
import functools
import gzip
import json
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from tdro.errors import InputError
from tdro.files import digest, publish, read_json, write_json

DETAILS_FILE = "benchmark.json"
QRELS_FILE = "qrels/test.tsv"
QRELS_HEADER = ("query-id", "corpus-id", "score")

_DOCUMENTS = pa.schema([("id", pa.string()), ("text", pa.string())])
_DOCUMENTS_PER_WRITE = 1000


@dataclass(frozen=True)
class Benchmark:
    """Judged queries over a corpus, never trained on.

    Attributes:
        name: Name of the benchmark.
        instruction: What a query asks for; empty for the retriever's own query prompt.
        group: One of :data:`tdro.evaluation.scores.GROUPS`.
        queries: Text of each judged query by its id, in the order of the queries file.
        documents: Columns ``id`` and ``text``, memory-mapped, in the order of the corpus file.
        qrels: Relevance of each judged document by its id, for every query of ``queries``.
    """

    name: str
    instruction: str
    group: str
    queries: dict[str, str]
    documents: Dataset
    qrels: dict[str, dict[str, int]]


def load_benchmark(
    directory: Path,
    *,
    name: str | None = None,
    instruction: str | None = None,
    group: str | None = None,
    cache: Path | None = None,
) -> Benchmark:
    """Reads a benchmark in the BEIR layout; its corpus is streamed to disk, never held in memory.

    Args:
        directory: The folder of the benchmark.
        name: Replaces the name in ``benchmark.json``; without either, the folder's name.
        instruction: Replaces the instruction in ``benchmark.json``; without either, empty.
        group: Replaces the group in ``benchmark.json``; without either, ``external``.
        cache: Folder that keeps the memory-mapped corpus, reused while the corpus file is
            unchanged; without it, a temporary folder that lives as long as this process.

    Raises:
        InputError: A file is missing, broken or empty, an id is repeated, or a judgement names an
            unknown query or document; the sentence names the file and the line.
    """
    judged = read_judgements(directory, name=name, instruction=instruction, group=group)
    documents = _map_documents(judged.corpus, cache)
    _check_judged_documents(directory, documents, judged.lines)
    return Benchmark(
        name=judged.name,
        instruction=judged.instruction,
        group=judged.group,
        queries=judged.queries,
        documents=documents,
        qrels=judged.qrels,
    )


@dataclass(frozen=True)
class Judgements:
    """What a benchmark holds beside its documents.

    Attributes:
        name: Name of the benchmark.
        instruction: What a query asks for; may be empty.
        group: One of :data:`tdro.evaluation.scores.GROUPS`.
        queries: Text of each judged query by its id, in the order of the queries file.
        qrels: Relevance of each judged document by its id, for every query of ``queries``.
        lines: The line that each judgement stands on, by the ids of its query and document.
        corpus: The file of the documents.
    """

    name: str
    instruction: str
    group: str
    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]
    lines: dict[tuple[str, str], int]
    corpus: Path


def read_judgements(
    directory: Path,
    *,
    name: str | None = None,
    instruction: str | None = None,
    group: str | None = None,
) -> Judgements:
    """Reads all of a benchmark but its corpus, whose file has to be there.

    Args:
        directory: As for :func:`load_benchmark`, like what follows.
        name: In place of that in ``benchmark.json``.
        instruction: Likewise.
        group: Likewise.

    Raises:
        InputError: A file is missing or broken, an id is repeated, or a judgement names an unknown
            query.
    """
    if not directory.is_dir():
        raise InputError(f"The benchmark folder {directory} does not exist.")
    details = _read_details(directory / DETAILS_FILE)
    qrels, lines = _read_qrels(directory / QRELS_FILE)
    texts = _read_queries(_either(directory, "queries.jsonl"))
    for query in qrels:
        if query not in texts:
            raise _unknown(directory, lines[query, next(iter(qrels[query]))], "query", query)
    return Judgements(
        name=details.get("name", directory.resolve().name) if name is None else name,
        instruction=details.get("instruction", "") if instruction is None else instruction,
        group=details.get("group", "external") if group is None else group,
        queries={query: text for query, text in texts.items() if query in qrels},
        qrels=qrels,
        lines=lines,
        corpus=_either(directory, "corpus.jsonl"),
    )


def first_documents(corpus: Path, count: int) -> tuple[list[str], int]:
    """Returns the texts of the first documents of a corpus file, and the line of the last.

    Raises:
        InputError: One of them is broken, or there is none.
    """
    found, last = [], 0
    for last, _, record in islice(_records(corpus), count):  # noqa: B007 - the last line is told
        found.append(_passage(record))
    if not found:
        raise InputError(f"{corpus} holds no documents.")
    return found, last


def write_benchmark(
    directory: Path,
    *,
    name: str,
    instruction: str,
    group: str,
    queries: Iterable[tuple[str, str]],
    documents: Iterable[tuple[str, str]],
    qrels: Iterable[tuple[str, str, int]],
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
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
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
        write_json(
            partial / DETAILS_FILE, {"name": name, "instruction": instruction, "group": group}
        )
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


def _read_details(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    details = read_json(path)
    known = {"name", "instruction", "group"}
    if not isinstance(details, dict) or not all(
        key in known and isinstance(value, str) for key, value in details.items()
    ):
        raise InputError(
            f"{path} must be a JSON object with the texts 'name', 'instruction' and 'group' only."
        )
    return details


def _either(directory: Path, name: str) -> Path:
    """Returns the plain or the gzipped file of that name."""
    for path in (directory / name, directory / f"{name}.gz"):
        if path.is_file():
            return path
    raise InputError(f"The benchmark {directory} has no {name} (or {name}.gz).")


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yields line number, counted from 1, and text of every line that is not blank."""
    try:
        with _open(path) as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path} is not a whole gzip file ({error}): copy it again.") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error}).") from None


def _records(path: Path) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Yields line number, id and fields of each JSON line; ids are distinct, ``text`` is a text."""
    seen: set[str] = set()
    for number, line in _lines(path):
        where = f"{path}:{number}"
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{where} is not valid JSON ({error}).") from None
        if not isinstance(record, dict) or not isinstance(record.get("text"), str):
            raise InputError(f"{where} must be a JSON object with a text in the field 'text'.")
        identifier = record.get("_id")
        if not isinstance(identifier, str) or not identifier or identifier.split() != [identifier]:
            raise InputError(
                f"{where} needs an '_id' that is a text without spaces, not {identifier!r}: "
                "run files separate their columns by spaces."
            )
        if identifier in seen:
            raise InputError(f"{where} repeats the _id {identifier!r}: every _id must be unique.")
        seen.add(identifier)
        yield number, identifier, record


def _read_queries(path: Path) -> dict[str, str]:
    texts = {}
    for number, query, record in _records(path):
        if not record["text"].strip():
            raise InputError(f"{path}:{number} is an empty query: give it a text or remove it.")
        texts[query] = record["text"]
    return texts


def _read_qrels(path: Path) -> tuple[dict[str, dict[str, int]], dict[tuple[str, str], int]]:
    """Returns the judgements and the line each of them stands on."""
    if not path.is_file():
        raise InputError(f"The judgements {path} are missing.")
    rows = ((number, tuple(line.split("\t"))) for number, line in _lines(path))
    header = next(rows, (1, ()))[1]
    if header != QRELS_HEADER:
        raise InputError(
            f"{path} must begin with the columns {', '.join(QRELS_HEADER)}, separated by tabs, "
            f"not {' '.join(header)!r}."
        )
    qrels: dict[str, dict[str, int]] = {}
    lines: dict[tuple[str, str], int] = {}
    for number, row in rows:
        try:
            query, document, relevance = row[0], row[1], int(row[2])
            if len(row) != len(QRELS_HEADER):
                raise ValueError
        except (IndexError, ValueError):
            raise InputError(
                f"{path}:{number} must be a query id, a document id and a whole number, "
                "separated by tabs."
            ) from None
        if qrels.setdefault(query, {}).setdefault(document, relevance) != relevance:
            raise InputError(
                f"{path}:{number} judges query {query!r} and document {document!r} again with "
                f"another score than line {lines[query, document]}."
            )
        lines.setdefault((query, document), number)
    if not qrels:
        raise InputError(f"{path} holds no judgements.")
    return qrels, lines


def _map_documents(corpus: Path, cache: Path | None) -> Dataset:
    """Streams a corpus into an Arrow file and maps it into memory."""
    state = corpus.stat()
    key = digest([str(corpus.resolve()), state.st_size, state.st_mtime_ns])
    target = (cache or _process_folder()) / f"documents-{key}.arrow"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as partial:
            _write_documents(corpus, Path(partial) / target.name)
            (Path(partial) / target.name).replace(target)
    return Dataset.from_file(str(target))


def _write_documents(corpus: Path, target: Path) -> None:
    pairs = ((document, _passage(record)) for _, document, record in _records(corpus))
    empty = True
    with pa.ipc.new_stream(str(target), _DOCUMENTS) as writer:
        while chunk := list(islice(pairs, _DOCUMENTS_PER_WRITE)):
            ids, texts = zip(*chunk, strict=True)
            writer.write_batch(pa.record_batch([pa.array(ids), pa.array(texts)], schema=_DOCUMENTS))
            empty = False
    if empty:
        raise InputError(f"{corpus} holds no documents.")


def _passage(record: Mapping[str, Any]) -> str:
    title, text = record.get("title") or "", str(record["text"])
    return f"{title} {text}" if title else text


@functools.cache
def _process_folder() -> Path:
    folder = tempfile.mkdtemp(prefix="tdro-benchmarks-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _check_judged_documents(
    directory: Path, documents: Dataset, lines: Mapping[tuple[str, str], int]
) -> None:
    judged = pa.array([document for _, document in lines], pa.string())
    known = pc.is_in(judged, value_set=documents.data.column("id").combine_chunks())
    for (_, document), number, found in zip(lines, lines.values(), known, strict=True):
        if not found.as_py():
            raise _unknown(directory, number, "document", document)


def _unknown(directory: Path, line: int, kind: str, identifier: str) -> InputError:
    file = "queries" if kind == "query" else "corpus"
    return InputError(
        f"{directory / QRELS_FILE}:{line} judges the {kind} {identifier!r}, "
        f"which is not in {file}.jsonl: add it there or remove the line."
    )
