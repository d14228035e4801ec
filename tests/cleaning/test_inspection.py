"""What is seen of tasks before they are mixed, and the page of it."""

import dataclasses
import json
import math
from html import unescape

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdro.cleaning.difficulty import difficulty
from tdro.cleaning.inspection import Pair, inspect
from tdro.cleaning.languages import languages
from tdro.errors import InputError
from tdro.report.inspection import headline, render
from tdro.tasks.prepare import prepare_tasks
from tdro.tasks.sources import find_sources
from tests.conftest import WORDS
from tests.tasks.helpers import row, source, write_jsonl

HOSTILE = "</script><script>alert(1)</script>"


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "data"
    place.mkdir()
    big = [row(f"Query {n} of many?", f"passage {n} of many", neg=["other"]) for n in range(20)]
    small = [row(f"query {n} of many", f"passage {n}") for n in range(3)]
    write_jsonl(place / "big.jsonl", [*big, row("query 1 of MANY", "more"), row("", "x")])
    write_jsonl(place / "small.jsonl", [*small, small[0]])
    return place


def seen(folder, **options):
    return inspect(find_sources(folder), **options)


def one_task(tmp_path, rows):
    place = tmp_path / "one"
    place.mkdir()
    write_jsonl(place / "one.jsonl", rows)
    (task,) = prepare_tasks(place, tmp_path / "prepared")
    return task


def test_counts_of_each_task(folder):
    big, small = seen(folder).looks
    assert (big.rows, big.merged, big.duplicates, dict(big.dropped)) == (
        21,
        0,
        1,
        {"empty query": 1},
    )
    assert (small.rows, small.merged, small.duplicates) == (3, 1, 0)
    assert (big.with_negatives, small.with_negatives) == (20 / 21, 0)
    assert (big.passages, big.positives) == (22, 1)
    assert small.query_words == (4, 4, 4, 4, 4)
    assert len(big.samples) == 10
    assert len(small.samples) == 3
    assert small.samples[0].query == "query 0 of many"
    assert (small.samples[0].positive, small.samples[0].negative) == ("passage 0", "")


def test_overlaps_of_pairs_are_shares_of_the_first(folder):
    assert seen(folder).pairs == (
        Pair("small", "big", 1.0, 0.0),
        Pair("big", "small", 3 / 20, 0.0),
    )


def test_the_same_seed_sees_the_same_and_another_other_rows(folder):
    assert seen(folder) == seen(folder)
    assert seen(folder).looks[0].samples != seen(folder, seed=1).looks[0].samples


def test_a_limit_on_rows_holds(folder):
    assert [look.rows for look in seen(folder, max_rows=2).looks] == [2, 2]


def test_a_task_that_cannot_be_used_is_told_and_the_others_are_seen(folder):
    write_jsonl(folder / "bad.jsonl", [{"x": 1}])
    found = seen(folder)
    assert [look.name for look in found.looks] == ["big", "small"]
    assert "bad.jsonl holds no usable row" in found.unusable["bad"]


def test_without_a_task_that_can_be_used_there_is_nothing_to_see(tmp_path):
    path = write_jsonl(tmp_path / "bad.jsonl", [{"x": 1}])
    with pytest.raises(InputError, match=r"None of the tasks can be used: .*bad\.jsonl"):
        inspect([source(path)])


def test_difficulty_by_hand(tmp_path):
    rows = [row("apple tree", "the apple tree is old"), row("river", "water flows")]
    rows.append(row("cloud", "no word shared here", "a cloud above"))
    found = difficulty(one_task(tmp_path, rows), 0)
    both = 1 + 1 / math.log2(3)
    assert found.ndcg == pytest.approx((1 + 0 + 1 / both) / 3)
    assert found.hits == pytest.approx(2 / 3)
    assert (found.queries, found.passages) == (3, 4)


def test_a_passage_that_is_the_query_itself_is_not_found(tmp_path):
    rows = [row("red car", "car of red paint"), row("else", "red car")]
    assert difficulty(one_task(tmp_path, rows), 0).hits == 0.5


def test_pools_are_bounded_and_hold_the_positives(tmp_path, monkeypatch):
    monkeypatch.setattr("tdro.cleaning.difficulty.PASSAGES", 12)
    monkeypatch.setattr("tdro.cleaning.difficulty.QUERIES", 10)
    rows = [row(f"{word} query", f"{word} passage") for word in WORDS[:50]]
    found = difficulty(one_task(tmp_path, rows), 0)
    assert (found.queries, found.passages, found.hits) == (10, 12, 1.0)


