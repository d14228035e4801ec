import json

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models, pre_tokenizers


@pytest.fixture(scope="session")
def model():
    words = [f"w{number}" for number in range(40)]
    vocabulary = {word: number for number, word in enumerate(["[UNK]", "ask", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    torch.manual_seed(1)
    embedding = StaticEmbedding(tokenizer, embedding_dim=8)
    return SentenceTransformer(modules=[embedding], device="cpu")


@pytest.fixture
def folder(tmp_path):
    """A tiny benchmark in the plain BEIR layout: d1 has a title, q3 is not judged."""
    directory = tmp_path / "tiny"
    (directory / "qrels").mkdir(parents=True)
    corpus = [
        {"_id": "d1", "title": "w1", "text": "w2 w3"},
        {"_id": "d2", "title": "", "text": "w4 w5"},
        {"_id": "d3", "text": "w6"},
    ]
    queries = [{"_id": f"q{number}", "text": f"w{number}"} for number in (1, 2, 3)]
    for name, records in (("corpus", corpus), ("queries", queries)):
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (directory / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    (directory / "qrels/test.tsv").write_text(
        "query-id\tcorpus-id\tscore\nq2\td1\t2\nq1\td2\t1\nq1\td3\t0\n", encoding="utf-8"
    )
    return directory
