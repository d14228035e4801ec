"""How large a model is: built on the meta device, where parameters have shapes but no values."""

import copy
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
from transformers import AutoModel

from tdro.encoder import count_parameters, static_dimensions
from tdro.lora import adapter_config
from tdro.pretrained import pooling_of, pretrained_config
from tdro.settings import EncoderSettings, LoraSettings


class Skeleton(torch.nn.Sequential):
    """An embedding model without weights, whose forward pass is that of a SentenceTransformer."""

    def __init__(self, dimensions: int, *modules: torch.nn.Module) -> None:
        super().__init__(*modules)
        self._dimensions = dimensions

    def get_embedding_dimension(self) -> int:
        """Returns the width of an embedding."""
        return self._dimensions


class _Layers(torch.nn.Module):
    """Calls a transformer as the module of sentence-transformers does."""

    def __init__(self, auto_model: Any) -> None:
        super().__init__()
        self.auto_model = auto_model

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        given = {name: features[name] for name in ("input_ids", "attention_mask")}
        states = self.auto_model(**given, return_dict=True)[0]
        return {**features, "token_embeddings": states}


class _Bag(torch.nn.Module):
    """A bag of embeddings, called likewise."""

    def __init__(self, rows: int, dimensions: int) -> None:
        super().__init__()
        self.embedding = torch.nn.EmbeddingBag(rows, dimensions)

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        found = self.embedding(features["input_ids"], features["offsets"])
        return {**features, "sentence_embedding": found}


@dataclass(frozen=True)
class ModelSize:
    """The size of an embedding model.

    Attributes:
        parameters: All of them, adapters left out.
        parameters_per_token: Those that one token of a text is multiplied with.
        adapters: Parameters of the adapters that are trained in place of the model's own; 0
            without.
        dimensions: Width of an embedding.
        attention_width: Heads times their width, summed over the layers; 0 for a bag.
    """

    parameters: int
    parameters_per_token: int
    adapters: int
    dimensions: int
    attention_width: int

    @property
    def trained(self) -> int:
        """Parameters that a training changes."""
        return self.adapters or self.parameters


def skeleton(
    settings: EncoderSettings, lora: LoraSettings | None = None, *, local: bool = False
) -> Skeleton:
    """Builds an embedding model without weights.

    Args:
        settings: The pretrained model and what is made of it.
        lora: Adapters that are trained in place of its own weights.
        local: Ask no hub for its configuration.

    Raises:
        InputError: Its configuration cannot be read, or does not fit the settings.
    """
    # Of a GGUF file it takes seconds to read, and every rehearsed step asks for it anew.
    config = copy.deepcopy(config_of(settings, local))
    config.use_cache = False
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with torch.device("meta"):
        model: Any = AutoModel.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
        if settings.kind == "static":
            return _bag(settings, *model.get_input_embeddings().weight.shape)
        width = int(model.get_input_embeddings().weight.shape[1])
        if lora is not None:
            model.add_adapter(adapter_config(lora))
    width = int(getattr(config, "hidden_size", width))
    pooling = Pooling(width, pooling_of(settings, config))
    return Skeleton(width, _Layers(model), pooling, Normalize())


@lru_cache
def config_of(settings: EncoderSettings, local: bool) -> Any:
    """Reads the configuration of a model once (see :func:`~tdro.pretrained.pretrained_config`)."""
    return pretrained_config(settings, local=local)


def _bag(settings: EncoderSettings, rows: int, width: int) -> Skeleton:
    dimensions = static_dimensions(settings, width)
    return Skeleton(dimensions, _Bag(rows, dimensions), Normalize())


def size_of(model: Skeleton) -> ModelSize:
    """Counts the parameters of a model."""
    adapters = sum(weight.numel() for name, weight in model.named_parameters() if "lora_" in name)
    counted = count_parameters(model)
    return ModelSize(
        parameters=counted["parameters"] - adapters,
        parameters_per_token=counted["parameters_per_token"] - adapters,
        adapters=adapters,
        dimensions=model.get_embedding_dimension(),
        attention_width=_attention_width(model),
    )


def _attention_width(model: Skeleton) -> int:
    layers = getattr(model[0], "auto_model", None)
    if layers is None:
        return 0
    config = layers.config
    heads = int(config.num_attention_heads)
    width = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    return heads * width * int(config.num_hidden_layers)
