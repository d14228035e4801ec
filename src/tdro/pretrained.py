"""What a pretrained model says of itself before its weights are read: its shape, its tokenizer."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from safetensors import SafetensorError
from tokenizers import processors
from transformers import (
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoConfig,
    AutoTokenizer,
    PreTrainedTokenizerBase,
)

from tdro.errors import InputError, require
from tdro.files import read_json
from tdro.settings import EncoderSettings

# What of a SentenceTransformer is built here, too, and the poolings that there are.
_MODULES_READ = ("Transformer", "Pooling", "Normalize")
_POOLINGS = ("lasttoken", "mean", "cls")
# How SentenceTransformers before 6.0 wrote their pooling.
_FORMER_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


def pretrained_config(settings: EncoderSettings, *, local: bool = False) -> Any:
    """Reads how a pretrained model is built, cut to the layers that are kept, without its weights.

    Args:
        settings: The pretrained model and what is made of it.
        local: Ask no hub for what is not on this machine.

    Raises:
        InputError: It cannot be read, or has fewer layers.
    """
    folder, source = source_of(settings.name_or_path)
    with told_in_one_sentence(settings):
        config = AutoConfig.from_pretrained(folder, local_files_only=local, **source)
    _keep_layers(config, settings)
    return config


def pretrained_tokenizer(settings: EncoderSettings, config: Any) -> PreTrainedTokenizerBase:
    """Reads the tokenizer that the embedding model will have, if it is on this machine.

    Args:
        settings: The pretrained model and what is made of it.
        config: What :func:`pretrained_config` returned.

    Raises:
        InputError: It is not on this machine, cannot be read or has no EOS where one is needed.
    """
    folder, source = source_of(settings.name_or_path)
    with told_in_one_sentence(settings):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, **source)
    if settings.kind == "transformer":
        make_ready(tokenizer, pooling_of(settings, config))
    return tokenizer


def pooling_of(settings: EncoderSettings, config: Any) -> str:
    """Returns how the embeddings of a text's tokens become one."""
    encoder = type(config) in MODEL_FOR_MASKED_LM_MAPPING
    return settings.pooling or ("mean" if encoder else "lasttoken")


def what_is_not_read(settings: EncoderSettings, config: Any) -> str | None:
    """Tells what a SentenceTransformer has beside its transformer that is not taken over.

    A pooling that the settings name is wanted, and nothing is said of it. On a hub its files are
    looked for as ``from_pretrained`` looks for the model's: offline among those fetched before.

    Args:
        settings: The pretrained model and what is made of it.
        config: What :func:`pretrained_config` returned.

    Returns:
        A sentence, None where there is nothing to tell.
    """
    name = settings.name_or_path
    modules = _json_of(name, "modules.json")
    if settings.kind == "static" or not isinstance(modules, list):
        return None
    place_of = {
        str(module.get("type")).rpartition(".")[2]: str(module.get("path"))
        for module in modules
        if isinstance(module, dict)
    }
    told = []
    theirs, ours = _pooling_said(name, place_of.get("Pooling")), pooling_of(settings, config)
    if settings.pooling is None and theirs and theirs != ours:
        cure = f" (write pooling: {theirs})" if theirs in _POOLINGS else ""
        told.append(f"it pools by {theirs}, here by {ours}{cure}")
    if further := [kind for kind in place_of if kind not in _MODULES_READ]:
        told.append(f"its {' and '.join(further)} is left out")
    details = _json_of(name, "config_sentence_transformers.json")
    prompts = details.get("prompts") if isinstance(details, dict) else None
    if isinstance(prompts, dict) and any(prompts.values()):
        told.append("its prompts are not used (a task's instruction is)")
    if not told:
        return None
    return f"Of the SentenceTransformer {name!r} only the transformer is read: {'; '.join(told)}."


def _pooling_said(name: str, place: str | None) -> str:
    """Returns how a SentenceTransformer pools by its file, an empty text where it does not say."""
    said = _json_of(name, f"{place}/config.json") if place else None
    if not isinstance(said, dict):
        return ""
    modes = said.get("pooling_mode")
    if modes is None:
        modes = [mode for key, mode in _FORMER_MODES.items() if said.get(key)]
    return " and ".join(map(str, modes)) if isinstance(modes, list) else str(modes)


