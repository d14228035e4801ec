"""Hold-outs of tasks whose queries are passages, too."""

import json

import numpy as np
import pytest

from tdro.evaluation.benchmark import load_benchmark
from tdro.evaluation.development import DevelopmentSet
from tdro.evaluation.holdout import write_holdout
from tdro.evaluation.loaders.find import find_sources
from tdro.evaluation.scores import score
from tdro.evaluation.search import search
from tdro.tasks.prepare import prepare_tasks
from tdro.tasks.training import TrainingTask, hold_out


@pytest.fixture
def written(tmp_path):
    """Writes the hold-out of rows, all of them held out unless told otherwise."""

    def write(rows, held=None, passages=100):
        lines = "".join(
            json.dumps({"query": q, "pos": pos, "neg": neg}) + "\n" for q, pos, neg in rows
        )
        (tmp_path / "task.jsonl").write_text(lines)
        (task,) = prepare_tasks(tmp_path / "task.jsonl", tmp_path / "prepared")
        every = np.arange(len(task))
        source = TrainingTask(task, every[:0], every) if held is None else hold_out(task, held, 0)
        write_holdout(source, tmp_path / "held", passages=passages, seed=0)
        return tmp_path / "held"

    return write


# The two ways to say the same have the same embedding: the best that any model can do.
PAIRS = [(f"w{n} w{n + 1}", f"w{n + 1} w{n}") for n in range(0, 40, 2)]
PARAPHRASES = [(query, [other], []) for pair in PAIRS for query, other in (pair, pair[::-1])]


def test_a_perfect_retriever_is_perfect_on_paraphrases(written, model):
    folder = written(PARAPHRASES, held=8)
    benchmark = load_benchmark(folder)
    assert len(benchmark.queries) == 8
    assert len(benchmark.documents) == 40
    found = score(benchmark, search(model, benchmark))
    assert {one["nDCG@10"] for one in found.values()} == {1.0}
    small = DevelopmentSet(model, [benchmark], {}, chunk_tokens=512, precision="float32")
    assert small.score(model) == 1.0


def test_a_folder_of_a_holdout_says_itself_what_is_not_found(written):
    (source,) = find_sources([written(PARAPHRASES, held=8)])
    benchmark = source.read(None)
    assert benchmark.excluded == {query: {query} for query in benchmark.queries}


def test_a_query_that_is_the_positive_of_another_is_found_there_alone(written):
    benchmark = load_benchmark(written([("one", ["two"], []), ("two", ["one", "six"], [])]))
    texts = dict(zip(*(benchmark.documents[key][:] for key in ("id", "text")), strict=True))
    ids = {text: name for name, text in benchmark.queries.items()}
    assert {texts[name] for name in benchmark.qrels[ids["two"]]} == {"one", "six"}
    for query in ("one", "two"):
        assert [texts[name] for name in benchmark.excluded[ids[query]]] == [query]


def test_a_query_that_is_its_own_positive_is_found(written):
    benchmark = load_benchmark(written([("one", ["one"], ["x"]), ("two", ["three"], [])]))
    assert benchmark.excluded == {}
    assert set(benchmark.qrels["q0"]) <= set(benchmark.documents["id"][:])


def test_a_holdout_without_queries_among_its_passages_has_nothing_more_to_say(written):
    folder = written([("one", ["two"], []), ("three", ["four"], [])])
    assert set(json.loads((folder / "benchmark.json").read_text())) == {
        "name",
        "instruction",
        "group",
    }
    assert load_benchmark(folder).documents["id"][:] == ["d0", "d1"]
