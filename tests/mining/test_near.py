import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdro.mining.near import alike, may_be_alike, parcels, plain, shingles, similarity

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
PUNCTUATION = st.text(
    " \t\n.,;:!?-\u2014()[]{}\"'\u00ab\u00bb\u3002\u3001\u00bf/\\@#%&*_", max_size=3
)


@given(TEXTS, TEXTS)
def test_symmetric_and_between_0_and_1(first, second):
    found = similarity(first, second)
    assert found == similarity(second, first)
    assert 0 <= found <= 1


@given(TEXTS)
def test_equal_texts_are_1(text):
    assert similarity(text, text) == 1


@given(st.text("abcdefgh\u00e9\u0416\u732b\u0915\u093f5+", min_size=1), st.data())
def test_punctuation_and_white_space_change_nothing(text, data):
    noisy = "".join(character + data.draw(PUNCTUATION) for character in text)
    assert similarity(text, data.draw(PUNCTUATION) + noisy) == 1
    assert plain(noisy) == plain(text)


@given(TEXTS)
def test_case_and_width_change_nothing(text):
    wide = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)
    assert similarity(text, wide) == 1
    ascii_text = text.encode("ascii", "ignore").decode()
    assert similarity(ascii_text, ascii_text.upper()) == 1


def test_texts_of_nothing_but_punctuation_are_told_apart():
    assert similarity("?!", "...") == 0
    assert similarity("? !", "?!") == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Fracture of the left femur", "Fracture of the right femur"),
        ("World Cup 1997", "World Cup 1998"),
        ("a + b", "a < b"),
        ("\u0915\u093f", "\u0915\u093e"),
        ("yes", "no"),
    ],
)
def test_short_texts_with_another_word_are_others(first, second):
    assert similarity(first, second) < 0.9


def test_a_long_text_with_another_word_is_near():
    text = " ".join(f"word{number}" for number in range(100))
    assert 0.9 <= similarity(text, text.replace("word50", "other")) < 1
    assert similarity(text, text[: len(text) // 2]) < 0.6


@given(st.lists(st.text("abcd", max_size=40), min_size=1, max_size=8), st.floats(0.05, 1))
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
    assert may_be_alike(counts, counts[0], 0.9).tolist() == [True] + [False] * 49
