"""The mixture: weights over tasks, as a value, as a file and as a batch sampler."""

import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tdro.errors import InputError
from tdro.files import read_json, write_json

if TYPE_CHECKING:
    from tdro.sampling import MixtureBatchSampler

# Released weight files are float32, whose sums are off by up to about 1e-7 a task.
_SUM_TOLERANCE = 1e-4
_FILE_KEYS = ("domain_ids", "domain_weights", "size", "epoch")


@dataclass(frozen=True)
class Mixture:
    """Weights over tasks, positive or zero, summing to 1.

    Attributes:
        weights: Weight of each task, in the order of the tasks.
        sizes: Rows of each task; empty where unknown.
        details: What else a mixture file says (method, steps, ...), kept as it was read.

    Raises:
        InputError: A weight is negative or not finite, the weights do not sum to 1, or ``sizes``
            names other tasks than ``weights``.
    """

    weights: Mapping[str, float]
    sizes: Mapping[str, int] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("weights", "sizes", "details"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        if not self.weights:
            raise InputError("A mixture needs at least one task.")
        for task, weight in self.weights.items():
            if not (math.isfinite(weight) and weight >= 0):
                raise InputError(
                    f"The weight of task {task!r} is {weight}: weights are zero or more."
                )
        total = math.fsum(self.weights.values())
        if abs(total - 1) > _SUM_TOLERANCE:
            raise InputError(f"The weights of a mixture sum to 1, these sum to {total:.6g}.")
        if self.sizes and set(self.sizes) != set(self.weights):
            odd = sorted(set(self.sizes) ^ set(self.weights))[0]
            raise InputError(f"Sizes and weights name different tasks: {odd!r} is in one only.")

    @classmethod
    def uniform(cls, tasks: Iterable[str] | Mapping[str, int]) -> "Mixture":
        """Gives every task the same weight.

        Args:
            tasks: Names of the tasks, or their sizes in rows by name.
        """
        names = list(tasks)
        sizes = dict(tasks) if isinstance(tasks, Mapping) else {}
        return cls(dict.fromkeys(names, 1 / len(names)) if names else {}, sizes)

    @classmethod
    def proportional(cls, sizes: Mapping[str, int], temperature: float = 1.0) -> "Mixture":
        """Gives every task a weight in proportion to its rows, or to a power of them.

        Args:
            sizes: Rows of each task.
            temperature: The power: 1 is proportional, 0 uniform, 0.5 in between.
        """
        # Beyond proportional, in shares of the largest task: the power of a size can overflow. Up
        # to proportional nothing is scaled, so that finished stages keep their weights to the bit.
        unit = max(sizes.values(), default=0) if temperature > 1 else 1
        powers = {
            task: (rows / unit) ** temperature if rows else 0.0 for task, rows in sizes.items()
        }
        total = math.fsum(powers.values())
        if total <= 0:
            raise InputError("A proportional mixture needs tasks with rows.")
        return cls({task: power / total for task, power in powers.items()}, sizes)

    def top(self, fraction: float | str | Decimal) -> "Mixture":
        """Selects the heaviest tasks and gives them equal weights (paper: "top 70 %").

        Keeps ``max(1, floor(fraction * K))`` of the K tasks; the floor is taken on the decimal as
        written, so that 0.7 of 10 tasks is 7. Of equal weights the earlier task is kept. Tasks
        that are not kept are left out, as in the authors' files.

        Raises:
            InputError: ``fraction`` is not a number above 0 and at most 1.
        """
        try:
            exact = Decimal(str(fraction))
        except InvalidOperation:
            raise InputError(f"A fraction such as 0.7 is needed, not {str(fraction)!r}.") from None
        if exact.is_nan() or not 0 < exact <= 1:
            raise InputError(
                f"The fraction of tasks to keep is above 0 and at most 1, not {exact}."
            )
        count = max(1, math.floor(exact * len(self.weights)))
        kept = sorted(self.weights, key=lambda task: -self.weights[task])[:count]
        return Mixture(
            dict.fromkeys(kept, 1 / count),
            {task: self.sizes[task] for task in kept if self.sizes},
            {**self.details, "selection": f"top-{exact}"},
        )

    def aligned(self, tasks: Iterable[str]) -> list[float]:
        """Returns the weights in the order of ``tasks``; 0 for a task the mixture leaves out.

        Raises:
            InputError: The mixture gives weight to a task that is not among ``tasks``.
        """
        names = list(tasks)
        known = set(names)
        for task, weight in self.weights.items():
            if weight > 0 and task not in known:
                raise InputError(
                    f"The mixture gives weight {weight:.4g} to task {task!r}, "
                    "which is not among the training tasks."
                )
        return [self.weights.get(task, 0.0) for task in names]

    def batch_sampler(
        self, tasks: Iterable[str], *, batches: int | None = None
    ) -> Callable[..., "MixtureBatchSampler"]:
        """Makes the value for ``multi_dataset_batch_sampler`` of a sentence-transformers trainer.

        Every batch then holds rows of one task, and after any number of batches each task has had
        its weight's share of them to within one batch. A dataset that the mixture does not name
        gets no weight and is never trained on.

        An epoch is no pass over the datasets: it is as many batches as all of them hold together,
        those without weight among them. A dataset with much weight is read several times in it,
        one with little in part.

        Args:
            tasks: Names of the datasets in their order; the ``DatasetDict`` itself will do.
            batches: Batches an epoch; by default as many as the datasets hold together.

        Raises:
            InputError: The mixture gives weight to a task that is not among ``tasks``.

        Warns:
            UserWarning: Datasets are not named by the mixture, which is no selection.
        """
        from tdro.sampling import MixtureSamplerFactory

        names = tuple(tasks)
        unnamed = [name for name in names if name not in self.weights]
        # What a selection does not name was left out on purpose.
        if unnamed and "selection" not in self.details:
            warnings.warn(
                "Not named by the mixture, and so never trained on: "
                f"{', '.join(map(repr, unnamed))}.",
                stacklevel=2,
            )
        return MixtureSamplerFactory(names, tuple(self.aligned(names)), batches)

    @classmethod
    def load(cls, path: Path | str) -> "Mixture":
        """Reads a mixture file, ours or the authors'.

        Raises:
            InputError: The file cannot be read, is not JSON, or is no mixture.
        """
        path = Path(path)
        content = read_json(path)
        if not isinstance(content, dict) or not isinstance(content.get("domain_weights"), dict):
            raise InputError(f"{path} is no mixture file: it has no 'domain_weights'.")
        weights = content["domain_weights"]
        for task, weight in weights.items():
            if isinstance(weight, bool) or not isinstance(weight, int | float):
                raise InputError(f"{path}: the weight of task {task!r} is {weight!r}, no number.")
        ids = content.get("domain_ids") or dict(zip(weights, range(len(weights)), strict=True))
        sizes = content.get("size") or {}
        for key, found in (("domain_ids", ids), ("size", sizes)):
            if not isinstance(found, dict) or any(type(n) is not int for n in found.values()):
                raise InputError(f"{path}: {key!r} must give a whole number for each task.")
        order = sorted(weights, key=lambda task: ids.get(task, len(ids)))
        details = {key: value for key, value in content.items() if key not in _FILE_KEYS}
        try:
            return cls({task: weights[task] for task in order}, sizes, details)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None

    def save(self, path: Path | str) -> None:
        """Writes the mixture in the authors' layout, our further keys beside theirs."""
        content: dict[str, Any] = {
            "domain_ids": {task: number for number, task in enumerate(self.weights)},
            "domain_weights": dict(self.weights),
        }
        if self.sizes:
            total = sum(self.sizes.values())
            content["size"] = {task: self.sizes[task] for task in self.weights}
            content["epoch"] = {
                task: weight * total / self.sizes[task] if self.sizes[task] else 0.0
                for task, weight in self.weights.items()
            }
        write_json(Path(path), {**content, **self.details})

    def effective_tasks(self) -> float:
        """Returns exp(entropy) of the weights: how many equal tasks the mixture amounts to."""
        return math.exp(-math.fsum(w * math.log(w) for w in self.weights.values() if w > 0))
