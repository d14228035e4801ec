import pytest

from tdro.encoder import build_encoder
from tdro.settings import EncoderSettings


@pytest.fixture(scope="session")
def static_model(tiny_llm, tmp_path_factory):
    """A bag of the tiny model's embeddings: fast, and close where words are shared."""
    folder = tmp_path_factory.mktemp("static_model")
    build_encoder(EncoderSettings(name_or_path=str(tiny_llm), kind="static")).save(str(folder))
    return str(folder)


@pytest.fixture(scope="session")
def llm_model(tiny_llm, tmp_path_factory):
    """The tiny decoder of two layers, trained with instructions by what its prompts tell."""
    folder = tmp_path_factory.mktemp("llm_model")
    settings = EncoderSettings(name_or_path=str(tiny_llm), layers=2)
    prompts = {"alpha": "Instruct: Find the alpha\nQuery: "}
    build_encoder(settings, prompts).save(str(folder))
    return str(folder)


def cross_encoder(masked_lm, folder, labels):
    from sentence_transformers import CrossEncoder
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, set_seed

    tokenizer = AutoTokenizer.from_pretrained(masked_lm)
    set_seed(1)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id,
        num_labels=labels,
        initializer_range=0.5,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CrossEncoder(str(folder)).save(str(folder))
    return str(folder)


@pytest.fixture(scope="session")
def judge_model(masked_lm, tmp_path_factory):
    """A random cross-encoder with one score a pair."""
    return cross_encoder(masked_lm, tmp_path_factory.mktemp("judge"), 1)
