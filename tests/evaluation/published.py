"""Tiny benchmarks in exactly the layouts in which the collections are published."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq

DOCUMENTS = [("d1", "w1", "w2 w3"), ("d2", "", "w4 w5"), ("d3", "w9", "w6")]
QUERIES = [("q1", "w2"), ("q2", "w4"), ("q3", "w7")]
QRELS = [("q1", "d1", 1), ("q2", "d2", 2)]


def write_lines(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")


def write_rows(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def beir(folder, documents=DOCUMENTS, queries=QUERIES, **qrels):
    """The zip files of BEIR."""
    write_lines(
        folder / "corpus.jsonl",
        [{"_id": i, "title": title, "text": text, "metadata": {}} for i, title, text in documents],
    )
    write_lines(
        folder / "queries.jsonl", [{"_id": i, "text": text, "metadata": {}} for i, text in queries]
    )
    (folder / "qrels").mkdir()
    for split, lines in (qrels or {"test": QRELS}).items():
        rows = [("query-id", "corpus-id", "score"), *lines]
        text = "".join("\t".join(map(str, row)) + "\n" for row in rows)
        (folder / "qrels" / f"{split}.tsv").write_text(text)


def nanobeir(folder, split="train"):
    """A repository of the hub."""
    shard = f"{split}-00000-of-00001.parquet"
    write_rows(
        folder / "corpus" / shard,
        _id=[i for i, _, _ in DOCUMENTS],
        text=[f"{title} {text}" for _, title, text in DOCUMENTS],
    )
    queries = {"_id": [i for i, _ in QUERIES], "text": [text for _, text in QUERIES]}
    write_rows(folder / "queries" / shard, **queries)
    judged = {"query-id": [q for q, _, _ in QRELS], "corpus-id": [d for _, d, _ in QRELS]}
    write_rows(folder / "qrels" / shard, **judged)


def miracl(folder, language, nested=True):
    """The two repositories of the hub, beside each other or poured together."""
    judged = folder / ("miracl" if nested else "") / f"miracl-v1.0-{language}"
    corpus = folder / ("miracl-corpus" if nested else "") / f"miracl-corpus-v1.0-{language}"
    for part in ("topics", "qrels"):
        (judged / part).mkdir(parents=True)
    topics = judged / "topics" / f"topics.miracl-v1.0-{language}-dev.tsv"
    topics.write_text("0\tw2 ?\n1\tw4\n", encoding="utf-8")
    qrels = judged / "qrels" / f"qrels.miracl-v1.0-{language}-dev.tsv"
    qrels.write_text("0\tQ0\t7#0\t1\n0\tQ0\t7#1\t0\n1\tQ0\t9#0\t1\n")
    write_lines(corpus / "docs-0.jsonl.gz", [{"docid": "7#0", "title": "w1", "text": "w2 w3"}])
    write_lines(corpus / "docs-10.jsonl.gz", [{"docid": "9#0", "title": "w4", "text": "w5"}])
    write_lines(corpus / "docs-9.jsonl.gz", [{"docid": "7#1", "title": "w1", "text": "w6"}])


def answer(kind, text, *aliases):
    return {"type": kind, "entity": "Q1", "text": text, "aliases": list(aliases)}


def mkqa(folder, answers, languages=("en", "de", "zh_cn"), name="mkqa.jsonl.gz"):
    """Apple's file; ``answers`` are the English ones of each question."""
    write_lines(
        folder / name,
        [
            {
                "example_id": number - 2,
                "query": f"w{number}",
                "queries": dict.fromkeys(languages, f"w{number}"),
                "answers": {"en": english, "de": [answer("entity", "unsinn")]},
            }
            for number, english in enumerate(answers)
        ],
    )


def bright(folder, domain="biology"):
    """The repository of the hub; ids of documents are paths that may hold spaces."""
    shard = f"{domain}-00000-of-00001.parquet"
    write_rows(
        folder / "documents" / shard, id=["a b/1.txt", "c/2.txt"], content=["w1 w2", "w1 w2 w3"]
    )
    write_rows(folder / "long_documents" / shard, id=["a b.txt"], content=["w1 w2 w1 w2 w3"])
    write_rows(
        folder / "examples" / shard,
        query=["w1 w2", "w3"],
        reasoning=["", ""],
        id=["0", "1"],
        excluded_ids=[["a b/1.txt"], ["N/A"]],
        gold_ids_long=[["a b.txt"], ["a b.txt"]],
        gold_ids=[["c/2.txt"], ["a b/1.txt"]],
        gold_answer=["", ""],
    )


def coir(folder, name):
    """The two repositories of the hub for a data set."""
    common = {"partition": ["test"], "language": ["python"], "meta_information": ["{}"]}
    texts = folder / f"{name}-queries-corpus" / "data"
    write_rows(
        texts / "corpus-00000-of-00001.parquet", _id=["d1"], text=["w1 w2"], title=[""], **common
    )
    write_rows(
        texts / "queries-00000-of-00001.parquet", _id=["q1"], text=["w2"], title=[""], **common
    )
    write_rows(
        folder / f"{name}-qrels" / "data" / "test-00000-of-00001.parquet",
        query_id=["q1"],
        corpus_id=["d1"],
        score=[1],
    )
