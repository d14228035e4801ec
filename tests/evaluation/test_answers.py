import re
import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdro.evaluation.answers import _spaced, judged_by_answers
from tdro.evaluation.benchmark import Benchmark, load_benchmark
from tdro.evaluation.scores import score
from tests.evaluation import published


@pytest.fixture
def judged(tmp_path):
    """Judges one query with some answers over passages, found in their order."""

    def call(answers, *passages):
        folder = tmp_path / "nq"
        documents = [(f"d{n}", "", text) for n, text in enumerate(passages)]
        published.beir(folder, documents, [("q", "x")], test=[("q", "d0", 1)])
        corpus = load_benchmark(folder).documents
        run = {"q": {f"d{n}": 1.0 - n for n in range(len(passages))}}
        benchmark = Benchmark(
            "n", "", "external", {"q": "x"}, corpus, {}, {}, {"q": tuple(answers)}
        )
        return judged_by_answers(benchmark, run), benchmark, run

    return call


@pytest.mark.parametrize(
    ("answer", "passage", "hit"),
    [
        ("Ada Lovelace", "It was ADA lovelace.", True),
        ("Ada Lovelace", "Lovelace, Ada", False),
        ("Ada Lovelace", "Ada King Lovelace", False),
        ("art", "party", False),
        ("U.S.", "the u.s. army", True),
        ("3.5", "3 . 5", True),
        ("caf\u00e9", "cafe\u0301 au lait", True),
        ("cafe", "caf\u00e9", False),
        ("\u00e9", "\u0301", False),
        ("", "anything", False),
        (" \u200b ", "anything", False),
        ("\u6771\u4eac", "\u6771\u4eac\u90fd", False),
        ("\u6771\u4eac", "\u300c\u6771\u4eac\u300d", True),
    ],
)
def test_an_answer_is_a_run_of_tokens(judged, answer, passage, hit):
    found, _, _ = judged([answer], passage)
    assert found == ({"q": {"d0": 1}} if hit else {})


@given(st.lists(st.sampled_from(["a", "B", ".", "é", "1", "\u200b"]), max_size=6), st.data())
def test_it_is_the_plain_definition(words, data):
    """Against DPR's own way: every window of the passage's tokens is set against the answer's."""
    answer = data.draw(st.lists(st.sampled_from(["a", "b", ".", "É", "1"]), max_size=3))
    passage, wanted = " ".join(words), " ".join(answer)

    def tokens(text):
        text = unicodedata.normalize("NFD", text).lower()
        return re.findall("[a-z0-9\u0300-\u036f]+|[^\\s\u200b]", text)

    own, other = tokens(passage), tokens(wanted)
    windows = [own[at : at + len(other)] for at in range(len(own) - len(other) + 1)]
    expected = bool(other) and other in windows
    assert (bool(_spaced(wanted)) and _spaced(wanted) in _spaced(passage)) == expected


def test_accuracy_is_over_all_queries_and_by_the_first_hit(judged):
    found, benchmark, run = judged(["w"], *["no"] * 10, "a w", "w")
    assert found == {"q": {"d10": 1}}
    both = replace(benchmark, queries={"q": "x", "never": "y"}, qrels=found)
    scores = score(both, {**run, "never": {"d0": 1.0}}, ("Acc@10", "Acc@20"))
    assert scores == {"q": {"Acc@10": 0, "Acc@20": 1}, "never": {"Acc@10": 0, "Acc@20": 0}}


def test_without_any_hit_all_queries_are_missed(judged):
    found, benchmark, run = judged(["w"], "no")
    assert found == {}
    assert score(benchmark, run, ("Acc@10",)) == {"q": {"Acc@10": 0}}
