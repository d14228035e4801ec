"""Any Hugging Face LLM or encoder, or a GGUF file, as a SentenceTransformer; and its embeddings."""

import contextlib
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.base import BaseModel
from sentence_transformers.sentence_transformer.modules import (
    Normalize,
    Pooling,
    StaticEmbedding,
    Transformer,
)
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerBase

from tdro.errors import InputError
from tdro.pretrained import (
    make_ready,
    pooling_of,
    pretrained_config,
    source_of,
    told_in_one_sentence,
    what_is_not_read,
)
from tdro.settings import EncoderSettings

# What a forward pass costs beside its tokens, in tokens. 32 rows of 8 passages, 47 tokens a text on
# average, are then embedded in about 15 passes with 4 % padding.
_PASS_TOKENS = 64


def build_encoder(settings: EncoderSettings, prompts: dict[str, str] | None = None) -> Any:
    """Builds the embedding model that the settings describe.

    Args:
        settings: The pretrained model and what is made of it.
        prompts: Query prompt of each task by name, kept in the model as named prompts.

    Returns:
        A SentenceTransformer with cosine similarity whose ``encode_query`` and
        ``encode_document`` apply the two maximal lengths.

    Warns:
        UserWarning: The pretrained model is a SentenceTransformer with a pooling, modules or
            prompts that are not taken over.

    Raises:
        InputError: The pretrained model cannot be read or cannot be cut to ``layers``.
    """
    folder, source = source_of(settings.name_or_path)
    with told_in_one_sentence(settings):
        tokenizer = AutoTokenizer.from_pretrained(folder, **source)
        config = pretrained_config(settings)
        if (left := what_is_not_read(settings, config)) is not None:
            warnings.warn(left, stacklevel=2)
        model = AutoModel.from_pretrained(folder, config=config, dtype=torch.float32, **source)
    if source:
        model = _unquantized(model)
    if settings.kind == "static":
        modules = _static_modules(settings, model, tokenizer)
    else:
        modules = _transformer_modules(settings, model, tokenizer)
    named = {"query": "", "document": "", **(prompts or {})}
    return SentenceTransformer(modules=modules, prompts=named, similarity_fn_name="cosine")


def _unquantized(model: Any) -> Any:
    """Returns the model anew: one read from GGUF calls itself quantized and cannot be saved."""
    config = model.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    plain = type(model)(config)
    plain.load_state_dict(model.state_dict())
    return plain


def _transformer_modules(
    settings: EncoderSettings, model: Any, tokenizer: PreTrainedTokenizerBase
) -> list[Any]:
    pooling = pooling_of(settings, model.config)
    make_ready(tokenizer, pooling)
    model.config.use_cache = False
    with _saved_pair(model, tokenizer) as folder:
        transformer = Transformer(
            folder,
            max_seq_length=max(settings.max_passage_length, settings.max_query_length),
            query_length=settings.max_query_length,
            document_length=settings.max_passage_length,
        )
    return [transformer, Pooling(transformer.get_embedding_dimension(), pooling), Normalize()]


@contextlib.contextmanager
def _saved_pair(model: Any, tokenizer: PreTrainedTokenizerBase) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        yield folder


def _static_modules(
    settings: EncoderSettings, model: Any, tokenizer: PreTrainedTokenizerBase
) -> list[Any]:
    weights = model.get_input_embeddings().weight.detach().float()
    dimensions = static_dimensions(settings, weights.shape[1])
    if settings.dimensions is not None:
        weights = _principal_components(weights, dimensions)
    backend = tokenizer.backend_tokenizer
    backend.enable_truncation(settings.max_passage_length)
    return [StaticEmbedding(backend, embedding_weights=weights.contiguous()), Normalize()]


def static_dimensions(settings: EncoderSettings, width: int) -> int:
    """Returns the width of a bag of token embeddings that are ``width`` wide themselves.

    Raises:
        InputError: It is asked to be wider than they are.
    """
    if settings.dimensions is not None and settings.dimensions > width:
        raise InputError(
            f"dimensions: {settings.dimensions} is more than the {width} "
            f"of {settings.name_or_path!r}."
        )
    return settings.dimensions or width


