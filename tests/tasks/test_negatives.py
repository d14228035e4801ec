import sys

import numpy as np
import pyarrow as pa
import pytest

from tdro.errors import InputError
from tdro.tasks import negatives
from tdro.tasks.negatives import mine

PASSAGES = [
    "the red cat sleeps",
    "a red cat",
    "the dog barks",
    "green grass grows",
    "blue sky",
    "Katzen schlafen gern",
]


def _mine(queries, passages=PASSAGES, excluded=None, count=3, seed=0):
    excluded = excluded or [[] for _ in queries]
    arrays = [np.array(one, dtype=np.int32) for one in excluded]
    texts = pa.chunked_array([passages[:2], passages[2:]], pa.string())
    return [found.tolist() for found in mine(queries, texts, arrays, count, seed)]


def test_ranked_by_shared_words_without_the_positives():
    (found,) = _mine(["the red cat sleeps"], excluded=[[0]])
    assert found[:2] == [1, 2]
    assert 0 not in found


def test_filled_up_at_random_where_no_word_is_shared():
    (found,) = _mine(["zzz"], excluded=[[4]], count=5)
    assert sorted(found) == [0, 1, 2, 3, 5]


def test_small_tasks_give_what_there_is():
    assert _mine(["red"], excluded=[[0, 1, 2, 3, 4]], count=16) == [[5]]
    assert _mine(["red"], excluded=[list(range(6))], count=16) == [[]]


def test_ties_go_to_the_lower_number():
    (found,) = _mine(["x"], passages=["x a", "x b", "x c", "x d", "y e"], count=2)
    assert found == [0, 1]


def test_seeded():
    queries = ["zzz"] * 20
    assert _mine(queries, seed=1) == _mine(queries, seed=1)
    assert _mine(queries, seed=1) != _mine(queries, seed=2)


def test_characters_of_unspaced_scripts_are_words():
    (found,) = _mine(["猫は寝る"], passages=["犬が走る", "青い空", "猫がいる", "abc"], count=1)
    assert found == [2]


def test_passages_without_any_word():
    (found,) = _mine(["?"], passages=["!", "...", "--"], count=2)
    assert len(set(found)) == 2


def test_large_tasks_are_searched_in_a_sample(monkeypatch):
    monkeypatch.setattr(negatives, "LARGEST_INDEX", 50)
    passages = [f"cat number {n}" for n in range(200)]
    queries = [f"cat {n}" for n in range(200)]
    found = _mine(queries, passages, excluded=[[n] for n in range(200)], count=5)
    assert all(n not in one and len(set(one)) == 5 for n, one in enumerate(found))
    assert len({number for one in found for number in one}) <= 50


def test_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(InputError, match=r"-e '\.\[run\]'"):
        _mine(["q"])
