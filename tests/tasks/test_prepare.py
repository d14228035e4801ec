import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tdro.errors import InputError
from tdro.tasks.prepare import prepare_task
from tdro.tasks.task import Task

from .helpers import row, source, write_jsonl


def _prepare(tmp_path, records, name="t", **options):
    """Returns the report and, for each row, its query, positives and negatives as texts."""
    path = write_jsonl(tmp_path / f"{name}.jsonl", records)
    directory = tmp_path / name
    directory.mkdir()
    report = prepare_task(source(path), directory, **options)
    return report, _texts(Task.open(directory))


def _texts(task):
    passages = task.passages["text"][:]
    return [
        (query, [passages[n] for n in one["positives"]], [passages[n] for n in one["negatives"]])
        for query, one in zip(task.queries["text"], task.rows, strict=True)
    ]


def _content(directory):
    return Task.open(directory).content


def test_texts_come_back_and_details_are_kept(tmp_path):
    records = [row("q1", "é\n  x", "b", neg=["c"]), row("q2", "b", neg=["é\n  x"])]
    report, rows = _prepare(tmp_path, records)
    assert rows == [("q1", ["é\n  x", "b"], ["c"]), ("q2", ["b"], ["é\n  x"])]
    task = Task.open(tmp_path / "t")
    assert (task.name, task.instruction, len(task)) == ("cats", "Find the cat", 2)
    assert task.rows.features["positives"].feature.dtype == "int32"
    details = json.loads((tmp_path / "t" / "task.json").read_text())
    assert details["report"] == json.loads(json.dumps(asdict(report)))
    assert (report.passages, report.shared_positives, report.negatives_given) == (3, 2, 2)


def test_equal_queries_are_merged(tmp_path):
    records = [
        row("q", "a", neg=["n", "b"]),
        row("other", "x", neg=["n"]),
        row(" q ", "b", "a", neg=["m", "n"]),
    ]
    report, rows = _prepare(tmp_path, records)
    assert rows == [("q", ["a", "b"], ["n", "m"]), ("other", ["x"], ["n"])]
    assert (report.rows_read, report.rows, report.merged) == (3, 2, 1)
    assert report.negatives_removed == 1


def test_a_negative_equal_to_positive_or_query_is_removed(tmp_path):
    report, rows = _prepare(tmp_path, [row("q", "a", neg=["a ", "q", "b"])])
    assert rows == [("q", ["a"], ["b"])]
    assert report.negatives_removed == 2


def test_rows_without_negatives_get_mined_ones(tmp_path):
    records = [row(f"cat {n}", f"a cat called {n}") for n in range(30)]
    records.append(row("dog", "a dog", neg=["a cat"]))
    report, rows = _prepare(tmp_path, records, negatives=4)
    assert (report.negatives_given, report.negatives_mined, report.short_of_negatives) == (1, 30, 0)
    assert rows[-1][2] == ["a cat"]
    for _, positives, negatives in rows[:-1]:
        assert len(set(negatives)) == 4
        assert not set(positives) & set(negatives)


def test_a_mined_negative_never_equals_the_query(tmp_path):
    records = [row("how old is it", "what is its age"), row("what is its age", "how old is it")]
    report, rows = _prepare(tmp_path, records)
    assert [negatives for _, _, negatives in rows] == [[], []]
    assert report.short_of_negatives == 2


def test_a_mined_negative_answers_no_query_that_is_written_otherwise(tmp_path):
    records = [
        row("Who drew the blue cat?", "the blue cat was drawn by Ada"),
        row("who drew the blue cat", "Bob drew the blue cat"),
        row("Is the cat blue?", "the cat is green", neg=["no"]),
        row("Who drew  the blue cat", "who drew the blue cat"),
    ]
    _, rows = _prepare(tmp_path, records)
    for number in (0, 1, 3):
        assert sorted(rows[number][2]) == ["no", "the cat is green"]