def _principal_components(weights: torch.Tensor, dimensions: int) -> torch.Tensor:
    centred = (weights - weights.mean(0)).double()
    _, directions = torch.linalg.eigh(centred.T @ centred)
    kept = directions[:, -dimensions:].flip(1)
    # An eigenvector's sign is arbitrary; fixing it makes every run start from the same numbers.
    kept = kept * torch.sign(kept.gather(0, kept.abs().argmax(0, keepdim=True)))
    components: torch.Tensor = (centred @ kept).float()
    return components


def count_parameters(model: Any) -> dict[str, int]:
    """Counts all parameters of a model, and those that one token of a text is multiplied with.

    Of a table of embeddings a token reads one row, and multiplies it with nothing.
    """
    everything = sum(weight.numel() for weight in model.parameters())
    table = _input_embeddings(model) or getattr(model[0], "embedding", None)
    looked_up = sum(weight.numel() for weight in table.parameters()) if table is not None else 0
    dimensions = int(model.get_embedding_dimension() or 0)
    # A bag of embeddings still adds one row a token.
    return {"parameters": everything, "parameters_per_token": everything - looked_up or dimensions}


def uses_bf16(precision: str, device: torch.device) -> bool:
    """Tells whether forward passes run under bfloat16 autocast on a device."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16"))


def autocast(model: BaseModel, precision: str) -> contextlib.AbstractContextManager[Any]:
    """Returns the autocast context in which a model's forward passes run (see ``uses_bf16``)."""
    if not uses_bf16(precision, model.device):
        return contextlib.nullcontext()
    return torch.autocast(model.device.type, dtype=torch.bfloat16)


class TokenBatch:
    """Texts tokenised once, of which any subset can be embedded without needless padding.

    Queries come first, passages follow; a text is named by its place in that order.

    Args:
        model: The embedding model.
        queries: Queries, prompts in front.
        passages: Passages.

    Attributes:
        lengths: Tokens of each text, shape ``(queries + passages,)``.
    """

    def __init__(
        self, model: SentenceTransformer, queries: Sequence[str], passages: Sequence[str]
    ) -> None:
        parts = [
            model.preprocess(list(texts), task=side)
            for texts, side in ((queries, "query"), (passages, "document"))
            if texts
        ]
        self._padded = "attention_mask" in parts[0]
        self._constant = {k: v for k, v in parts[0].items() if not isinstance(v, torch.Tensor)}
        if self._padded:
            tokens = [part["input_ids"][part["attention_mask"].bool()] for part in parts]
            lengths = [part["attention_mask"].sum(1) for part in parts]
        else:
            tokens = [part["input_ids"] for part in parts]
            lengths = [_bag_lengths(part) for part in parts]
        self._tokens = torch.cat(tokens)
        self.lengths: NDArray[np.int64] = torch.cat(lengths).numpy()
        self._ends = np.cumsum(self.lengths)

    def __len__(self) -> int:
        return len(self.lengths)

    def embed(
        self, model: torch.nn.Module, texts: NDArray[np.int64], chunk_tokens: int
    ) -> torch.Tensor:
        """Embeds some of the texts, sorted by length and in chunks of bounded size.

        Args:
            model: The embedding model, wrapped or not.
            texts: Places of the texts, shape ``(n,)``.
            chunk_tokens: Padded tokens of one forward pass at most (one text at least); a model
                that pads nothing embeds all texts at once.

        Returns:
            Embeddings in the order of ``texts``, shape ``(n, dimensions)``.
        """
        if not self._padded:
            # A bag pads nothing, and each further call costs a dense gradient of the whole table.
            whole: torch.Tensor = model(self._features(texts, _device(model)))["sentence_embedding"]
            return whole
        order = np.argsort(-self.lengths[texts], kind="stable")
        passes = [
            self._features(texts[order[start:end]], _device(model))
            for start, end in pass_cuts(self.lengths[texts[order]], chunk_tokens)
        ]
        with looked_up_once(model, [features["input_ids"] for features in passes]):
            chunks = [model(features)["sentence_embedding"] for features in passes]
        place = torch.from_numpy(np.argsort(order, kind="stable"))
        embeddings: torch.Tensor = torch.cat(chunks)[place.to(chunks[0].device)]
        return embeddings

    def scores(
        self,
        model: torch.nn.Module,
        query_of: NDArray[np.int64],
        passage_of: NDArray[np.int64],
        chunk_tokens: int,
    ) -> torch.Tensor:
        """Returns each row's similarities, the dot products of its embeddings (``ScoredTexts``)."""
        shown, which = np.unique(
            np.concatenate([query_of[:, None], passage_of], axis=1), return_inverse=True
        )
        embeddings = self.embed(model, shown, chunk_tokens)
        embeddings = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
        of_row = embeddings[torch.from_numpy(which).to(embeddings.device)]
        # At a temperature of 0.002 bfloat16 would keep about one digit of a logit.
        with torch.autocast(embeddings.device.type, enabled=False):
            return torch.einsum("rd,rpd->rp", of_row[:, 0], of_row[:, 1:])

    def _features(self, texts: NDArray[np.int64], device: torch.device) -> dict[str, Any]:
        ids = [self._tokens[self._ends[t] - self.lengths[t] : self._ends[t]] for t in texts]
        if not self._padded:
            starts = np.cumsum([0, *(len(tokens) for tokens in ids[:-1])])
            return {
                **self._constant,
                "input_ids": torch.cat(ids).to(device),
                "offsets": torch.from_numpy(starts).to(device),
            }
        lengths = torch.from_numpy(self.lengths[texts])
        padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
        mask = torch.arange(padded.shape[1])[None] < lengths[:, None]
        return {
            **self._constant,
            "input_ids": padded.to(device),
            "attention_mask": mask.long().to(device),
        }


