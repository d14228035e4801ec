import collections
import json

import pytest

from tdro.errors import InputError
from tdro.exports.rows import write_rows

from ..conftest import synthetic_rows
from .conftest import NASTY
from .conftest import write_rows as write_files

LAYOUTS = ["sentence-transformers", "flagembedding", "tevatron", "ms-swift"]


def read(path):
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]]


def write_task(folder, rows):
    folder.mkdir()
    (folder / "one.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def data(tmp_path):
    write_files(tmp_path / "data", {"first": 12, "second": 9})
    return tmp_path / "data"


def parts(record, layout):
    """Query, positives and negatives of a record."""
    if layout == "sentence-transformers":
        negatives = [text for key, text in record.items() if key.startswith("negative_")]
        return record["anchor"], [record["positive"]], negatives
    if layout == "flagembedding":
        return record["query"], record["pos"], record["neg"]
    if layout == "tevatron":
        lists = (record["positive_passages"], record["negative_passages"])
        return record["query"], *([item["text"] for item in one] for one in lists)
    ((query,), positives, negatives) = (
        record["messages"],
        record["positive_messages"],
        record["negative_messages"],
    )
    contents = [[message["content"] for (message,) in one] for one in (positives, negatives)]
    return query["content"], *contents


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_row_keeps_its_query_positives_and_gets_negatives(data, tmp_path, layout):
    write_rows(data, {"first": None}, tmp_path / "rows", layout)
    written = [parts(record, layout) for record in read(tmp_path / "rows" / "first.jsonl")]
    given = synthetic_rows(12, 0)
    assert [(query, positives) for query, positives, _ in written] == [
        (row["query"], row["pos"]) for row in given
    ]
    passages = {row["pos"][0] for row in given}
    for _, positives, negatives in written:
        assert negatives
        assert set(negatives) <= passages - set(positives)


def test_a_task_repeats_its_rows_evenly_in_another_order(data, tmp_path):
    write_rows(data, {"second": 23, "first": 5}, tmp_path / "rows", "flagembedding")
    queries = [row["query"] for row in read(tmp_path / "rows" / "second.jsonl")]
    assert len(queries) == 23
    assert set(collections.Counter(queries).values()) == {2, 3}
    assert queries[:9] != queries[9:18]
    assert len({row["query"] for row in read(tmp_path / "rows" / "first.jsonl")}) == 5
    write_rows(data, {"second": 23}, tmp_path / "again", "flagembedding")
    assert (tmp_path / "again" / "second.jsonl").read_bytes() == (
        tmp_path / "rows" / "second.jsonl"
    ).read_bytes()


def test_the_folder_holds_what_was_asked_for_last_and_nothing_else(data, tmp_path):
    write_rows(data, {"first": 3, "second": 3}, tmp_path / "rows", "tevatron")
    write_rows(data, {"first": 0, "second": 3}, tmp_path / "rows", "tevatron")
    assert [file.name for file in (tmp_path / "rows").iterdir()] == ["second.jsonl"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["data", "rows"]


def test_the_instruction_stands_before_each_query(task_folder, tmp_path):
    write_rows(task_folder, {"tiny": None}, tmp_path / "rows", "ms-swift")
    prompt = "Instruct: Given tiny words, retrieve the tiny line\nQuery: "
    for record in read(tmp_path / "rows" / "tiny.jsonl"):
        assert parts(record, "ms-swift")[0].startswith(prompt)


def test_nasty_names_become_files_in_the_folder(nasty):
    write_rows(nasty / "data", dict.fromkeys(NASTY), nasty / "rows", "flagembedding")
    assert sorted(len(read(file)) for file in (nasty / "rows").iterdir()) == [20, 21, 22, 23, 24]


def test_rows_of_sentence_transformers_have_equal_columns(tmp_path):
    rows = [
        {"query": "a", "pos": ["b", "c"], "neg": list("ABCDEFGH")},
        {"query": "f", "pos": ["g", "H"], "neg": ["h"]},
        {"query": "D", "pos": ["b", "c", "g", "F", "G", "H"], "neg": ["A", "B"]},
    ]
    write_task(tmp_path / "data", rows)
    for folder in ("rows", "again"):
        write_rows(tmp_path / "data", {"one": None}, tmp_path / folder, "sentence-transformers")
    written = read(tmp_path / "rows" / "one.jsonl")
    assert read(tmp_path / "again" / "one.jsonl") == written
    (_, _, most), (_, _, one), (_, _, two) = (
        parts(row, "sentence-transformers") for row in written
    )
    assert most == list("ABCDEFG")
    assert one[0] == "h"
    assert len(set(one)) == 7
    assert set(one) <= set("bcABCDEFGh")
    assert two[:2] == ["A", "B"]
    assert len(two) == 7
    assert set(two) == set("ABCEh")


def test_a_row_that_every_passage_answers_takes_no_negatives_from_others(tmp_path):
    rows = [
        {"query": "a", "pos": ["b", "c"], "neg": []},
        {"query": "d", "pos": ["b"], "neg": ["c"]},
    ]
    write_task(tmp_path / "data", rows)
    with pytest.raises(
        InputError, match=r"'one' has a row .* no negative .*-transformers needs one"
    ):
        write_rows(tmp_path / "data", {"one": None}, tmp_path / "rows", "sentence-transformers")


@pytest.mark.parametrize("layout", ["flagembedding", "tevatron"])
def test_a_row_without_any_negative_is_refused_where_one_is_needed(tmp_path, layout):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "one.jsonl").write_text('{"query": "a", "pos": ["b"], "neg": []}\n')
    with pytest.raises(InputError, match=f"'one' has a row .* no negative .*{layout} needs one"):
        write_rows(tmp_path / "data", {"one": 4}, tmp_path / "rows", layout)
    assert [file.name for file in tmp_path.iterdir()] == ["data"]
    write_rows(tmp_path / "data", {"one": 4}, tmp_path / "rows", "sentence-transformers")
    assert read(tmp_path / "rows" / "one.jsonl") == [{"anchor": "a", "positive": "b"}] * 4


def test_a_task_without_a_file_is_named(data, tmp_path):
    with pytest.raises(InputError, match="data has no file of task 'gone'"):
        write_rows(data, {"first": 1, "gone": 1}, tmp_path / "rows", "tevatron")
