"""Writing tasks in other layouts."""

import gzip
import json

import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from tdro.errors import InputError
from tdro.tasks.convert import convert
from tdro.tasks.layouts import Row
from tdro.tasks.rows import read_rows
from tdro.tasks.sources import find_sources
from tdro.tasks.task import TaskSource

from .helpers import row, source, write_jsonl

LAYOUTS = ("flagembedding", "tevatron", "sentence-transformers")
FORMATS = ("jsonl", "jsonl.gz", "parquet")
ROWS = [row("q1", "a", "b", neg=["c", "d"]), row("q2", "e", neg=["f"]), row("q3", "g")]


def merged(rows):
    """Texts by query in the order they came, each once: what a prepared task has."""
    found = {}
    for one in rows:
        assert isinstance(one, Row), one
        positives, negatives = found.setdefault(one.query, ({}, {}))
        positives.update(dict.fromkeys(one.positives))
        negatives.update(dict.fromkeys(one.negatives))
    return {query: (list(pos), list(neg)) for query, (pos, neg) in found.items()}


def read(task):
    return merged(one for _, _, one in read_rows(task))


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(
        st.builds(row, TEXTS, TEXTS, TEXTS, neg=st.lists(TEXTS, max_size=3)),
        min_size=1,
        max_size=5,
    ),
    way=st.lists(
        st.tuples(st.sampled_from(LAYOUTS), st.sampled_from(FORMATS)), min_size=1, max_size=3
    ),
    instruction=TEXTS,
)
def test_any_way_through_the_layouts_keeps_all_texts(tmp_path_factory, rows, way, instruction):
    folder = tmp_path_factory.mktemp("ways")
    write_jsonl(folder / "0.jsonl", rows)
    tasks = [TaskSource("../a task", folder / "0.jsonl", instruction.strip())]
    wanted = read(tasks[0])
    for step, (layout, form) in enumerate(way, start=1):
        convert(tasks, folder / str(step), layout, form)
        tasks = find_sources(folder / str(step))
        (task,) = tasks
        assert (task.name, task.instruction) == ("../a task", instruction.strip())
        assert read(task) == wanted


@pytest.mark.parametrize("form", FORMATS)
def test_each_layout_is_the_published_one(tmp_path, form):
    def written(layout):
        path = tmp_path / f"{layout}.{form}"
        convert([source(write_jsonl(tmp_path / "a.jsonl", ROWS), instruction="")], path, layout)
        if form == "parquet":
            return pq.read_table(path).to_pylist()
        text = gzip.decompress(path.read_bytes()) if form == "jsonl.gz" else path.read_bytes()
        return [json.loads(line) for line in text.decode().splitlines()]

    assert written("flagembedding") == ROWS
    first = written("tevatron")[0]
    assert first["query"] == "q1"
    assert [one["text"] for one in first["positive_passages"]] == ["a", "b"]
    assert set(first["negative_passages"][0]) == {"docid", "title", "text"}
    first, second, *_, last = written("sentence-transformers")
    assert first == {"anchor": "q1", "positive": "a", "negative_1": "c", "negative_2": "d"}
    assert second["positive"] == "b"
    assert {key: text for key, text in last.items() if text} == {"anchor": "q3", "positive": "g"}


def test_a_task_whose_name_is_long_in_percent_signs_has_a_file(tmp_path):
    name = "中文检索任务的训练数据集合一二"
    tasks = [source(write_jsonl(tmp_path / "a.jsonl", ROWS), one) for one in (name, f"{name}三")]
    convert(tasks, tmp_path / "out", "flagembedding", "jsonl")
    found = find_sources(tmp_path / "out")
    assert [one.name for one in found] == [name, f"{name}三"]
    assert found[0].path != found[1].path
    assert read(found[1]) == merged(one for _, _, one in read_rows(tasks[1]))


def test_sentence_transformers_can_load_what_is_written(tmp_path, monkeypatch):
    task = source(write_jsonl(tmp_path / "a.jsonl", ROWS[:2]), instruction="")
    convert([task], tmp_path / "out.parquet", "sentence-transformers")
    table = load_dataset(
        "parquet",
        data_files=str(tmp_path / "out.parquet"),
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    assert table.column_names == ["anchor", "positive", "negative_1", "negative_2"]


def test_bad_rows_are_counted_and_limits_hold(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [row("", "x"), *ROWS, row("q1", "again"), {"no": 1}])
    task = TaskSource("a", path, max_rows=2)
    (done,) = convert([task], tmp_path / "out", "flagembedding")
    assert done.rows == 3
    assert done.dropped == {"empty query": 1, "over max_rows": 1, "unknown layout": 1}
    assert list(read(find_sources(tmp_path / "out")[0])) == ["q1", "q2"]
    (done,) = convert([task], tmp_path / "fewer", "flagembedding", max_rows=1)
    assert done.rows == 2
    with pytest.raises(InputError, match=r"a\.jsonl:1: empty query"):
        convert([task], tmp_path / "strict", "flagembedding", strict=True)
    assert not (tmp_path / "strict").exists()


@pytest.mark.parametrize("target", ["out", "out.jsonl"])
def test_a_failure_leaves_nothing_and_what_is_there_stays(tmp_path, target):
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"query": "q", "pos": ["a"]}\n')[:-9])
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="broken"):
        convert([TaskSource("a", tmp_path / "a.jsonl.gz")], tmp_path / target, "tevatron")
    assert sorted(tmp_path.rglob("*")) == before
    (tmp_path / target).write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        convert([TaskSource("a", tmp_path / "a.jsonl.gz")], tmp_path / target, "tevatron")
    assert (tmp_path / target).read_text() == "mine"


def test_what_does_not_go_into_one_file(tmp_path):
    task = TaskSource("a", write_jsonl(tmp_path / "a.jsonl", ROWS))
    with pytest.raises(InputError, match="2 tasks do not go into the one file"):
        convert([task, task], tmp_path / "b.jsonl", "tevatron")
    with pytest.raises(InputError, match="has an instruction, which the file"):
        convert([source(tmp_path / "a.jsonl")], tmp_path / "b.jsonl", "tevatron")
    with pytest.raises(InputError, match="not named as a file of the format parquet"):
        convert([task], tmp_path / "b.jsonl", "tevatron", "parquet")
    for name in ("b.csv", "b.JSON", "b.json.gz"):
        with pytest.raises(InputError, match=r"that no task is read from: end its name in \.jsonl"):
            convert([task], tmp_path / name, "tevatron")
        assert not (tmp_path / name).exists()
    odd = TaskSource("o", write_jsonl(tmp_path / "odd.jsonl", [{"question": 1, "answer": 2}] * 2))
    with pytest.raises(InputError, match=r"all 2 .* line 1 .*{query: question, positive: answer}"):
        convert([odd], tmp_path / "b.jsonl", "tevatron")
    write_jsonl(tmp_path / "bad.jsonl", [row("", "a")])
    with pytest.raises(
        InputError,
        match=r"bad\.jsonl holds no usable row: its only row .* line 1 \(empty query\)",
    ):
        convert([TaskSource("a", tmp_path / "bad.jsonl")], tmp_path / "b.jsonl", "tevatron")
