"""Which passages become negatives, by any ranker and judge."""

import json
from collections import Counter

import numpy as np
import pytest

from tdro.errors import InputError
from tdro.mining import task as mining_task
from tdro.mining.near import alike, shingles
from tdro.mining.ranking import Bm25Ranker, Ranked
from tdro.mining.settings import MiningSettings
from tdro.mining.task import mine_task
from tdro.tasks.duplicates import THRESHOLD, normalise
from tdro.tasks.task import TaskSource

from ..tasks.helpers import row, write_jsonl

LONG = " ".join(f"word{number}" for number in range(100))


def mined(tmp_path, rows, ranker=None, rate=None, name="a", **options):
    """Mines a task in a fresh folder and returns its rows by query, and the report."""
    folder = tmp_path / f"work{len(list(tmp_path.iterdir()))}"
    folder.mkdir()
    source = TaskSource(name, write_jsonl(folder / "task.jsonl", rows))
    settings = MiningSettings(**options)
    work = folder / "work"
    work.mkdir()
    report = mine_task(
        source, settings, work, ranker or (lambda texts, *_: Bm25Ranker(texts)), rate, ticks
    )
    lines = (work / "rows.jsonl").read_text().splitlines()
    return {one["query"]: one["neg"] for one in map(json.loads, lines)}, report


def ticks(done, total, loss):
    assert done <= total


class Listed:
    """Finds all passages in the order of the file, with scores that fall by 0.1 from 1."""

    rows = 256

    def __init__(self, texts, *_):
        self.texts = texts

    def rank(self, first, depths):
        count = len(self.texts.passages)
        scores = (1 - 0.1 * np.arange(count)).astype(np.float32)
        return [
            Ranked(
                np.arange(count, dtype=np.int32)[:depth],
                scores[:depth],
                float(scores[self.texts.positives[row]].min()),
            )
            for row, depth in enumerate(depths.tolist(), start=first)
        ]


ROWS = [row("q0", "p0"), row("q1", "p1"), row("q2", "p2", "p3"), row("q4", "p4")]


def test_no_positive_of_a_row_with_several_is_a_negative(tmp_path):
    found, report = mined(tmp_path, ROWS, Listed, count=9)
    assert found == {
        "q0": ["p1", "p2", "p3", "p4"],
        "q1": ["p0", "p2", "p3", "p4"],
        "q2": ["p0", "p1", "p4"],
        "q4": ["p0", "p1", "p2", "p3"],
    }
    assert report.filtered["equal"] == 5
    assert report.negatives == {"min": 3, "median": 4, "max": 4}
    assert (report.found, report.shares["equal"]) == (20, 0.25)


def test_positives_of_rows_with_the_same_query_never_pass(tmp_path):
    rows = [
        row("What is BM25?", "a ranking"),
        row("What is BM25?", "a function"),
        row("what is  bm25", "a formula"),
        row("other", "a thing"),
    ]
    found, report = mined(tmp_path, rows, Listed, count=9)
    assert found["What is BM25?"] == ["a thing"]
    assert found["what is  bm25"] == ["a thing"]
    assert report.merged == 1


def test_near_equal_texts_never_pass(tmp_path):
    rows = [
        row("q", LONG),
        row("r", LONG.replace("word50", "other"), "(A.)"),
        row("s", LONG.upper() + "!", "Q?"),
        row("t", "something else", "a"),
    ]
    found, report = mined(tmp_path, rows, Listed, count=9)
    assert found["q"] == ["(A.)", "something else", "a"]
    assert found["t"] == [LONG, rows[1]["pos"][0], rows[2]["pos"][0], "Q?"]
    assert report.filtered["near_equal"] == 7 + 2
    strict, report = mined(tmp_path, rows, Listed, count=9, near=1.0)
    assert rows[1]["pos"][0] in strict["q"]
    assert rows[2]["pos"][0] not in strict["q"]