def test_a_task_without_words_is_not_found_and_does_no_harm(tmp_path):
    assert difficulty(one_task(tmp_path, [row("?", "!")]), 0).ndcg == 0


@given(st.lists(st.text(max_size=60), max_size=5))
def test_shares_of_languages_sum_to_one(texts):
    assert sum(languages(texts).values()) == pytest.approx(1 if texts else 0)


def test_languages_are_told_and_codes_are_not_guessed():
    german = ["Wie heißt die Hauptstadt von Frankreich?", "Der Hund läuft durch den Wald."]
    assert languages(german) == {"de": 1.0}
    assert languages(["北京的人口是多少呢", *german]) == {"de": 2 / 3, "zh": 1 / 3}
    assert languages(["ab", "x1"]) == {"unclear": 1.0}


def test_names_and_texts_are_escaped(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [row(f"q {HOSTILE}", f"p {HOSTILE}", neg=[HOSTILE])])
    found = inspect([source(path, name=HOSTILE, instruction=f"i {HOSTILE}")])
    page = render(HOSTILE, found)
    assert "<script>alert" not in page
    assert unescape(page).count(f"q {HOSTILE}") == 1
    assert f"i {HOSTILE}" in unescape(page)


def test_the_page_says_that_a_task_lies_in_another(folder):
    found = seen(folder)
    assert headline(found) == [
        "2 tasks with 24 rows.",
        "The largest has 7 times the rows of the smallest: at equal weights each of its rows is "
        "drawn that much less often.",
        "“small” lies in “big” by 100% of its queries: the weights of such tasks cannot be told "
        "apart.",
    ]


def test_the_page_of_tasks_apart_draws_no_matrix(tmp_path):
    for name in "ab":
        write_jsonl(tmp_path / f"{name}.jsonl", [row(f"{name} query", f"{name} passage")])
    page = render("x", seen(tmp_path))
    assert 'id="overlap"' not in page
    assert "No task has 1 % of its queries or positives in another." in page


def test_of_many_tasks_those_that_overlap_are_drawn(folder):
    found = seen(folder)
    look = found.looks[0]
    many = [dataclasses.replace(look, name=f"task {n}") for n in range(100)]
    page = render("x", dataclasses.replace(found, looks=(*found.looks, *many)))
    assert "Drawn are the 2 tasks that overlap most." in page


def test_the_command_writes_page_and_json(tdro, folder, tmp_path):
    page, values = tmp_path / "out" / "page.html", tmp_path / "values.json"
    code, shown, _ = tdro("tasks", "inspect", folder, "-o", page, "--json", values, "--seed", 3)
    assert code == 0
    assert str(page) in shown.replace("\n", "")
    assert "<h1>Tasks of data</h1>" in page.read_text()
    found = json.loads(values.read_text())
    assert (found["seed"], [look["name"] for look in found["looks"]]) == (3, ["big", "small"])
    assert found["pairs"][0]["queries"] == 1.0
    again = page.read_bytes()
    assert tdro("tasks", "inspect", folder, "-o", page, "--seed", 3)[0] == 0
    assert page.read_bytes() == again


def test_the_command_ends_with_2_when_a_task_cannot_be_used(tdro, folder, tmp_path):
    write_jsonl(folder / "bad.jsonl", [{"x": 1}])
    code, shown, _ = tdro("tasks", "inspect", folder, "-o", tmp_path / "page.html")
    assert code == 2
    assert "bad.jsonl holds no usable row" in shown
    assert "1 of the tasks cannot be used." in (tmp_path / "page.html").read_text()


def test_the_command_does_not_write_over_a_folder(tdro, folder, tmp_path):
    code, _, told = tdro("tasks", "inspect", folder, "-o", tmp_path)
    assert (code, f"{tmp_path} is a folder: name a file to write." in told) == (2, True)


def test_a_sample_is_cut(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [row("q " * 500, "p")])
    (look,) = inspect([source(path)]).looks
    assert len(look.samples[0].query) == 300
    assert np.isclose(look.query_words[2], 500)


def test_a_page_that_cannot_be_written_is_told_before_the_tasks_are_read(tdro, folder, tmp_path):
    (tmp_path / "file").write_text("")
    code, shown, told = tdro("tasks", "inspect", folder, "-o", tmp_path / "file" / "page.html")
    assert (code, f"{tmp_path / 'file'} is there already" in told) == (2, True)
    assert "tasks" not in shown
