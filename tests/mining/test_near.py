import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdro.mining.near import alike, may_be_alike, parcels, shingles
from tdro.tasks.duplicates import LEAST_WORDS, THRESHOLD, jaccard, normalise, words_of

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
WORDS = st.lists(st.sampled_from(["a", "b", "C", "\u00e9", "\u732b", "+"]), max_size=30)


def similarity(first, second):
    return alike(shingles(first), shingles(second))


@given(WORDS, WORDS)
def test_of_longer_texts_it_is_what_decontamination_compares(first, second):
    first, second = " ".join(first), " ".join(second)
    if min(len(words_of(first)), len(words_of(second))) >= LEAST_WORDS:
        assert similarity(first, second) == jaccard(words_of(first), words_of(second))
    else:
        assert similarity(first, second) == (normalise(first) == normalise(second))


@given(TEXTS, TEXTS)
def test_symmetric_between_0_and_1_and_1_for_equal_texts(first, second):
    found = similarity(first, second)
    assert found == similarity(second, first)
    assert 0 <= found <= 1
    assert similarity(first, first) == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Fracture of the left femur", "Fracture of the right femur"),
        ("World Cup 1997", "World Cup 1998"),
        ("a + b", "a < b"),
        ("\u0915\u093f", "\u0915\u093e"),
        ("yes", "no"),
        ("?!", "..."),
    ],
)
def test_short_texts_with_another_word_are_others(first, second):
    assert similarity(first, second) < THRESHOLD


def test_a_long_text_with_another_word_is_near():
    text = " ".join(f"word{number}" for number in range(100))
    assert THRESHOLD <= similarity(text, text.replace("word50", "other")) < 1
    assert similarity(text, text[: len(text) // 2]) < 0.6


@given(st.lists(WORDS.map(" ".join), min_size=1, max_size=8), st.floats(0.05, 1))
def test_what_is_ruled_out_is_not_alike(texts, least):
    runs = [shingles(text) for text in texts]
    may = may_be_alike(np.stack([parcels(one) for one in runs]), parcels(runs[0]), least)
    assert may[0]
    for one, possible in zip(runs, may.tolist(), strict=True):
        assert possible or alike(one, runs[0]) < least


def test_unlike_texts_of_one_length_are_ruled_out():
    draw = np.random.default_rng(0)
    texts = [" ".join(f"w{n}" for n in draw.integers(9999, size=200)) for _ in range(50)]
    counts = np.stack([parcels(shingles(text)) for text in texts])
    assert may_be_alike(counts, counts[0], THRESHOLD).tolist() == [True] + [False] * 49
