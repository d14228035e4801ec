"""What is said of how a task is read: columns, filters and scores."""

import json
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from tdro.errors import InputError
from tdro.tasks.entry import TaskEntry
from tdro.tasks.layouts import Reason, Row
from tdro.tasks.rows import read_rows
from tdro.tasks.scan import scan

from .helpers import write_jsonl


def source_of(path, **options):
    return TaskEntry.model_validate({"name": "task", "path": path, **options}).source()


@pytest.fixture
def read(tmp_path):
    """Writes records and returns the rows and problems they are read as."""

    def read_all(*records, left_out=None, **options):
        path = write_jsonl(tmp_path / "a.jsonl", records)
        return [one for _, _, one in read_rows(source_of(path, **options), left_out)]

    return read_all


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        # The layouts of sentence-transformers/embedding-training-data.
        (["q", "p"], Row("q", ("p",), ())),
        (["q", "p", "n"], Row("q", ("p",), ("n",))),
        ({"set": ["q", "p1", "p2"]}, Row("q", ("p1", "p2"), ())),
        ({"query": "q", "pos": ["p1", "p2"]}, Row("q", ("p1", "p2"), ())),
        ({"query": "q", "pos": ["p"], "neg": ["n"]}, Row("q", ("p",), ("n",))),
    ],
)
def test_lines_of_embedding_training_data(read, line, wanted):
    assert read(line) == [wanted]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["q"], "not an object (found list of 1)"),
        (["q", ["p"]], "'item 2' holds list, not text"),
        (["", "p"], "empty query"),
        ({"set": ["only one"]}, "no positive"),
        ({"set": "text"}, "no positive"),
    ],
)
def test_bad_lines_of_embedding_training_data(read, line, words):
    (problem,) = read(line)
    assert words in str(problem)


def test_columns_are_mapped_and_titles_joined(read):
    record = {
        "question": "q",
        "answer": "a",
        "heading": "Title",
        "wrong1": "w1",
        "wrong2": ["w2", "w3"],
        "pos": ["not read"],
        "query": "not read",
    }
    columns = {
        "query": "question",
        "positive": "answer",
        "title": "heading",
        "negative": ["wrong1", "wrong2"],
    }
    assert read(record, columns=columns) == [Row("q", ("Title a",), ("w1", "w2", "w3"))]


def test_mapped_columns_may_hold_passages_with_titles(read):
    # The layout of DPR.
    record = {
        "question": "q",
        "positive_ctxs": [{"title": "T", "text": "a"}, {"title": "", "text": "b"}],
        "hard_negative_ctxs": [{"title": "N", "text": "n"}],
    }
    columns = {
        "query": "question",
        "positive": "positive_ctxs",
        "negative": "hard_negative_ctxs",
    }
    assert read(record, columns=columns) == [Row("q", ("T a", "b"), ("N n",))]


def test_a_title_for_each_positive(read):
    columns = {"query": "q", "positive": "p", "title": "t"}
    rows = read(
        {"q": "x", "p": ["a", "b"], "t": ["A", None]},
        {"q": "x", "p": ["a", "b"], "t": "A"},
        columns=columns,
    )
    assert rows[0] == Row("x", ("A a", "b"), ())
    assert "'t' holds 1 titles for 2 positives" in str(rows[1])


def test_a_column_that_is_not_there_names_file_line_columns_and_the_nearest(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"question": ["q"], "answer": ["a"], "wrong": ["w"]}), path)
    with pytest.raises(InputError) as told:
        scan(source_of(path, columns={"query": "qestion", "positive": "answer"}))
    assert str(told.value) == (
        f"{path}:1: there is no column 'qestion'; there are 'answer', 'question', 'wrong'; "
        "the nearest is 'question'."
    )
    with pytest.raises(InputError, match=r"a\.parquet: .*'wrng'.*nearest is 'wrong'"):
        scan(
            source_of(path, columns={"query": "question", "positive": "answer", "negative": "wrng"})
        )
    with pytest.raises(InputError, match=r"'lang'"):
        scan(source_of(path, filter={"where": {"lang": "en"}}))


def test_a_key_that_a_later_line_lacks_is_a_fault_of_that_line(read):
    columns = {"query": "q", "positive": "p", "negative": "n"}
    rows = read({"q": "x", "p": "a"}, {"q": "y"}, {"q": "z", "p": "b", "n": "c"}, columns=columns)
    assert rows[0] == Row("x", ("a",), ())
    assert str(rows[1]) == "missing column ('p')"
    assert rows[2] == Row("z", ("b",), ("c",))


