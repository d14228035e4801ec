import sys

import datasets
import pytest

from tdro.errors import InputError
from tdro.evaluation.benchmark import load_benchmark
from tdro.evaluation.official import judge_officially, official_tasks
from tdro.evaluation.scores import score
from tdro.evaluation.search import search

mteb = pytest.importorskip("mteb")

ASK = "w8 w9"


@pytest.fixture
def task(folder):
    """A task of mteb that is made of a local benchmark."""
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
    from mteb.abstasks.task_metadata import TaskMetadata

    benchmark = load_benchmark(folder)

    class Tiny(AbsTaskRetrieval):
        metadata = TaskMetadata(
            name="TinyRetrieval",
            description="A tiny benchmark.",
            dataset={"path": "local/tiny", "revision": "1"},
            type="Retrieval",
            prompt={"query": ASK},
            category="t2t",
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="ndcg_at_10",
        )

        def load_data(self, **options):
            queries = {"id": list(benchmark.queries), "text": list(benchmark.queries.values())}
            corpus = {"id": benchmark.documents["id"][:], "text": benchmark.documents["text"][:]}
            data = RetrievalSplitData(
                corpus=datasets.Dataset.from_dict(corpus),
                queries=datasets.Dataset.from_dict(queries),
                relevant_docs=benchmark.qrels,
                top_ranked=None,
            )
            self.dataset = {"default": {"test": data}}
            self.data_loaded = True

    return Tiny()


@pytest.fixture
def instructed(model):
    """The model as if it had been trained with instructions."""
    kept = model.prompts
    model.prompts = {"query": "", "document": "", "medquad": "Instruct: w1\nQuery: "}
    yield model
    model.prompts = kept


def run(model, task, at, instruction=""):
    return judge_officially("tiny", "abc", model, [task], instruction=instruction, output=at)


def ours(model, folder, prompt):
    benchmark = load_benchmark(folder)
    found = score(benchmark, search(model, benchmark, prompt=prompt))
    return sum(line["nDCG@10"] for line in found.values()) / len(found)


def test_result_files_are_those_that_mtebs_own_tools_read(model, task, tmp_path, folder):
    scores = run(model, task, tmp_path / "out")
    (path,) = (tmp_path / "out" / "results").glob("*/*/TinyRetrieval.json")
    from mteb.results import TaskResult

    assert TaskResult.from_disk(path).get_score() == pytest.approx(scores["TinyRetrieval"])
    loaded = mteb.ResultCache(tmp_path / "out").load_results(tasks=[task])
    frame = loaded.to_dataframe(format="long")
    assert frame["score"].tolist() == [pytest.approx(scores["TinyRetrieval"])]
    assert frame["model_name"].tolist() == ["tiny"]
    assert scores["TinyRetrieval"] == pytest.approx(ours(model, folder, ""), abs=1e-5)


@pytest.mark.parametrize("given", ["", "w3 w4"])
def test_queries_get_our_prompt(instructed, task, tmp_path, folder, given, monkeypatch):
    seen = []
    plain = type(instructed).encode_query
    monkeypatch.setattr(
        type(instructed),
        "encode_query",
        lambda self, *a, **o: seen.append(o["prompt"]) or plain(self, *a, **o),
    )
    before = dict(instructed.prompts)
    run(instructed, task, tmp_path / "out", given)
    assert set(seen) == {f"Instruct: {given or ASK}\nQuery: "}
    assert instructed.prompts == before, "the model is left as it was"


def test_a_task_that_is_done_is_not_run_again(model, task, tmp_path, monkeypatch):
    first = run(model, task, tmp_path / "out")
    monkeypatch.setattr(type(task), "evaluate", None)
    assert run(model, task, tmp_path / "out") == first


def test_an_unknown_task_is_told():
    with pytest.raises(InputError, match=r"'Scifact' not found\. Did you mean: 'SciFact'\?"):
        official_tasks(["Scifact"])


def test_without_mteb_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mteb", None)
    with pytest.raises(InputError, match=r"pip install -e '\.\[mteb\]' in the clone"):
        official_tasks(["SciFact"])
