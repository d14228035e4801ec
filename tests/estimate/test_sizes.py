import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tdro.encoder import build_encoder, count_parameters
from tdro.errors import InputError
from tdro.estimate.flops import inference_work, training_work
from tdro.estimate.sizes import size_of, skeleton
from tdro.estimate.volume import Volume
from tdro.lora import add_adapters
from tdro.settings import EncoderSettings, LoraSettings


def settings_of(path, **changes):
    return EncoderSettings(name_or_path=str(path), **changes)


@pytest.mark.parametrize(
    "changes",
    [{}, {"layers": 2}, {"kind": "static"}, {"kind": "static", "dimensions": 8}],
)
@pytest.mark.parametrize("kind", ["tiny_llm", "masked_lm"])
def test_parameters_are_those_of_the_built_model(kind, changes, request):
    settings = settings_of(request.getfixturevalue(kind), **changes)
    found = size_of(skeleton(settings))
    model = build_encoder(settings)
    counted = count_parameters(model)
    assert found.parameters == counted["parameters"]
    assert found.parameters_per_token == counted["parameters_per_token"]
    assert found.dimensions == model.get_embedding_dimension()


def test_adapters_are_those_of_the_built_model(tiny_llm):
    lora = LoraSettings(rank=4)
    found = size_of(skeleton(settings_of(tiny_llm), lora))
    model = build_encoder(settings_of(tiny_llm))
    add_adapters(model, lora, 0)
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    everything = sum(weight.numel() for weight in model.parameters())
    assert found.adapters == found.trained == trained
    assert found.parameters == everything - trained


def test_a_skeleton_has_no_weights(tiny_llm):
    model = skeleton(settings_of(tiny_llm), LoraSettings(rank=2))
    assert {weight.device.type for weight in model.parameters()} == {"meta"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layers": 9}, ["layers: 9", "4 layers"]),
        ({"kind": "static", "dimensions": 33}, ["dimensions: 33", "32"]),
    ],
)
def test_settings_that_do_not_fit_the_model_are_told(tiny_llm, changes, words):
    with pytest.raises(InputError) as told:
        skeleton(settings_of(tiny_llm, **changes))
    assert all(word in str(told.value) for word in words)


def test_a_model_that_is_not_there_is_told():
    with pytest.raises(InputError, match="'nobody/nothing' cannot be loaded"):
        skeleton(settings_of("nobody/nothing"), local=True)


def matrices_of(model):
    """Parameters that matrices of layers have; what is counted beside them are norms."""
    return sum(weight.numel() for name, weight in model.named_parameters() if weight.dim() > 1)


@pytest.mark.parametrize("training", [True, False])
def test_operations_are_those_that_pytorch_counts(tiny_llm, training):
    # Products of tokens with tokens are counted by PyTorch only where they are plain products.
    model = build_encoder(settings_of(tiny_llm))
    layers = model[0].auto_model
    layers.set_attn_implementation("eager")
    texts, length = 3, 10
    ids = torch.ones(texts, length, dtype=torch.long)
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(training):
        found = layers(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        if training:
            found.sum().backward()
    size = size_of(skeleton(settings_of(tiny_llm)))
    volume = Volume(texts, texts * length, texts * length, texts * length**2)
    work = (training_work if training else inference_work)(size, volume)
    table = layers.get_input_embeddings().weight.numel()
    norms = size.parameters_per_token - (matrices_of(layers) - table)
    of_norms = (6 if training else 2) * norms * texts * length
    assert counter.get_total_flops() == work.total - of_norms