def test_a_list_has_no_columns(read):
    (problem,) = read(["q", "p"], columns={"query": "q", "positive": "p"})
    assert "found list, without columns" in str(problem)


def test_where_keeps_equal_values_and_counts_the_others(tmp_path):
    records = [
        {"query": f"q{n}", "pos": ["p"], "lang": lang, "ok": n % 2 == 0}
        for n, lang in enumerate(["en", "de", "fr", None, "en"])
    ]
    path = write_jsonl(tmp_path / "a.jsonl", records)
    report = scan(source_of(path, filter={"where": {"lang": ["en", "fr"], "ok": True}})).report
    assert (report.rows, report.dropped) == (3, {"not in where": 2})
    assert report.problems == ()


def test_words_out_of_bounds_are_left_out_and_counted(tmp_path):
    records = [
        {"query": "one two", "pos": ["a b", "a b c d"], "neg": ["a", "a b c"]},
        {"query": "one", "pos": ["a b"]},
        {"query": "one two three four", "pos": ["a b"]},
        {"query": "other two", "pos": ["a"]},
    ]
    path = write_jsonl(tmp_path / "a.jsonl", records)
    bounds = {
        "min_query_words": 2,
        "max_query_words": 3,
        "min_passage_words": 2,
        "max_passage_words": 3,
    }
    report = scan(source_of(path, filter=bounds)).report
    assert report.rows == 1
    assert report.dropped == {
        "query too short": 1,
        "query too long": 1,
        "passage too short": 1,
    }
    assert report.left_out == {"passage too long": 1, "passage too short": 1}
    assert report.passages == 2


def test_a_filter_that_leaves_nothing_says_so(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"query": "q", "pos": ["a"]}] * 3)
    with pytest.raises(InputError, match=r"a\.jsonl: the filter leaves no row: all 3.*too short"):
        scan(source_of(path, filter={"min_query_words": 2}))


def test_the_lower_of_two_limits_holds(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"query": f"q{n}", "pos": ["a"]} for n in range(9)])
    assert scan(source_of(path, max_rows=5)).report.rows == 5
    assert scan(source_of(path, max_rows=5), max_rows=3).report.rows == 3
    assert scan(source_of(path, max_rows=3), max_rows=5).report.over_limit == 6


FLAG = {
    "query": "q",
    "pos": ["good", "poor"],
    "neg": ["far", "near"],
    "pos_scores": [0.9, 0.3],
    "neg_scores": [0.1, 0.88],
}


def test_scores_of_flagembedding(read):
    left_out = Counter()
    wanted = {"min_positive_score": 0.5, "max_negative_ratio": 0.95}
    assert read(FLAG, filter=wanted, left_out=left_out) == [Row("q", ("good",), ("far",))]
    assert left_out == {"positive scored too low": 1, "negative scored too high": 1}
    assert read(FLAG) == [Row("q", ("good", "poor"), ("far", "near"))]
    # The lowest positive that is kept decides: 0.95 of 0.3 leaves 0.1 in.
    assert read(FLAG, filter={"max_negative_ratio": 0.95})[0].negatives == ("far",)


def test_scores_of_passages_in_tevatrons_layout(read):
    def passages(**scores):
        return [
            {"docid": text, "title": "", "text": text, "ce_score": s} for text, s in scores.items()
        ]

    record = {
        "query": "q",
        "positive_passages": passages(a=8.0),
        "negative_passages": passages(b=7.9, c=1.0),
    }
    assert read(record, filter={"max_negative_ratio": 0.5}) == [Row("q", ("a",), ("c",))]


@pytest.mark.parametrize("key", ["score", "label"])
def test_sentence_pairs_are_positives_by_their_score(read, key):
    records = [{"sentence1": "q", "sentence2": f"p{n}", key: n / 4} for n in range(5)]
    rows = read(*records, filter={"min_positive_score": 0.75})
    assert [one for one in rows if isinstance(one, Row)] == [
        Row("q", ("p3",), ()),
        Row("q", ("p4",), ()),
    ]
    assert {one.reason for one in rows[:3]} == {Reason.LOW_SCORE}
    assert all("min_positive_score" in str(one) for one in read(*records))


def test_a_pair_without_a_score_is_a_positive(read):
    assert read({"sentence1": "q", "sentence2": "p"}) == [Row("q", ("p",), ())]


