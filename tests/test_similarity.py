"""Sparse and multi-vector encoders as proxies: the loss is that of their own similarity."""

import random

import numpy as np
import pytest
import torch
from sentence_transformers import MultiVectorEncoder, SparseEncoder
from sentence_transformers.base.modules import Dense, Normalize, Router, Transformer
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding, SpladePooling
from transformers import AutoTokenizer, set_seed

from tdro import EncoderSettings, InputError, LearningSettings, learn_mixture, prepare_tasks
from tdro.encoder import build_encoder
from tdro.lora import add_adapters
from tdro.row_loss import row_losses
from tdro.settings import LoraSettings
from tdro.similarity import tokenised, usual_temperature

from .conftest import WORDS, write_task

QUERIES = ["badle fesin", "goran", "lan, tonis badle fesin goran"]
PASSAGES = ["badle", "fesin, goran.", "lan " * 20, "tonis badle", "goran fesin lan"]
QUERY_OF = np.array([0, 1, 2, 0])
PASSAGE_OF = np.array([[3, 4, 5], [6, 3, 4], [5, 7, 3], [7, 6, 5]])


def splade(folder):
    return SparseEncoder(
        modules=[Transformer(folder, transformer_task="fill-mask"), SpladePooling()]
    )


def splade_without_query_passes(folder):
    """Queries are weighed tokens, passages go through the encoder."""
    words = SparseStaticEmbedding(AutoTokenizer.from_pretrained(folder))
    passages = [Transformer(folder, transformer_task="fill-mask"), SpladePooling()]
    router = Router.for_query_document(query_modules=[words], document_modules=passages)
    return SparseEncoder(modules=[router])


def colbert(folder, **options):
    set_seed(0)
    return MultiVectorEncoder(
        modules=[
            Transformer(folder, query_expansion={"strategy": "fixed", "length": 24}),
            Dense(32, 8, bias=False, module_input_name="token_embeddings"),
            MultiVectorMask(skiplist_words=[",", "."]),
            Normalize(module_input_name="token_embeddings"),
        ],
        prompts={"query": "Q ", "document": "D "},
        **options,
    )


def mean_colbert(folder):
    return colbert(folder, similarity_fn_name="meanmaxsim")


KINDS = [splade, splade_without_query_passes, colbert, mean_colbert]


def losses(model, chunk_tokens=10_000, queries=QUERIES):
    tokens = tokenised(model, queries, PASSAGES)
    return row_losses(
        model, tokens, QUERY_OF, PASSAGE_OF, temperature=0.7, chunk_tokens=chunk_tokens
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_row_loss_is_infonce_over_the_models_own_similarity(masked_lm, kind):
    model = kind(masked_lm).eval()
    similarities = model.similarity(model.encode_query(QUERIES), model.encode_document(PASSAGES))
    logits = similarities[torch.tensor(QUERY_OF)[:, None], torch.tensor(PASSAGE_OF) - 3] / 0.7
    wanted = logits.logsumexp(1) - logits[:, 0]
    assert wanted.std() > 1e-3
    for chunk_tokens in (1, 200, 10_000):
        with torch.no_grad():
            found = losses(model, chunk_tokens)
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_do_not_depend_on_how_many_passes_there_are(masked_lm, kind):
    # SPLADE cannot be differentiated unless it is training, and dropout depends on the passes.
    model = kind(masked_lm).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0
    found = []
    for chunk_tokens in (1, 10_000):
        model.zero_grad()
        losses(model, chunk_tokens).sum().backward()
        found.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert sum(gradient.abs().sum() for gradient in found[0]) > 0.1
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_a_query_without_tokens_has_a_loss(masked_lm):
    model = splade_without_query_passes(masked_lm).eval()
    found = losses(model, 1, queries=["", *QUERIES[1:]])
    assert found[0].item() == pytest.approx(np.log(3))


def test_similarities_are_float32_under_autocast(masked_lm):
    for kind in (splade, colbert):
        model = kind(masked_lm).eval()
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            found = losses(model)
        assert found.dtype == torch.float32
        with torch.no_grad():
            torch.testing.assert_close(found, losses(model), rtol=0.05, atol=0.05)


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """One task whose positive shares the query's words, one whose positive is any passage."""
    folder = tmp_path_factory.mktemp("tasks")
    draw = random.Random(0)
    for name in ("easy", "hard"):
        rows = []
        for _ in range(40):
            words, others = draw.sample(WORDS, 2), draw.sample(WORDS, 2)
            texts = [" ".join(draw.sample(WORDS, 2)) for _ in range(3)]
            positive = " ".join(words if name == "easy" else others)
            rows.append({"query": f"{words[0]} {words[1]}", "pos": [positive], "neg": texts})
        write_task(folder / "data" / f"{name}.jsonl.gz", rows)
    return prepare_tasks(folder / "data", folder / "prepared")


def learned(kind, folder, tasks, **options):
    given = {"method": "group-dro", "steps": 12, "batch_size": 8, "negatives": 3, "eta": 1}
    settings = LearningSettings(**{**given, "learning_rate": 0.01, **options})
    proxy = kind(folder)
    mixture = learn_mixture(proxy, kind(folder), tasks, settings, precision="fp32")
    return proxy, mixture


@pytest.mark.slow
@pytest.mark.parametrize("kind", [splade_without_query_passes, colbert])
def test_a_mixture_is_learned_for_another_kind_of_encoder(masked_lm, tasks, kind):
    proxy, mixture = learned(kind, masked_lm, tasks)
    assert mixture.weights["hard"] > mixture.weights["easy"] + 0.1
    before = dict(kind(masked_lm).named_parameters())
    still = {name for name, now in proxy.named_parameters() if torch.equal(now, before[name])}
    # Nothing reads the pooler of a BERT without a head.
    assert all("pooler" in name for name in still)
    assert learned(kind, masked_lm, tasks)[1].weights == mixture.weights


@pytest.mark.slow
@pytest.mark.parametrize("kind", [splade, colbert])
def test_adapters_of_another_kind_of_encoder_are_trained(masked_lm, tasks, kind):
    proxy, _ = learned(kind, masked_lm, tasks, steps=2, lora=LoraSettings(rank=2))
    before = dict(kind(masked_lm).named_parameters())
    now = dict(proxy.named_parameters())
    assert any("lora_B" in name and weight.abs().sum() > 0 for name, weight in now.items())
    table = "0.model.bert.embeddings.word_embeddings.weight"
    assert kind is colbert or torch.equal(now[table], before[table])


def test_models_that_do_not_fit_are_refused(masked_lm, tasks):
    with pytest.raises(InputError, match="proxy is a SparseEncoder and the reference a Multi"):
        learn_mixture(splade(masked_lm), colbert(masked_lm), tasks)
    words = SparseEncoder(modules=[SparseStaticEmbedding(AutoTokenizer.from_pretrained(masked_lm))])
    with pytest.raises(InputError, match="lora needs a model with transformer layers"):
        add_adapters(words, LoraSettings(), seed=0)


def test_the_temperature_is_one_where_a_similarity_is_a_sum(masked_lm, tiny_llm):
    dense = build_encoder(EncoderSettings(name_or_path=str(tiny_llm), kind="static"))
    cosine = splade(masked_lm)
    cosine.similarity_fn_name = "cosine"
    for model in (dense, cosine, mean_colbert(masked_lm)):
        assert usual_temperature(model, 0.02) == 0.02
    for model in (splade(masked_lm), colbert(masked_lm)):
        assert usual_temperature(model, 0.02) == 1
