"""Experts, one a task, and what averaging their parameters makes of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from tdro.errors import InputError
from tdro.learning.losses import Floats


class Experts:
    """Models of one shape whose parameters can be averaged with any weights.

    Their parameters are held side by side in memory: K times those of one model.

    Args:
        folders: Folders of the K models.

    Attributes:
        model: Takes on the parameters of each average.

    Raises:
        InputError: Two models differ in shape.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.model = SentenceTransformer(str(folders[0]), local_files_only=True).eval()
        self._parameters = dict(self.model.named_parameters())
        self._stacked = torch.stack([self._flat(folder) for folder in folders])

    def merged(self, weights: Floats) -> SentenceTransformer:
        """Returns ``model`` with the weighted average of the experts' parameters.

        Args:
            weights: Weight of each expert, summing to 1, shape ``(K,)``.
        """
        share = torch.from_numpy(np.asarray(weights)).to(self._stacked.dtype)
        average = share @ self._stacked
        start = 0
        with torch.no_grad():
            for parameter in self._parameters.values():
                end = start + parameter.numel()
                parameter.copy_(average[start:end].view_as(parameter))
                start = end
        return self.model

    def _flat(self, folder: Path) -> torch.Tensor:
        other = SentenceTransformer(str(folder), local_files_only=True)
        found = dict(other.named_parameters())
        shapes = {name: value.shape for name, value in found.items()}
        if shapes != {name: value.shape for name, value in self._parameters.items()}:
            raise InputError(f"The model in {folder} has another shape than the other experts.")
        flat = [found[name].detach().float().cpu().flatten() for name in self._parameters]
        return torch.cat(flat)