def test_what_mine_hard_negatives_writes(read):
    wanted = {"min_positive_score": 0.5}
    listed = {"anchor": "q", "positive": ["p", "n1", "n2"], "labels": [1, 0, 0]}
    assert read(listed, filter=wanted) == [Row("q", ("p",), ("n1", "n2"))]
    assert read(listed)[0].reason is Reason.UNREAD_SCORE
    pairs = [
        {"anchor": "q", "positive": "p", "label": 1},
        {"anchor": "q", "positive": "n", "label": 0},
    ]
    assert read(*pairs, filter=wanted)[0] == Row("q", ("p",), ())
    assert read(*pairs, filter=wanted)[1].reason is Reason.LOW_SCORE
    tuples = {
        "anchor": "q",
        "positive": "p",
        "negative_1": "near",
        "negative_2": "far",
        "scores": [0.8, 0.79, 0.2],
    }
    assert read(tuples, filter={"max_negative_ratio": 0.95}) == [Row("q", ("p",), ("far",))]
    assert read(tuples) == [Row("q", ("p",), ("near", "far"))]


def test_graded_passages_under_other_names(read):
    record = {"q": "x", "docs": ["a", "b", "c"], "grades": [3, 0, 1]}
    columns = {"query": "q", "passages": "docs", "score": "grades"}
    assert read(record, columns=columns, filter={"min_positive_score": 2}) == [
        Row("x", ("a",), ("b", "c"))
    ]


def test_scores_under_other_names(read):
    columns = {"query": "q", "positive": "p", "negative": "n", "score": "s"}
    record = {"q": "x", "p": "a", "n": ["b", "c"], "s": [1.0, 0.99, 0.2]}
    wanted = {"max_negative_ratio": 0.9}
    assert read(record, columns=columns, filter=wanted) == [Row("x", ("a",), ("c",))]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pos_scores": [0.9]}, "scores do not fit ('pos_scores' holds 1 scores for 2 passages)"),
        ({"neg_scores": [1, 2, 3]}, "'neg_scores' holds 3 scores for 2 passages"),
        ({"pos_scores": None}, "no score (no key 'pos_scores')"),
        ({"neg_scores": None}, "no score (the negatives have none)"),
        ({"pos_scores": [0.9, "high"]}, "wrong type ('pos_scores' holds str, not a number)"),
        ({"pos_scores": [0.9, 10**400]}, "'pos_scores' holds a number beyond any use"),
        ({"pos_scores": 0.9}, "'pos_scores' holds float, not a list"),
        ({"pos_scores": [-1.0, -2.0]}, "needs positives scored above 0, not -2"),
    ],
)
def test_bad_scores_are_told_with_their_line(tmp_path, change, words):
    path = write_jsonl(tmp_path / "a.jsonl", [FLAG, {**FLAG, **change}])
    report = scan(source_of(path, filter={"max_negative_ratio": 2.0})).report
    (problem,) = report.problems
    assert (problem.file, problem.line) == (str(path), 2)
    assert words in problem.reason


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"columns": {"query": "q"}}, "column of the positive"),
        ({"columns": {"query": "q", "passages": "d"}}, "needs the column 'score'"),
        ({"columns": {"query": "q", "positive": "p", "passages": "d"}}, "instead of"),
        ({"columns": {"query": "q", "passages": "d", "score": "s"}}, "min_positive_score"),
        ({"columns": {"query": "q", "positive": "p", "score": "s"}}, "only read with"),
        (
            {"columns": {"query": "q", "positive": "p"}, "filter": {"max_negative_ratio": 1}},
            "'columns.score' is missing",
        ),
        ({"filter": {"min_query_words": 3, "max_query_words": 2}}, "more than max_query_words"),
        ({"filter": {"where": {"a": {"b": 1}}}}, "give a value or list"),
        ({"filter": {"where": {"lang": ["en", False]}}}, "such as 'no', .* in quotes"),
        ({"filter": {"languages": ["en"]}}, "languages"),
        ({"path": "a", "dataset": "org/b"}, "both given"),
        ({"path": None}, "give a 'path'"),
        ({"path": None, "dataset": "../data"}, "a folder is given as 'path'"),
        ({"path": None, "dataset": "/data"}, "a folder is given as 'path'"),
        ({"config": "en"}, "'config' is only read with 'dataset'"),
        ({"revision": "x"}, "'revision' is only read with 'dataset'"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, words):
    with pytest.raises(ValidationError, match=words):
        source_of(**{"path": "a.jsonl", **options})


def test_an_entry_writes_what_is_set_only():
    entry = {"name": "a", "dataset": "org/b", "instruction": "", "filter": {"where": {"x": [1, 2]}}}
    found = TaskEntry.model_validate(entry)
    assert found.model_dump(mode="json") == entry
    assert TaskEntry.model_validate(json.loads(json.dumps(found.model_dump(mode="json")))) == found
