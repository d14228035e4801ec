import copy
import sys
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer

from tdro.encoder import build_encoder
from tdro.settings import EncoderSettings
from tdro.token_memory import RememberingTokenizer, remember_tokens

TEXTS = ["badle fesin", "goran", "badle fesin", "", "goran badle " * 40]


@pytest.fixture(scope="module")
def saved(tiny_llm, tmp_path_factory):
    def bag(longest):
        folder = tmp_path_factory.mktemp("bag")
        settings = EncoderSettings(
            name_or_path=str(tiny_llm), kind="static", max_passage_length=longest
        )
        build_encoder(settings, {"alpha": "Find alpha: "}).save(str(folder))
        return str(folder)

    return {longest: bag(longest) for longest in (8, 20)}


class Counted:
    """A tokenizer that cuts by character and counts the texts that it is given."""

    def __init__(self, name):
        self.name, self.given, self.truncation = name, [], None

    def to_str(self):
        return self.name

    def encode_batch(self, texts, add_special_tokens):
        self.given += texts
        return [type("Encoding", (), {"ids": [ord(c) for c in text]}) for text in texts]


def ids(tokenizer, texts):
    return [list(one.ids) for one in tokenizer.encode_batch(texts, add_special_tokens=False)]


def test_a_bag_that_remembers_embeds_the_same_and_saves_the_same(saved, tmp_path):
    plain = SentenceTransformer(saved[20])
    model = remember_tokens(SentenceTransformer(saved[20]))
    for _ in range(2):
        np.testing.assert_array_equal(
            model.encode_query(TEXTS, prompt_name="alpha"),
            plain.encode_query(TEXTS, prompt_name="alpha"),
        )
        np.testing.assert_array_equal(model.encode_document(TEXTS), plain.encode_document(TEXTS))
    model.save(str(tmp_path))
    again = SentenceTransformer(str(tmp_path))
    np.testing.assert_array_equal(again.encode_document(TEXTS), plain.encode_document(TEXTS))


def test_tokenizers_that_cut_otherwise_do_not_share(saved):
    lengths = [
        len(ids(remember_tokens(SentenceTransformer(saved[longest])).tokenizer, TEXTS)[-1])
        for longest in (8, 20, 8)
    ]
    assert lengths == [8, 20, 8]


def test_a_text_is_cut_once_by_all_tokenizers_that_cut_alike():
    one, other = Counted("shared"), Counted("shared")
    first = ids(RememberingTokenizer(one), ["a", "b", "a"])
    assert first == [[97], [98], [97]]
    assert ids(RememberingTokenizer(other), ["b", "c"]) == [[98], [99]]
    assert (one.given, other.given) == (["a", "b"], ["c"])


@given(st.lists(st.lists(st.text(max_size=6), max_size=5), max_size=12), st.integers(0, 2000))
def test_what_is_not_remembered_is_cut_again_and_no_more_than_the_most_is_kept(batches, most):
    plain = Counted(str(uuid4()))
    tokenizer = RememberingTokenizer(plain, most_bytes=most)
    for texts in batches:
        assert ids(tokenizer, texts) == [[ord(c) for c in text] for text in texts]
        kept = tokenizer.memory.of_text.items()
        told = sum(sys.getsizeof(text) + 4 * len(one.ids) for text, one in kept)
        assert told <= tokenizer.memory.bytes <= most


def test_a_tokenizer_that_is_changed_forgets_and_a_copy_is_plain(saved):
    model = remember_tokens(SentenceTransformer(saved[20]))
    assert len(ids(model.tokenizer, TEXTS)[-1]) == 20
    model.tokenizer.enable_truncation(2)
    assert len(ids(model.tokenizer, TEXTS)[-1]) == 2
    again = copy.deepcopy(model)
    assert isinstance(again.tokenizer, Tokenizer)
    np.testing.assert_array_equal(again.encode_document(TEXTS), model.encode_document(TEXTS))


def test_a_transformer_is_left_as_it_is(tiny_llm):
    settings = EncoderSettings(name_or_path=str(tiny_llm), layers=1)
    model = build_encoder(settings)
    tokenizer = model.tokenizer
    assert remember_tokens(model) is model
    assert model.tokenizer is tokenizer
