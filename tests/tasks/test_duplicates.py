"""Equal and nearly equal texts."""

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tdro.tasks.duplicates import (
    LEAST_WORDS,
    TextIndex,
    bands_for,
    jaccard,
    normalise,
    text_key,
    words_of,
)
from tests.conftest import WORDS

TEXTS = st.text(max_size=40)
WORD_LISTS = st.lists(st.sampled_from(WORDS), max_size=30)


@given(TEXTS)
@example("İstanbul")
@example("ŉ ǰ ΐ ᾳ")
@example("a\u00ad\u0308")
@example("ｶﾞｷﾞ")
def test_normalising_twice_is_normalising_once(text):
    assert normalise(normalise(text)) == normalise(text)
    assert text_key(normalise(text)) == text_key(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is  love?", "what is love"),
        ("Straße", "STRASSE"),
        ("ﬁve ﬂags", "five flags"),
        ("café", "cafe\u0301"),
        ("co\u00adoperate", "cooperate"),
        ("北京\uff0c的人口", "北京的人口"),
        ("ｶﾞｲﾄﾞ", "ガイド"),
        ("«Привет»", "привет"),
        ("?!", " ?! "),
    ],
)
def test_spellings_of_one_text_are_equal(one, other):
    assert text_key(one) == text_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("1 + 1", "1 = 1"), ("?", "!"), ("हिंदी", "हंद"), ("cat", "cats"), ("a b", "ab"), ("", "?")],
)
def test_other_texts_are_not_equal(one, other):
    assert text_key(one) != text_key(other)


def test_scripts_without_spaces_are_cut_into_characters():
    assert words_of("北京2008年") == ["北", "京", "2008", "年"]
    assert len(words_of("ที่นี่")) == 2, "a mark stays with its letter"
    assert words_of("Ein Wort") == ["ein", "wort"]


@given(WORD_LISTS, WORD_LISTS)
def test_jaccard_is_symmetric_and_a_share(one, other):
    assert jaccard(one, other) == jaccard(other, one)
    assert 0 <= jaccard(one, other) <= 1
    if len(one) > 1:
        assert jaccard(one, one) == 1


def test_jaccard_of_pairs_of_words_by_hand():
    assert jaccard([*"abcd"], [*"abce"]) == 2 / 4
    assert jaccard(["a"], ["a"]) == 0, "a single word has no pair"


@given(st.lists(st.sampled_from(WORDS), min_size=LEAST_WORDS, max_size=60), st.data())
def test_a_text_with_one_word_changed_is_found_just_when_it_is_similar_enough(words, data):
    place = data.draw(st.integers(0, len(words) - 1))
    threshold = data.draw(st.sampled_from([0.5, 0.7, 0.8, 0.9]))
    changed = [*words[:place], "zzz", *words[place + 1 :]]
    similarity = jaccard(words, changed)
    (found,) = TextIndex(["something else altogether, not it", " ".join(words)], threshold).matches(
        [" ".join(changed)]
    )
    assert [(match.number, match.similarity) for match in found] == (
        [(1, similarity)] if similarity >= threshold else []
    )
    assert not any(match.exact for match in found)


def test_near_ones_are_found_among_many():
    draw = random.Random(0)
    texts = [" ".join(draw.sample(WORDS, 40)) for _ in range(2000)]
    changed = [text.replace(text.split()[20], "zzz") for text in texts]
    found = TextIndex(texts).matches(changed)
    assert sum([match.number for match in one] == [place] for place, one in enumerate(found)) > 1995


def test_a_short_text_is_found_only_when_equal():
    index = TextIndex(["one two three four", "one two three four five six seven"], 0.5)
    (near, equal) = index.matches(["one two three four five", "One, two, three: four!"])
    assert [(match.number, match.exact) for match in near] == [(1, False)]
    assert [(match.number, match.exact) for match in equal] == [(0, True)]


def test_equal_ones_come_first_and_every_number_of_them():
    text = "a b c d e f g h i j"
    (found,) = TextIndex([text + " k", text, text.upper()]).matches([text])
    assert [(match.number, match.exact) for match in found] == [(1, True), (2, True), (0, False)]
    assert found[2].similarity == 9 / 10


def test_a_threshold_of_one_finds_equal_texts_only():
    text = "a b c d e f g h i j"
    assert TextIndex([text + " k"], 1.0).matches([text]) == [[]]


@given(st.floats(0.3, 1))
def test_bands_propose_what_is_at_the_threshold(threshold):
    bands = bands_for(threshold)
    assert 128 % bands == 0
    assert (1 - threshold ** (128 // bands)) ** bands <= 0.001 or bands == 128