def test_the_passage_that_is_the_query_is_known_unless_it_is_a_positive(tmp_path):
    pairs = [row("one", "two"), row("two", "one"), row("same", "same", "six"), row("four", "five")]
    _prepare(tmp_path, pairs, negatives=0)
    task = Task.open(tmp_path / "t")
    passages = task.passages["text"][:]
    assert [n if n < 0 else passages[n] for n in task.own] == ["one", "two", -1, -1]
    assert [sorted(passages[n] for n in task.answers(line)) for line in range(4)] == [
        ["one", "two"],
        ["one", "two"],
        ["same", "six"],
        ["five"],
    ]


def test_rows_that_ask_the_same_are_told(tmp_path):
    records = [row("Who?", "a"), row("what", "b"), row("who", "c"), row("who...", "d")]
    _prepare(tmp_path, records)
    assert Task.open(tmp_path / "t").first_alike.tolist() == [0, 1, 0, 0]


def test_a_task_of_queries_that_are_no_passages_nor_alike_is_the_one_of_earlier_versions(tmp_path):
    _prepare(tmp_path, [row("q1", "a", "b", neg=["c"]), row("q2", "d", neg=["a"])])
    assert _content(tmp_path / "t") == "45acf1da4c9f213b"


@pytest.mark.parametrize(
    ("query", "positive", "earlier"),
    [("q2", "q1", "42444bcb9664d4e6"), ("Q1", "b", "31ecc75e2bd799a9")],
)
def test_a_task_that_is_trained_on_otherwise_now_is_another_one(tmp_path, query, positive, earlier):
    _prepare(tmp_path, [row("q1", "a", neg=["c"]), row(query, positive, neg=["c"])])
    assert _content(tmp_path / "t") != earlier


