"""Low-rank adapters, by peft: added before training, then kept apart or added to the weights."""

import tempfile
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer
from sentence_transformers.base import BaseModel
from transformers import set_seed

from tdro.errors import InputError, require
from tdro.settings import LoraSettings


def add_adapters(model: BaseModel, settings: LoraSettings, seed: int) -> None:
    """Freezes a model and gives each of its linear layers an adapter to train.

    Args:
        model: A model with transformer layers.
        settings: Rank, alpha and dropout.
        seed: Seed of the adapters' first values.

    Raises:
        InputError: peft is not installed, or the model has no transformer layers.
    """
    adapter = adapter_config(settings)
    if not model.has_peft_compatible_model():
        raise InputError("lora needs a model with transformer layers, and this one has none.")
    set_seed(seed)
    model.add_adapter(adapter)


def adapter_config(settings: LoraSettings) -> Any:
    """Returns what peft calls the settings of adapters on all linear layers.

    Raises:
        InputError: peft is not installed.
    """
    return require("peft", "lora").LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules="all-linear",
    )


def merged(adapted: SentenceTransformer, base: Path) -> SentenceTransformer:
    """Returns a model whose weights hold what the adapters of another have learned.

    Args:
        adapted: The model with adapters.
        base: Folder of the model that they were added to.
    """
    peft = require("peft", "lora")
    model = SentenceTransformer(str(base), local_files_only=True)
    with tempfile.TemporaryDirectory() as folder:
        adapted.save(folder)
        peft.PeftModel.from_pretrained(model.transformers_model, folder).merge_and_unload()
    return model