def test_what_passes_is_never_near_an_answer(tmp_path):
    """The rule, looked at from outside, on a task made of variants of few texts."""
    draw = np.random.default_rng(0)
    words = [f"w{n}" for n in range(40)]
    base = [" ".join(draw.permutation(words)) for _ in range(6)]
    rows = []
    for number in range(60):
        text = base[draw.integers(6)]
        if number % 3 == 0:
            text = text.replace(f"w{draw.integers(40)} ", "zz ")
        if number % 5 == 0:
            text = text.title().replace(" ", ", ")
        rows.append(row(f"{text.split()[0]} {number % 20}", text))
    found, report = mined(tmp_path, rows, count=20)
    answers = {}
    for one in rows:
        answers.setdefault(normalise(one["query"]), set()).update(one["pos"])
    assert report.filtered["near_equal"] > 0
    assert any(found.values())
    for query, negatives in found.items():
        for negative in negatives:
            near = [alike(shingles(negative), shingles(text)) for text in answers[normalise(query)]]
            assert max(near) < THRESHOLD


@pytest.mark.parametrize(
    ("options", "negatives", "filtered"),
    [
        ({}, ["p0", "p1", "p4"], {}),
        ({"ranks": (1, 3)}, ["p1", "p4"], {}),
        ({"ranks": (1, 2)}, ["p1"], {}),
        ({"count": 1}, ["p0"], {}),
        ({"margin": 0.0}, ["p4"], {"margin": 2}),
        ({"margin": 0.2}, [], {"margin": 3}),
        ({"relative_margin": 0.1}, ["p4"], {"margin": 2}),
        ({"relative_margin": 0.3}, [], {"margin": 3}),
        ({"max_score": 0.95}, ["p1", "p4"], {"score": 1}),
        ({"min_score": 0.65}, ["p0", "p1"], {"score": 1}),
        ({"margin": 0.0, "min_score": 0.65}, [], {"margin": 2, "score": 1}),
        ({"max_score": 0.95, "ranks": (1, 3)}, ["p4"], {"score": 1}),
    ],
)
def test_ranks_margins_and_scores(tmp_path, options, negatives, filtered):
    """The row has the positives p2 and p3, whose scores are 0.8 and 0.7."""

    class Named(Listed):
        def rank(self, first, depths):
            texts = self.texts.passages.to_pylist()
            order = np.argsort(texts)
            scores = np.array([1, 0.9, 0.8, 0.7, 0.6], np.float32)
            return [Ranked(order.astype(np.int32), scores, 0.7)]

    one = [row("q2", "p2", "p3", neg=["p0", "p1", "p4"])]
    found, report = mined(tmp_path, one, Named, **{"count": min(9, _width(options)), **options})
    assert found["q2"] == negatives
    assert {k: n for k, n in report.filtered.items() if n and k != "equal"} == filtered


def _width(options):
    first, last = options.get("ranks", (0, 100))
    return last - first


def test_a_relative_margin_below_zero_does_not_loosen(tmp_path):
    class Below(Listed):
        def rank(self, first, depths):
            scores = np.array([-0.5, -0.52, -0.6], np.float32)
            return [Ranked(np.arange(3, dtype=np.int32), scores, -0.5)]

    found, _ = mined(tmp_path, [row("q", "p", neg=["near", "far"])], Below, relative_margin=0.1)
    assert found["q"] == ["far"]


def test_given_negatives_are_replaced_or_kept_but_never_answers(tmp_path):
    rows = [
        row("q", LONG, neg=["good", LONG.title(), LONG]),
        row("r", "other", neg=["more"]),
        row("s", "third"),
    ]
    replaced, report = mined(tmp_path, rows, Listed, count=2)
    assert replaced["q"] == ["good", "other"]
    assert report.given == 0
    kept, report = mined(tmp_path, rows, Listed, count=2, append=True)
    assert kept["q"] == ["good", "other", "more"]
    assert kept["r"] == ["more", LONG, "good"]
    assert (report.given, report.given_filtered) == (3, 1)


