import gzip
import json
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tdro.encoder import TokenBatch, build_encoder
from tdro.errors import InputError
from tdro.estimate import rows
from tdro.estimate.lengths import Measure, longest_of
from tdro.estimate.rows import NotHereError, glance_at, glance_at_benchmarks
from tdro.evaluation.benchmark import write_benchmark
from tdro.prompts import query_prompt
from tdro.recipe import BenchmarkEntry
from tdro.settings import EncoderSettings
from tdro.tasks.options import RowFilter
from tdro.tasks.prepare import prepare_task
from tdro.tasks.task import HubDataset, Task, TaskSource
from tests.conftest import synthetic_rows


def written(folder, kind, content):
    path = folder / f"task{kind}"
    if kind == ".parquet":
        pq.write_table(pa.Table.from_pylist(content), path)
    else:
        text = "".join(json.dumps(row) + "\n" for row in content).encode()
        path.write_bytes(gzip.compress(text) if kind == ".jsonl.gz" else text)
    return path


@pytest.mark.parametrize("kind", [".jsonl", ".jsonl.gz", ".parquet"])
def test_a_whole_file_is_counted(tmp_path, kind):
    content = [{**row, "neg": ["other words"]} for row in synthetic_rows(40, 0)]
    found = glance_at(TaskSource("a", written(tmp_path, kind, content)))
    assert (found.rows, found.passages, found.exact) == (40, 41, True)
    assert found.negatives == 1
    assert not found.without_negatives


@pytest.mark.parametrize("kind", [".jsonl", ".jsonl.gz", ".parquet"])
def test_rows_are_told_from_the_first_ones(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(rows, "_HEAD", 2000)
    found = glance_at(TaskSource("a", written(tmp_path, kind, synthetic_rows(8000, 0))))
    assert not found.exact
    # Of a packed file some more than the rows that were asked for has been unpacked.
    assert found.rows == pytest.approx(8000, rel=0.2 if kind == ".jsonl.gz" else 0.02)
    assert found.without_negatives


def test_rows_of_one_query_count_once_and_bad_ones_not_at_all(tmp_path):
    path = tmp_path / "a.jsonl"
    row = json.dumps({"query": "a", "pos": ["b"], "neg": []})
    path.write_text(f"{row}\n{row}\nnot json\n")
    found = glance_at(TaskSource("a", path))
    assert (found.rows, found.dropped, found.passages) == (1, 1, 1)


def test_a_file_without_usable_rows_is_told(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("not json\n")
    with pytest.raises(InputError, match=r"first 1 rows of .*a\.jsonl"):
        glance_at(TaskSource("a", path))


def test_a_prepared_task_is_not_read_again(tmp_path):
    source = TaskSource("a", written(tmp_path, ".jsonl", synthetic_rows(50, 0)), "Find it")
    (tmp_path / "prepared").mkdir()
    prepare_task(source, tmp_path / "prepared")
    source.path.write_text("broken")
    found = glance_at(source, tmp_path / "prepared")
    task = Task.open(tmp_path / "prepared")
    assert (found.rows, found.passages, found.exact) == (50, len(task.passages), True)
    assert found.instruction == "Find it"
    assert found.limited(20).rows == 20


def test_shards_are_told_from_the_first_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "_HEAD", 300)
    content = synthetic_rows(900, 0)
    for place in range(3):
        folder = tmp_path / "shards"
        folder.mkdir(exist_ok=True)
        part = written(tmp_path, ".jsonl", content[300 * place : 300 * (place + 1)])
        part.rename(folder / f"{place}.jsonl")
    found = glance_at(TaskSource("a", tmp_path / "shards"))
    assert not found.exact
    assert found.rows == pytest.approx(900, rel=0.02)


def test_rows_of_an_archive_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "_HEAD", 50)
    path = written(tmp_path, ".jsonl", synthetic_rows(200, 0))
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(path, "a.jsonl")
    assert glance_at(TaskSource("a", tmp_path / "a.tar")).rows == 200


def test_a_dataset_of_the_hub_is_not_fetched():
    with pytest.raises(NotHereError, match="org/name"):
        glance_at(TaskSource("a", None, hub=HubDataset("org/name")))


def test_what_a_filter_leaves_out_is_not_bad(tmp_path):
    path = written(tmp_path, ".jsonl", synthetic_rows(20, 0))
    wanted = RowFilter(max_query_words=2)
    with pytest.raises(InputError, match="None of the first 20 rows"):
        glance_at(TaskSource("a", path, filter=wanted))
    assert glance_at(TaskSource("a", path, filter=RowFilter(max_query_words=9))).dropped == 0
    assert glance_at(TaskSource("a", path, max_rows=5)).rows == 5


def test_a_benchmark_is_counted_without_mapping_its_corpus(tmp_path):
    write_benchmark(
        tmp_path / "outside",
        name="outside",
        instruction="",
        group="external",
        queries=[("q1", "one two")],
        documents=[("d1", "one two"), ("d2", "three")],
        qrels=[("q1", "d1", 1)],
    )
    before = sorted(tmp_path.rglob("*"))
    (found,) = glance_at_benchmarks(BenchmarkEntry(path=tmp_path / "outside"))
    assert (found.documents, list(found.queries), found.exact) == (2, ["one two"], True)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("kind", ["transformer", "static"])
def test_lengths_are_those_that_the_model_sees(tiny_llm, tmp_path, kind):
    settings = EncoderSettings(
        name_or_path=str(tiny_llm), kind=kind, max_query_length=20, max_passage_length=12
    )
    source = TaskSource("a", written(tmp_path, ".jsonl", synthetic_rows(30, 0)), "Find it")
    glance = glance_at(source)
    measured = Measure(settings).task(glance)
    prompt = query_prompt("Find it") if settings.instructed else ""
    batch = TokenBatch(
        build_encoder(settings), [prompt + text for text in glance.queries], glance.positives
    )
    assert Measure(settings).exact
    np.testing.assert_array_equal(measured.queries, batch.lengths[:30])
    np.testing.assert_array_equal(measured.positives, batch.lengths[30:])


def test_words_are_counted_where_there_is_no_tokenizer():
    measure = Measure(EncoderSettings(name_or_path="nobody/nothing", max_query_length=6))
    assert not measure.exact
    assert measure.texts(["one two", "a b c d e f g"], query=True).tolist() == [4, 6]


def test_the_longest_of_some_draws_is_the_mean_over_all_draws():
    lengths = np.array([1, 5, 9])
    every = [max(a, b) for a in lengths for b in lengths]
    assert longest_of(lengths, 2) == pytest.approx(np.mean(every))
    assert longest_of(lengths, 1) == pytest.approx(5)
    assert longest_of(lengths, 1000) == pytest.approx(9)
