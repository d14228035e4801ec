import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

from tdro.errors import InputError
from tdro.evaluation import search as module
from tdro.evaluation.benchmark import load_benchmark, write_benchmark
from tdro.evaluation.scores import score, score_table, summary
from tdro.evaluation.search import search

WORDS = [f"w{number}" for number in range(40)]


@pytest.fixture
def benchmark(tmp_path):
    draw = random.Random(0)
    texts = [" ".join(draw.choices(WORDS, k=draw.randint(1, 12))) for _ in range(150)]
    write_benchmark(
        tmp_path / "b",
        name="b",
        instruction="",
        group="holdout",
        queries=[(f"q{n}", " ".join(draw.choices(WORDS, k=3))) for n in range(20)],
        documents=[(f"d{n}", text) for n, text in enumerate(texts)],
        qrels=[(f"q{n}", f"d{d}", 1) for n in range(20) for d in draw.sample(range(150), 4)],
    )
    return load_benchmark(tmp_path / "b")


def test_equals_sentence_transformers(benchmark, model):
    evaluator = InformationRetrievalEvaluator(
        benchmark.queries,
        dict(zip(benchmark.documents["id"], benchmark.documents["text"], strict=True)),
        {query: set(judged) for query, judged in benchmark.qrels.items()},
        precision_recall_at_k=[100],
        write_csv=False,
    )
    expected = evaluator(model)
    found = score(benchmark, search(model, benchmark))
    ours = summary(score_table([("model", benchmark, found)]))[0].means["model"]
    assert ours["nDCG@10"] == pytest.approx(expected["cosine_ndcg@10"], abs=1e-6)
    assert ours["R@100"] == pytest.approx(expected["cosine_recall@100"], abs=1e-6)
    assert 0 < ours["nDCG@10"] < 1


def test_chunks_do_not_change_the_run(benchmark, model, monkeypatch):
    whole = search(model, benchmark, top_k=7)
    seen = []
    monkeypatch.setattr(module, "_DOCUMENTS_PER_CHUNK", 40)
    monkeypatch.setattr(module, "_QUERIES_PER_BLOCK", 3)
    cut = search(model, benchmark, top_k=7, batch_size=5, progress=lambda *done: seen.append(done))
    assert seen == [(40, 150), (80, 150), (120, 150), (150, 150)]
    for query, found in whole.items():
        assert list(cut[query]) == list(found)
        assert list(cut[query].values()) == pytest.approx(list(found.values()), abs=1e-6)
        assert list(found.values()) == sorted(found.values(), reverse=True)
        assert len(found) == 7


def test_equal_scores_keep_the_order_of_the_corpus(tmp_path, model, monkeypatch):
    monkeypatch.setattr(module, "_DOCUMENTS_PER_CHUNK", 2)
    write_benchmark(
        tmp_path / "b",
        name="b",
        instruction="",
        group="holdout",
        queries=[("q", "w1")],
        documents=[("d9", "w1"), ("d1", "w1"), ("d5", "w1"), ("d0", "w2"), ("d3", "w1")],
        qrels=[("q", "d1", 1)],
    )
    benchmark = load_benchmark(tmp_path / "b")
    assert list(search(model, benchmark, top_k=3)["q"]) == ["d9", "d1", "d5"]
    assert list(search(model, benchmark)["q"]) == ["d9", "d1", "d5", "d3", "d0"]


def test_the_prompt_is_put_before_queries_only(benchmark, model):
    plain, prompted = search(model, benchmark), search(model, benchmark, prompt="ask ")
    assert plain != prompted
    vectors = model.encode(["ask " + benchmark.queries["q0"], benchmark.documents[0]["text"]])
    expected = model.similarity(vectors[0], vectors[1]).item()
    assert search(model, benchmark, prompt="ask ", top_k=150)["q0"]["d0"] == pytest.approx(
        expected, abs=1e-6
    )


def test_a_diverged_model_is_named(benchmark, model, monkeypatch):
    weight = model[0].embedding.weight
    monkeypatch.setattr(weight, "data", torch.full_like(weight, torch.nan))
    with pytest.raises(InputError, match="not finite for a query of 'b'"):
        search(model, benchmark)


floats = st.floats(-1, 1, width=32)


@given(st.lists(floats, min_size=1, max_size=30))
def test_keys_sort_by_score_then_number_and_unpack(scores):
    numbers = torch.arange(5, 5 + len(scores))
    keys = module._keys(torch.tensor([scores]), numbers)
    expected = sorted(zip(scores, numbers.tolist(), strict=True), key=lambda x: (-x[0], x[1]))
    values, found = module._unpack(keys.sort(descending=True).values)
    assert list(zip(values[0].tolist(), found[0].tolist(), strict=True)) == expected
