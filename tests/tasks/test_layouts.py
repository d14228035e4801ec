import pytest

from tdro.tasks.layouts import Problem, Reason, Row, read_row


def test_flag_embedding():
    record = {"query": " q ", "pos": ["a", "b"], "neg": ["c", ""], "pos_scores": [1, 2]}
    assert read_row(record) == Row("q", ("a", "b"), ("c",))


@pytest.mark.parametrize("extra", [{}, {"neg": None}, {"neg": []}])
def test_flag_embedding_takes_a_bare_string_and_no_negatives(extra):
    assert read_row({"query": "q", "pos": "a", **extra}) == Row("q", ("a",), ())


def test_tevatron_joins_title_and_text():
    record = {
        "query_id": "7",
        "query": "q",
        "positive_passages": [{"docid": "1", "title": "Cats", "text": "purr"}, {"text": "meow"}],
        "negative_passages": [
            {"docid": 2, "title": None, "text": "bark"},
            {"title": "", "text": ""},
        ],
    }
    assert read_row(record) == Row("q", ("Cats purr", "meow"), ("bark",))


def test_tevatron_without_negatives():
    assert read_row({"query": "q", "positive_passages": [{"title": "a", "text": ""}]}) == Row(
        "q", ("a",), ()
    )


def test_sentence_transformers_orders_negatives_by_number():
    record = {
        "anchor": "q",
        "positive": "a",
        "negative_10": "n10",
        "negative_2": "n2",
        "negative": "n0",
        "negative_3": None,
        "negative_scores": [1.0],
        "negatives": 3,
    }
    assert read_row(record) == Row("q", ("a",), ("n0", "n2", "n10"))


def test_inner_white_space_is_kept():
    code = "def f():\n    return  1"
    assert read_row({"query": "q", "pos": [f"\n{code}\n"]}) == Row("q", (code,), ())


def test_an_empty_positive_beside_a_good_one_is_left_out():
    assert read_row({"query": "q", "pos": ["", "a"]}) == Row("q", ("a",), ())


@pytest.mark.parametrize(
    ("record", "reason", "detail"),
    [
        (["query"], Reason.NOT_OBJECT, "list"),
        (None, Reason.NOT_OBJECT, "NoneType"),
        ({}, Reason.UNKNOWN_LAYOUT, "no keys"),
        (
            {"question": 1, "answer": 2},
            Reason.UNKNOWN_LAYOUT,
            "keys 'question', 'answer'; name them: columns: {query: question, positive: answer}",
        ),
        (
            {"Response": 1, "odd key: ": 2},
            Reason.UNKNOWN_LAYOUT,
            "name them: columns: {query: ..., positive: Response}",
        ),
        ({str(n): n for n in range(10)}, Reason.UNKNOWN_LAYOUT, "and 2 more"),
        ({"query": "q"}, Reason.UNKNOWN_LAYOUT, "'query'"),
        ({"query": 3, "pos": ["a"]}, Reason.WRONG_TYPE, "'query' holds int"),
        ({"query": "q", "pos": {"a": 1}}, Reason.WRONG_TYPE, "'pos' holds dict"),
        ({"query": "q", "pos": [1]}, Reason.WRONG_TYPE, "'pos' holds int"),
        ({"query": "q", "pos": ["a"], "neg": 5}, Reason.WRONG_TYPE, "'neg' holds int"),
        ({"query": "q", "positive_passages": ["a"]}, Reason.WRONG_TYPE, "not an object"),
        ({"anchor": "q", "positive": "a", "negative_1": 1}, Reason.WRONG_TYPE, "'negative_1'"),
        ({"query": " \n", "pos": ["a"]}, Reason.EMPTY_QUERY, ""),
        ({"query": None, "pos": ["a"]}, Reason.EMPTY_QUERY, ""),
        ({"query": "q", "pos": []}, Reason.NO_POSITIVE, ""),
        ({"query": "q", "positive_passages": None}, Reason.NO_POSITIVE, ""),
        ({"query": "q", "pos": [" "]}, Reason.EMPTY_POSITIVE, ""),
        ({"query": "q", "pos": ["\ud800"]}, Reason.NOT_UTF8, "surrogate"),
    ],
)
def test_problems(record, reason, detail):
    problem = read_row(record)
    assert isinstance(problem, Problem)
    assert problem.reason is reason
    assert detail in str(problem)