def test_a_task_of_an_earlier_version_is_told_when_its_rows_are_asked_for(tmp_path):
    _prepare(tmp_path, [row("q1", "a", neg=["c"])])
    place = tmp_path / "t" / "rows.arrow"
    table = pa.ipc.open_stream(place.read_bytes()).read_all().select(["positives", "negatives"])
    with pa.OSFile(str(place), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    task = Task.open(tmp_path / "t")
    assert len(task) == 1
    with pytest.raises(InputError, match="by an earlier version: prepare it anew"):
        task.answers(0)


def test_no_mining_when_none_are_wanted(tmp_path):
    report, rows = _prepare(tmp_path, [row("q", "a"), row("r", "b")], negatives=0)
    assert [one[2] for one in rows] == [[], []]
    assert (report.negatives_mined, report.short_of_negatives) == (0, 2)


def test_max_rows_keeps_the_first_and_still_merges_into_them(tmp_path):
    records = [row("q1", "a"), row("q2", "b"), row("q3", "c"), row("q1", "d")]
    report, rows = _prepare(tmp_path, records, max_rows=2)
    assert [(query, positives) for query, positives, _ in rows] == [
        ("q1", ["a", "d"]),
        ("q2", ["b"]),
    ]
    assert (report.over_limit, report.merged, report.passages) == (1, 1, 3)


def test_bad_rows_are_dropped_and_named_by_line(tmp_path):
    records = [row("q1", "a"), {"x": 1}, row("", "b"), *[row("q", "")] * 12, row("q2", "b")]
    report, rows = _prepare(tmp_path, records)
    assert len(rows) == 2
    assert report.dropped == {"unknown layout": 1, "empty query": 1, "empty positive": 12}
    assert len(report.problems) == 10
    assert str(report.problems[0]) == (
        f"{tmp_path / 't.jsonl'}:2: unknown layout (keys 'x'; name them: columns: "
        "{query: ..., positive: ...})"
    )
    assert report.rows_read == report.rows + sum(report.dropped.values())


def test_no_usable_row(tmp_path):
    with pytest.raises(InputError, match=r"no usable row: all 2 .* line 1 \(unknown layout"):
        _prepare(tmp_path, [{"x": 1}, row("", "b")])
    with pytest.raises(InputError, match=r"its only row was dropped, in line 1 \(empty query\)"):
        _prepare(tmp_path, [row("", "b")], "one")


def test_words_are_counted(tmp_path):
    report, _ = _prepare(tmp_path, [row("one", "a b c"), row("one two three", "a")])
    assert (report.query_words.mean, report.query_words.max) == (2.0, 3)
    assert (report.passage_words.mean, report.passage_words.max) == (2.0, 3)


def test_every_file_kind_and_layout_gives_the_same_content(tmp_path):
    flag = [row(f"question {n}", f"answer {n}", neg=[f"wrong {n}"]) for n in range(1200)]
    tevatron = [
        {
            "query": one["query"],
            "positive_passages": [{"title": "answer", "text": one["pos"][0].split()[1]}],
            "negative_passages": [{"text": one["neg"][0]}],
        }
        for one in flag
    ]
    triplets = [
        {"anchor": one["query"], "positive": one["pos"][0], "negative": one["neg"][0]}
        for one in flag
    ]
    contents = set()
    for layout, records in (("f", flag), ("t", tevatron), ("s", triplets)):
        for suffix in (".jsonl", ".jsonl.gz", ".parquet"):
            path = tmp_path / f"{layout}{suffix}"
            if suffix == ".parquet":
                pq.write_table(pa.Table.from_pylist(records), path)
            else:
                write_jsonl(path, records)
            directory = tmp_path / f"{layout}{suffix}.d"
            directory.mkdir()
            prepare_task(source(path), directory)
            contents.add(_content(directory))
    assert len(contents) == 1


def test_content_follows_texts_numbers_and_seed_but_not_the_name(tmp_path):
    records = [row(f"q{n}", f"passage {n}") for n in range(40)]
    _prepare(tmp_path, records, "a")
    _prepare(tmp_path, records, "b")
    _prepare(tmp_path, [*records[:-1], row("q39", "passage 39!")], "text")
    _prepare(tmp_path, records, "seed", seed=1)
    (tmp_path / "named").mkdir()
    prepare_task(source(tmp_path / "a.jsonl", "dogs", "Find the dog"), tmp_path / "named")
    same = {_content(tmp_path / name) for name in ("a", "b", "named")}
    assert len(same) == 1
    assert not same & {_content(tmp_path / name) for name in ("text", "seed")}


words = st.sampled_from(["cat", "dog", "cat dog", "the cat", " cat", "猫", "", "a\nb", "x", "y z"])
records = st.lists(
    st.builds(
        lambda query, positives, negatives: row(query, *positives, neg=negatives),
        words,
        st.lists(words, max_size=4),
        st.lists(words, max_size=4),
    ),
    min_size=1,
    max_size=15,
)


@settings(max_examples=60, deadline=None)
@given(records)
def test_invariants(records):
    with tempfile.TemporaryDirectory() as folder:
        good = row("always here", "an answer")
        report, rows = _prepare(Path(folder), [*records, good], negatives=3)
        task = Task.open(Path(folder) / "t")
        numbers = [(one["positives"], one["negatives"]) for one in task.rows]
        passages = task.passages["text"][:]
    assert len(set(passages)) == len(passages) == report.passages
    assert len({query for query, _, _ in rows}) == len(rows) == report.rows
    for positives, negatives in numbers:
        assert positives
        assert len(set(positives) | set(negatives)) == len(positives) + len(negatives)
    for query, positives, negatives in rows:
        assert not {query, *positives} & set(negatives)
        assert set(positives) == _positives(records, query) or query == "always here"
    read = report.rows + report.merged + report.over_limit + sum(report.dropped.values())
    assert read == report.rows_read == len(records) + 1


def _positives(records, query):
    same = [one for one in records if one["query"].strip() == query]
    return {text.strip() for one in same for text in one["pos"] if text.strip()}


def test_torch_is_not_imported():
    code = (
        "import sys, tdro.tasks.prepare, tdro.tasks.check; "
        "sys.exit('torch' in sys.modules or 'bm25s' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
