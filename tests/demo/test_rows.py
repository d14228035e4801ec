from tdro.demo.rows import LONGEST_TEXT, Row, cut, sample, to_rows


def test_pairs_are_cleaned_and_repeated_queries_merged_in_order():
    pairs = [("b \n q", "two"), ("a", " one\t1 "), ("b q", "three"), ("b q", "two"), ("a", "one 1")]
    assert to_rows(pairs) == [Row("b q", ("two", "three")), Row("a", ("one 1",))]


def test_empty_texts_and_a_query_that_is_its_own_positive_go():
    assert to_rows([("", "x"), ("x", " \n"), ("Same  text", "same text"), ("a", "b")]) == [
        Row("a", ("b",))
    ]
    assert to_rows([("a b", "a\n  b")], code=True) == []


def test_code_keeps_its_lines():
    (row,) = to_rows([("q", "\ndef f():  \n\treturn 1\n\n")], code=True)
    assert row.positives == ("def f():\n        return 1",)


def test_long_texts_are_cut_at_a_word():
    assert cut("one two three", 8) == "one two"
    assert cut("one two three", 7) == "one two"
    assert cut("one two three", 5) == "one"
    assert cut("onetwo", 4) == "onet"
    (row,) = to_rows([("word " * 900, "line\n" * 900)], code=True)
    assert len(row.query) <= LONGEST_TEXT
    assert row.query.endswith("word")
    assert row.positives[0].endswith("line")


def test_a_sample_is_seeded_and_keeps_the_order():
    rows = [Row(f"{number:03}", ("p",)) for number in range(100)]
    drawn = sample(rows, 10, "0:task")
    assert len(drawn) == 10
    assert drawn == sorted(drawn, key=lambda row: row.query)
    assert drawn == sample(rows, 10, "0:task")
    assert drawn != sample(rows, 10, "1:task")
    assert sample(rows, 100, "0:task") == rows
