import ir_measures
import pyarrow.parquet as pq
import pytest

from tdro.evaluation import search
from tdro.evaluation.judge import judge
from tdro.evaluation.loaders.find import find_sources
from tdro.evaluation.loaders.source import Choice
from tests.evaluation import published


@pytest.fixture
def encoded(model, monkeypatch):
    """Counts the documents that are encoded."""
    seen = []
    plain = type(model).encode_document

    def counted(self, texts, **options):
        seen.extend(texts)
        return plain(self, texts, **options)

    monkeypatch.setattr(type(model), "encode_document", counted)
    return seen


@pytest.fixture
def load(tmp_path):
    def call(folder, *only, languages=()):
        found = find_sources([folder], Choice(languages), only)
        return [source.read(tmp_path / "corpora") for source in found]

    return call


def judged(model, benchmarks, at, **options):
    at.mkdir(exist_ok=True)
    given = {"prompts": {}, "precision": "float32", "tick": lambda *done: None, **options}
    return judge("m", model, benchmarks, at, **given)


def collection(folder):
    english = [[published.answer("entity", "w4 w5")], [published.answer("entity", "w77")]]
    published.mkqa(folder, english, languages=("en", "de", "fr"))
    published.beir(folder / "nq")
    return folder


def test_a_shared_corpus_is_encoded_once_and_in_bounded_chunks(
    model, load, encoded, tmp_path, monkeypatch
):
    monkeypatch.setattr(search, "_DOCUMENTS_PER_CHUNK", 2)
    benchmarks = load(collection(tmp_path / "c"), languages=("en", "de", "fr"))
    together = judged(model, benchmarks, tmp_path / "together")
    assert len(encoded) == 3
    alone = [judged(model, [one], tmp_path / one.name[-2:]) for one in benchmarks]
    assert together.scores.to_pylist() == [line for one in alone for line in one.scores.to_pylist()]
    assert together.tokens < sum(one.tokens for one in alone)


def test_answers_and_judgements_have_their_own_metrics(model, load, tmp_path):
    collection(tmp_path / "c" / "mkqa")
    published.beir(tmp_path / "c" / "scifact")
    scores = judged(model, load(tmp_path / "c", languages=("de",)), tmp_path / "out").scores
    metrics = ["nDCG@10", "R@100", "Acc@10", "Acc@20", "Acc@100"]
    assert scores.column_names[4:] == metrics
    (missed, hit, *_, judged_line) = sorted(
        scores.to_pylist(), key=lambda line: (line["benchmark"], line["query"])
    )
    assert [hit[name] for name in metrics] == [None, None, 1, 1, 1]
    assert [missed[name] for name in metrics] == [None, None, 0, 0, 0]
    assert judged_line["Acc@10"] is None
    assert judged_line["R@100"] == 1


def test_accuracies_that_are_asked_for_are_those(model, load, tmp_path):
    benchmarks = load(collection(tmp_path / "c"), languages=("de",))
    scores = judged(model, benchmarks, tmp_path / "o", metrics=("Acc@1", "RR@10")).scores
    assert scores.column_names[4:] == ["Acc@1"]


def test_excluded_documents_are_not_found_and_make_room(model, load, tmp_path):
    published.bright(tmp_path / "b")
    judged(model, load(tmp_path / "b"), tmp_path / "out", metrics=("R@1",))
    lines = list(ir_measures.read_trec_run(str(tmp_path / "out" / "bright%2Fbiology.trec")))
    assert [line.doc_id for line in lines if line.query_id == "0"] == ["c/2.txt"]
    assert {line.doc_id for line in lines if line.query_id == "1"} == {"a%20b/1.txt", "c/2.txt"}


def test_a_benchmark_may_be_called_scores(model, load, tmp_path):
    for name in ("scores", "other"):
        published.beir(tmp_path / "c" / name)
    found = judged(model, load(tmp_path / "c"), tmp_path / "out").scores
    assert pq.read_table(tmp_path / "out" / "scores.parquet").equals(found)
    assert set(found.column("benchmark").to_pylist()) == {"scores", "other"}
    left = {path.name for path in (tmp_path / "out").iterdir()}
    files = {f"{name}.{kind}" for name in ("scores", "other") for kind in ("trec", "qrels")}
    assert left == {"scores.parquet", "judged", *files}


def test_other_tools_score_the_written_files_alike(model, folder, load, tmp_path):
    metrics = ("nDCG@10", "R@1", "AP")
    found = judged(model, load(folder), tmp_path / "out", metrics=metrics).scores
    qrels = list(ir_measures.read_trec_qrels(str(tmp_path / "out" / "tiny.qrels")))
    assert [tuple(one)[:3] for one in qrels] == [("q2", "d1", 2), ("q1", "d2", 1), ("q1", "d3", 0)]
    run = list(ir_measures.read_trec_run(str(tmp_path / "out" / "tiny.trec")))
    measures = [ir_measures.parse_measure(name) for name in metrics]
    means = ir_measures.calc_aggregate(measures, qrels, run)
    for name, measure in zip(metrics, measures, strict=True):
        values = found.column(name).to_pylist()
        assert 0 < means[measure] == pytest.approx(sum(values) / len(values))


def test_only_what_has_changed_is_judged_again(model, load, encoded, tmp_path):
    for name in ("one", "two"):
        published.beir(tmp_path / "c" / name)
    benchmarks = load(tmp_path / "c")
    bases = {"one": "a", "two": "a"}
    first = judged(model, benchmarks, tmp_path / "out", bases=bases)
    assert len(encoded) == 6
    again = judged(model, benchmarks, tmp_path / "out", bases=bases)
    assert len(encoded) == 6
    assert again.scores.equals(first.scores)
    assert again.tokens == first.tokens
    judged(model, benchmarks, tmp_path / "out", bases={**bases, "two": "b"})
    assert len(encoded) == 9
    only = judged(model, benchmarks[:1], tmp_path / "out", bases=bases)
    assert len(encoded) == 9
    assert only.scores.num_rows == 2
    assert pq.read_table(tmp_path / "out" / "scores.parquet").num_rows == 2


def test_a_killed_call_goes_on_with_the_next_benchmark(model, load, encoded, tmp_path):
    for name in ("one", "two"):
        published.beir(tmp_path / "c" / name)
    benchmarks = load(tmp_path / "c")

    def kill(done, total, loss):
        if done > 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judged(model, benchmarks, tmp_path / "out", bases={"one": "", "two": ""}, tick=kill)
    assert len(encoded) == 6
    whole = judged(model, benchmarks, tmp_path / "out", bases={"one": "", "two": ""})
    assert len(encoded) == 9
    fresh = judged(model, benchmarks, tmp_path / "fresh")
    assert whole.scores.equals(fresh.scores)
