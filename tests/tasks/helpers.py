import gzip
import json

from tdro.tasks.task import TaskSource


def write_jsonl(path, records):
    text = "".join(json.dumps(record) + "\n" for record in records)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def source(path, name="cats", instruction="Find the cat"):
    return TaskSource(name, path, instruction)


def row(query, *positives, neg=()):
    return {"query": query, "pos": list(positives), "neg": list(neg)}
