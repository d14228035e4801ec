"""Which passages are closest to a query, by an embedding model; and what a cross-encoder says."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder, SentenceTransformer
from torch import Tensor

from tdro.encoder import autocast
from tdro.errors import InputError
from tdro.evaluation.search import Nearest, unit_rows
from tdro.mining.ranking import Ranked
from tdro.mining.texts import TaskTexts
from tdro.pretrained import unreadable_weights
from tdro.progress import Tick
from tdro.prompts import query_prompt, takes_instructions

_PASSAGES_PER_FILE = 1024
_MOST_ROWS = 4096
# Keys of the best passages of all rows asked together: 8 bytes each, and some copies of them.
_MOST_FOUND = 1 << 22
_TENSOR = "embeddings"


class DenseRanker:
    """Ranks by cosine similarity, exactly, with memory for a block of queries and of passages.

    Passages are encoded once, 1024 at a time into a file of their own, so that a killed attempt
    loses at most so many.

    Args:
        model: The embedding model.
        texts: The task.
        folder: For the embeddings; may hold those of an earlier attempt.
        prompt: Put before each query; the model's own query prompt when None.
        deepest: Passages to find for a row at most.
        batch_size: Texts of a forward pass.
        tick: Told the passages encoded.

    Raises:
        InputError: The model gives an embedding that is not finite.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        texts: TaskTexts,
        folder: Path,
        *,
        prompt: str | None,
        deepest: int,
        batch_size: int,
        tick: Tick,
    ) -> None:
        self.rows = max(1, min(_MOST_ROWS, _MOST_FOUND // deepest))
        self._model, self._texts, self._prompt = model, texts, prompt
        self._batch_size = batch_size
        folder.mkdir(exist_ok=True)
        total = len(texts.passages)
        self._files = [
            (start, folder / f"{start:010d}.safetensors")
            for start in range(0, total, _PASSAGES_PER_FILE)
        ]
        for start, path in self._files:
            if not path.is_file():
                some = texts.passages.slice(start, _PASSAGES_PER_FILE).to_pylist()
                self._save(path, self._encoded(model.encode_document, some, "passage"))
            tick(min(start + _PASSAGES_PER_FILE, total), total, None)

    def rank(self, first: int, depths: NDArray[np.int64]) -> list[Ranked]:
        """See :class:`~tdro.mining.ranking.Ranker`."""
        some = self._texts.queries.slice(first, len(depths)).to_pylist()
        queries = self._encoded(self._model.encode_query, some, "query", prompt=self._prompt)
        positives = [self._texts.positives[first + place] for place in range(len(depths))]
        owners = np.repeat(np.arange(len(depths)), [len(one) for one in positives])
        numbers = np.concatenate(positives)
        lowest = np.full(len(depths), np.inf, dtype=np.float32)
        nearest = Nearest(queries, int(depths.max()))
        for start, path in self._files:
            passages = load_file(path)[_TENSOR]
            nearest.add(passages, start)
            here = (numbers >= start) & (numbers < start + len(passages))
            own = queries[torch.from_numpy(owners[here]).to(queries.device)]
            other = passages[torch.from_numpy(numbers[here] - start).long()].to(queries.device)
            np.minimum.at(lowest, owners[here], (own * other).sum(dim=1).cpu().numpy())
        scores, found = (part.numpy() for part in nearest.found())
        return [
            Ranked(found[place, :depth].astype(np.int32), scores[place, :depth], float(low))
            for place, (depth, low) in enumerate(zip(depths.tolist(), lowest, strict=True))
        ]

    def _encoded(self, encode: Any, texts: list[str], what: str, **prompt: str | None) -> Tensor:
        with autocast(self._model, "auto"):
            embeddings = encode(
                texts,
                batch_size=self._batch_size,
                convert_to_tensor=True,
                show_progress_bar=False,
                **prompt,
            )
        return unit_rows(embeddings, f"a {what} of {self._texts.name!r}")

    @staticmethod
    def _save(path: Path, embeddings: Tensor) -> None:
        partial = path.with_suffix(".partial")
        save_file({_TENSOR: embeddings.cpu().contiguous()}, partial)
        partial.replace(path)


def prompt_for(
    model: SentenceTransformer, task: str, instruction: str, instructed: bool | None
) -> str | None:
    """Returns what stands before the queries of a task; None for the model's own query prompt.

    Args:
        model: The embedding model.
        task: Name of the task.
        instruction: What its queries ask for.
        instructed: Use the instruction; None where the model was trained with instructions, which
            the prompts it keeps tell.
    """
    if instructed is None:
        if model.prompts.get(task):
            return model.prompts[task]
        instructed = takes_instructions(model.prompts)
    return query_prompt(instruction) if instructed and instruction else None


class CrossEncoderJudge:
    """A cross-encoder that rates passages for queries.

    Its raw scores are used: after a sigmoid the best of them would all be 1.

    Args:
        name_or_path: Folder or hub id.
        batch_size: Pairs of a forward pass.

    Raises:
        InputError: It cannot be loaded, or gives more than one score a pair.
    """

    def __init__(self, name_or_path: str, batch_size: int) -> None:
        try:
            self.model = CrossEncoder(name_or_path)
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(f"The judge {name_or_path!r} cannot be loaded: {reason}") from None
        except SafetensorError as error:
            raise unreadable_weights(name_or_path, error) from None
        if self.model.num_labels != 1:
            raise InputError(
                f"The judge {name_or_path!r} gives {self.model.num_labels} scores for a pair: "
                "name a cross-encoder with one."
            )
        self._name = name_or_path
        self._batch_size = batch_size

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """Returns the score of each pair of a query and a passage, shape (pairs,).

        Raises:
            InputError: A score is not finite.
        """
        scores = self.model.predict(
            list(pairs),
            batch_size=self._batch_size,
            activation_fn=torch.nn.Identity(),
            show_progress_bar=False,
            convert_to_numpy=True,
        )
        found: NDArray[np.float32] = np.asarray(scores, dtype=np.float32).reshape(-1)
        if not np.isfinite(found).all():
            raise InputError(
                f"The judge {self._name!r} gives a score that is not finite for a query such as "
                f"{pairs[int(np.flatnonzero(~np.isfinite(found))[0])][0][:60]!r}: name another."
            )
        return found