def _json_of(name: str, file: str) -> Any:
    """Returns what a JSON file of a model holds, None where there is none that can be read."""
    folder = Path(name)
    if folder.suffix == ".gguf":
        return None
    try:
        if not folder.exists():
            return read_json(Path(hf_hub_download(name, file)))
        path = (folder / file).resolve()
        return read_json(path) if path.is_relative_to(folder.resolve()) else None
    # No such file, no connection, or no name of a hub: the model itself is told of elsewhere.
    except (OSError, ValueError, EntryNotFoundError):
        return None


@contextlib.contextmanager
def told_in_one_sentence(settings: EncoderSettings) -> Iterator[None]:
    """Turns what the libraries raise while a pretrained model is read into an ``InputError``."""
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"The model {settings.name_or_path!r} cannot be loaded: {reason}"
        ) from None
    # What weights that were cut short raise, or those of another config.json: safetensors has
    # an error of its own, torch's files give the other two.
    except (SafetensorError, RuntimeError, EOFError) as error:
        raise unreadable_weights(settings.name_or_path, error) from None


def unreadable_weights(name_or_path: str, error: Exception) -> InputError:
    """Returns what to say of weights that a library could not read."""
    reason = str(error).partition("\n")[0].rstrip(".!") or "the file ends too soon"
    return InputError(
        f"The weights of {name_or_path!r} cannot be read ({reason}): fetch or copy them again if "
        "they are not whole, only a git-lfs pointer, or not of this model."
    )


def source_of(name_or_path: str) -> tuple[str, dict[str, str]]:
    """Returns what ``from_pretrained`` reads, and the options that a GGUF file needs.

    Raises:
        InputError: The GGUF file does not exist, or the package that reads it is not installed.
    """
    path = Path(name_or_path)
    if path.suffix != ".gguf":
        return name_or_path, {}
    if not path.is_file():
        raise InputError(f"The model file {name_or_path} does not exist.")
    require("gguf", "gguf")
    return str(path.parent), {"gguf_file": path.name}


def _keep_layers(config: Any, settings: EncoderSettings) -> None:
    if settings.layers is None:
        return
    there = config.num_hidden_layers
    if settings.layers > there:
        raise InputError(
            f"layers: {settings.layers} is more than the {there} layers of "
            f"{settings.name_or_path!r}."
        )
    config.num_hidden_layers = settings.layers
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[: settings.layers]


def make_ready(tokenizer: PreTrainedTokenizerBase, pooling: str) -> None:
    """Makes a pretrained tokenizer that of an embedding model.

    Raises:
        InputError: Last-token pooling needs an EOS and it cannot be added.
    """
    if pooling == "lasttoken":
        end_with_eos(tokenizer)
    tokenizer.padding_side = "right"
    # sentence-transformers would wrap every text of a chat model in its chat template.
    tokenizer.chat_template = None


def end_with_eos(tokenizer: PreTrainedTokenizerBase) -> None:
    """Makes the tokenizer's own post-processor put one EOS at the end, also after truncation.

    Being part of the tokenizer it is saved with it, so that any program encodes alike.

    Raises:
        InputError: The tokenizer has no EOS token or no files, or is not a fast tokenizer.
    """
    eos = tokenizer.eos_token
    if eos is None:
        raise InputError("The tokenizer has no EOS token, which last-token pooling needs.")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = eos
    ids = tokenizer("a")["input_ids"]
    if not ids:
        raise InputError("The tokenizer makes no token of a letter: its files are missing.")
    if ids[-1] == tokenizer.eos_token_id:
        return
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise InputError("The tokenizer is not a fast one, and no EOS can be added to its output.")
    template = processors.TemplateProcessing(
        single=f"$A {eos}", pair=f"$A $B:1 {eos}:1", special_tokens=[(eos, tokenizer.eos_token_id)]
    )
    before = backend.post_processor
    backend.post_processor = processors.Sequence([before, template]) if before else template