def test_random_sampling_is_seeded_and_no_matter_of_blocks(tmp_path, monkeypatch):
    rows = [row(f"q{n}", f"p{n}") for n in range(30)]
    options = {"sampling": "random", "count": 3, "ranks": (0, 20)}
    first, _ = mined(tmp_path, rows, Listed, **options)
    assert first == mined(tmp_path, rows, Listed, **options)[0]
    assert first != mined(tmp_path, rows, Listed, seed=1, **options)[0]
    assert first != mined(tmp_path, rows, Listed, name="b", **options)[0]
    assert len({tuple(one) for one in first.values()}) > 20
    assert all(int(text[1:]) <= 20 for one in first.values() for text in one)
    monkeypatch.setattr(mining_task, "_ROWS_PER_FILE", 7)
    assert first == mined(tmp_path, rows, Listed, **options)[0]


def test_a_judge_drops_what_it_rates_above_a_positive_and_is_asked_no_more_than_needed(tmp_path):
    asked = Counter()

    def judge(pairs):
        asked.update(pairs)
        ratings = {"p0": 9, "p1": 5, "p2": 6, "p3": 5, "p4": 3}
        return np.array([ratings[passage] for _, passage in pairs], dtype=np.float32)

    found, report = mined(tmp_path, ROWS, Listed, judge, judge="fake", count=2)
    assert found == {
        "q0": ["p1", "p2"],
        "q1": ["p3", "p4"],
        "q2": ["p1", "p4"],
        "q4": [],
    }
    assert max(asked.values()) == 1
    assert ("q0", "p4") not in asked
    assert report.filtered["judge"] == 0 + 2 + 1 + 4
    assert report.judged == 2 + 4 + 3 + 4
    assert report.shares["judge"] == round(7 / 13, 6)
    assert (report.without, report.short) == (1, 0)
    found, _ = mined(tmp_path, ROWS, Listed, judge, judge="fake", count=2, judge_margin=2.0)
    assert found["q1"] == ["p4"]


def test_bm25_ranks_by_shared_words_among_all_passages(tmp_path):
    rows = [
        row("red cat", "the red cat sleeps"),
        row("dog", "a dog barks at a cat"),
        row("bird", "red is a colour"),
        row("zzz", "nothing"),
    ]
    found, report = mined(tmp_path, rows)
    assert set(found["red cat"]) == {"a dog barks at a cat", "red is a colour"}
    assert found["zzz"] == []
    assert report.without == 3
    # The positive shares no word with the query, so nothing may score higher than it.
    assert mined(tmp_path, rows, margin=0.0)[0]["red cat"] == found["red cat"]
    assert mined(tmp_path, [*rows, row("colour", "blue")], margin=0.0)[0]["colour"] == []


@pytest.mark.parametrize(
    ("layout", "form"), [("tevatron", "jsonl.gz"), ("sentence-transformers", "parquet")]
)
def test_other_layouts_hold_the_same(tmp_path, layout, form):
    from ..tasks.test_convert import read

    folder = tmp_path / "work"
    folder.mkdir()
    source = TaskSource("a", write_jsonl(tmp_path / "a.jsonl", ROWS))
    settings = MiningSettings(count=3, layout=layout, form=form)
    mine_task(source, settings, folder, Listed, None, ticks)
    assert sorted(path.name for path in folder.iterdir()) == ["mined.json", f"rows.{form}"]
    wanted, _ = mined(tmp_path, ROWS, Listed, count=3)
    found = read(TaskSource("a", folder / f"rows.{form}"))
    assert {query: negatives for query, (_, negatives) in found.items()} == wanted


def test_a_task_with_one_passage_says_so(tmp_path):
    with pytest.raises(InputError, match=r"task\.jsonl has one passage, so the task 'a'"):
        mined(tmp_path, [row("q", "p"), row("r", "p")])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"count": 0}, "--count 0 mines nothing"),
        ({"count": 11, "ranks": (0, 10)}, "--count 11 is more than the 10 candidates"),
        ({"near": 0.0}, "--near 0.0 is no similarity"),
        ({"min_score": 0.9, "max_score": 0.1}, "--min-score 0.9 is more than --max-score 0.1"),
        ({"judge_margin": 1.0}, "--judge-margin is only read with --judge"),
        ({"instructed": True}, "--instructions is only read with --model"),
    ],
)
def test_settings_without_a_meaning_say_so(options, words):
    with pytest.raises(InputError, match=words):
        MiningSettings(**options)