def pass_cuts(lengths: NDArray[np.int64], most: int) -> list[tuple[int, int]]:
    """Cuts texts, longest first, into the forward passes that cost least.

    A pass costs its padded tokens and what a pass costs by itself; texts of one length are cut only
    where ``most`` padded tokens (one text at least) would be passed.

    Returns:
        Start and end of each pass.
    """
    firsts = np.flatnonzero(np.diff(lengths, prepend=-1))
    ends = np.append(firsts[1:], len(lengths))
    # least[n] is the cost of the n greatest lengths, begins[n - 1] where their last pass starts.
    least = np.zeros(len(firsts) + 1)
    begins = np.empty(len(firsts), dtype=np.int64)
    for last, end in enumerate(ends):
        starts = firsts[: last + 1]
        costs = least[: last + 1] + lengths[starts] * (end - starts) + _PASS_TOKENS
        begins[last], least[last + 1] = costs.argmin(), costs.min()
    cuts: list[tuple[int, int]] = []
    group = len(firsts)
    while group:
        start, end = int(firsts[begins[group - 1]]), int(ends[group - 1])
        texts = max(1, most // max(1, int(lengths[start])))
        cuts[:0] = [(place, min(place + texts, end)) for place in range(start, end, texts)]
        group = int(begins[group - 1])
    return cuts


@contextlib.contextmanager
def looked_up_once(model: torch.nn.Module, passes: list[torch.Tensor]) -> Iterator[None]:
    """Lets several forward passes share one look-up in the table of input embeddings.

    Each look-up of its own would cost a dense gradient of the whole table, which for a model of few
    layers is most of its parameters.
    """
    table = _input_embeddings(model)
    trained = table is not None and any(weight.requires_grad for weight in table.parameters())
    if table is None or not trained or len(passes) < 2 or not torch.is_grad_enabled():
        yield
        return
    distinct = torch.unique(torch.cat([tokens.flatten() for tokens in passes]))
    rows = table(distinct)

    def instead(module: torch.nn.Module, given: tuple[torch.Tensor, ...], found: Any) -> Any:
        return torch.nn.functional.embedding(torch.searchsorted(distinct, given[0]), rows)

    hook = table.register_forward_hook(instead)
    try:
        yield
    finally:
        hook.remove()


def _input_embeddings(model: torch.nn.Module) -> torch.nn.Module | None:
    inner: Any = getattr(model, "module", model)
    found = getattr(getattr(inner[0], "auto_model", None), "get_input_embeddings", None)
    table: torch.nn.Module | None = found() if found else None
    return table


def _bag_lengths(features: dict[str, Any]) -> torch.Tensor:
    ends = torch.cat([features["offsets"][1:], torch.tensor([len(features["input_ids"])])])
    lengths: torch.Tensor = ends - features["offsets"]
    return lengths


def _device(model: torch.nn.Module) -> torch.device:
    return next(model.parameters()).device
