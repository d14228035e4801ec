"""Every family of models people fine-tune, each as a tiny random one: same code, same promises."""

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from tokenizers import processors
from transformers import AutoConfig, AutoModel, AutoTokenizer, set_seed

from tdro.encoder import TokenBatch, build_encoder
from tdro.prompts import query_prompt
from tdro.settings import EncoderSettings

pytestmark = pytest.mark.slow

DECODERS = ("llama", "qwen2", "qwen3", "mistral", "gemma2", "gemma3_text", "phi3", "smollm3")
ENCODERS = ("bert", "modernbert", "xlm-roberta")
TEXTS = ["badle", "fesin goran badle", "badle fesin goran " * 30]


def with_tokens(backend, kind, tokenizer):
    """Makes a tokenizer put around a text what those of real families do."""
    named = [("<end>", tokenizer.eos_token_id), ("<pad>", tokenizer.pad_token_id)]
    template = {
        # Qwen, GPT-2, SmolLM: nothing.
        "nothing": None,
        # Llama-3: a BOS in front, and no EOS.
        "bos": processors.TemplateProcessing(
            single="<pad> $A", pair="<pad> $A $B:1", special_tokens=named
        ),
        # BERT, XLM-R: both.
        "both": processors.TemplateProcessing(
            single="<pad> $A <end>", pair="<pad> $A <end> $B:1 <end>:1", special_tokens=named
        ),
    }[kind]
    backend.post_processor = template or processors.ByteLevel(trim_offsets=True)


@pytest.fixture(scope="module")
def pretrained(tiny_llm, tmp_path_factory):
    """Returns a function that makes a pretrained model of a family with a kind of tokenizer."""

    def make(family, kind):
        folder = tmp_path_factory.mktemp(family)
        tokenizer = AutoTokenizer.from_pretrained(tiny_llm)
        with_tokens(tokenizer.backend_tokenizer, kind, tokenizer)
        set_seed(1)
        config = AutoConfig.for_model(
            family,
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            max_position_embeddings=128,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
        AutoModel.from_config(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make


def built(folder):
    settings = EncoderSettings(
        name_or_path=str(folder),
        layers=2,
        max_query_length=16,
        max_passage_length=24,
        precision="fp32",
    )
    return build_encoder(settings, {"alpha": query_prompt("Find alpha")})


@pytest.mark.parametrize("kind", ["nothing", "bos", "both"])
@pytest.mark.parametrize("family", DECODERS)
def test_a_decoder_keeps_its_promises(pretrained, tmp_path, family, kind):
    model = built(pretrained(family, kind))
    end = model.tokenizer.eos_token_id
    features = model.preprocess(TEXTS, task="document")
    for ids, mask in zip(features["input_ids"], features["attention_mask"], strict=True):
        kept = ids[mask.bool()].tolist()
        assert kept[-1] == end
        assert kept.count(end) == 1
        assert len(kept) <= 24
    assert_embeds_alike(model, tmp_path)
    # A program that pads on the left gets the same vectors.
    right = model.encode_document(TEXTS)
    model.tokenizer.padding_side = "left"
    np.testing.assert_allclose(model.encode_document(TEXTS), right, atol=1e-5)


@pytest.mark.parametrize("family", ENCODERS)
def test_an_encoder_keeps_its_promises(pretrained, tmp_path, family):
    model = built(pretrained(family, "both"))
    assert model[1].pooling_mode == "mean"
    assert_embeds_alike(model, tmp_path)


def assert_embeds_alike(model, tmp_path):
    whole = model.encode_document(TEXTS)
    assert np.isfinite(whole).all()
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1, atol=1e-5)
    alone = np.concatenate([model.encode_document([text]) for text in TEXTS])
    np.testing.assert_allclose(alone, whole, atol=1e-5)
    tokens = TokenBatch(model, [], TEXTS)
    with torch.no_grad():
        ours = tokens.embed(model.eval(), np.arange(len(TEXTS)), 64)
    np.testing.assert_allclose(ours.numpy(), whole, atol=1e-5)
    named = model.encode_query(TEXTS[:2], prompt_name="alpha")
    given = model.encode_query(TEXTS[:2], prompt="Instruct: Find alpha\nQuery: ")
    np.testing.assert_array_equal(named, given)
    model.save(str(tmp_path / "saved"))
    again = SentenceTransformer(str(tmp_path / "saved"))
    np.testing.assert_array_equal(again.encode_document(TEXTS), whole)
    np.testing.assert_array_equal(again.encode_query(TEXTS[:2], prompt_name="alpha"), named)
    plain = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert plain(TEXTS[0])["input_ids"] == [
        *model.preprocess(TEXTS[:1], task="document")["input_ids"][0].tolist()
    ]
    # A step trains: every weight that a text passes through has a gradient.
    tokens.embed(model.train(), np.arange(len(TEXTS)), 64).sum().backward()
    layer = [p for name, p in model.named_parameters() if "layers.1" in name or "layer.1" in name]
    assert layer
    assert all(torch.isfinite(p.grad).all() for p in layer if p.grad is not None)
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in layer)
