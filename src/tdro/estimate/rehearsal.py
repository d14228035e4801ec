"""A step of a training or a forward pass, gone through with tensors that hold nothing.

PyTorch's fake tensors have a shape, a type and a size but no memory. The model's own code runs on
them, autograd and autocast with it, so that what a step keeps for its backward pass is counted and
not guessed, whatever the architecture.
"""

import contextlib
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tdro.estimate.sizes import Skeleton


@dataclass(frozen=True)
class Texts:
    """The padded texts of one forward pass.

    Attributes:
        count: Number of texts.
        length: Tokens of each, padding included.
    """

    count: int
    length: int

    @property
    def tokens(self) -> int:
        """Tokens of all of them, padding included."""
        return self.count * self.length


class Rehearsal:
    """A model of fake tensors and the bytes that are alive beside its weights.

    Args:
        model: The model, on the meta device; it is used up.
        bf16: Run forward passes under bfloat16 autocast.
        checkpointing: Compute activations again in the backward pass.
    """

    def __init__(self, model: Skeleton, *, bf16: bool, checkpointing: bool = False) -> None:
        self.model = model.train()
        self._bf16 = bf16
        self._live = _Live()
        if checkpointing:
            layers: Any = model[0]
            layers.auto_model.activation_checkpointing_enable({"use_reentrant": False})

    @contextlib.contextmanager
    def begun(self) -> Iterator[None]:
        """Within, tensors are fake and counted."""
        with FakeTensorMode(allow_non_fake_inputs=True):
            _fill(self.model)
            self._live.ignore([*self.model.parameters(), *self.model.buffers()])
            with self._live:
                yield

    @property
    def bytes_now(self) -> int:
        """Bytes that are alive, the model's weights left out."""
        return self._live.now

    def peak(self) -> int:
        """Returns the most bytes that were alive at once since the last call."""
        peak, self._live.peak = self._live.peak, self._live.now
        return peak

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Returns the context of forward passes."""
        if not self._bf16:
            return contextlib.nullcontext()
        return torch.autocast("cpu", dtype=torch.bfloat16)

    def embed(self, texts: Texts) -> torch.Tensor:
        """Runs a forward pass, shape ``(texts, dimensions)``."""
        padded = hasattr(self.model[0], "auto_model")
        shape = (texts.count, texts.length) if padded else (texts.tokens,)
        features = {
            "input_ids": torch.empty(shape, dtype=torch.long),
            "attention_mask": torch.ones(texts.count, texts.length, dtype=torch.long),
            "offsets": torch.empty(texts.count, dtype=torch.long),
        }
        found: torch.Tensor = self.model(features)["sentence_embedding"]
        return found

    @contextlib.contextmanager
    def looked_up_once(self, distinct: int) -> Iterator[None]:
        """Lets forward passes share a look-up of input embeddings (see ``tdro.encoder``).

        Args:
            distinct: Distinct tokens of their texts; with 0 each has a look-up of its own.
        """
        layers: Any = getattr(self.model[0], "auto_model", None)
        table = layers.get_input_embeddings() if layers is not None else None
        if not distinct or table is None or not table.weight.requires_grad:
            yield
            return
        rows = table(torch.empty(distinct, dtype=torch.long))
        hook = table.register_forward_hook(
            lambda module, given, found: torch.nn.functional.embedding(given[0], rows)
        )
        try:
            yield
        finally:
            hook.remove()

    def back(self, loss: torch.Tensor) -> None:
        """Runs the backward pass of a loss."""
        loss.backward()  # type: ignore[no-untyped-call]

    def give_gradients(self) -> None:
        """Gives every trained weight a gradient, as an earlier backward pass of the step does."""
        for weight in self.model.parameters():
            if weight.requires_grad:
                weight.grad = torch.empty_like(weight)


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all storages that operations make, until they are freed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._known: set[int] = set()
        self._ignored: list[Any] = []

    def ignore(self, tensors: Sequence[torch.Tensor]) -> None:
        """Leaves tensors out of the count."""
        self._ignored = [tensor.untyped_storage() for tensor in tensors]
        self._known |= {storage._cdata for storage in self._ignored}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for value in tree_leaves(found):
            if isinstance(value, torch.Tensor):
                self._count(value.untyped_storage())
        return found

    def _count(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def _fill(model: torch.nn.Module) -> None:
    """Puts fake tensors in the place of a model's meta tensors; shared ones stay shared."""
    made: dict[int, Any] = {}

    def fake(value: torch.Tensor) -> torch.Tensor:
        if id(value) not in made:
            empty = torch.empty_like(value, device="cpu")
            if isinstance(value, torch.nn.Parameter):
                empty = torch.nn.Parameter(empty, requires_grad=value.requires_grad)
            made[id(value)] = empty
        found: torch.Tensor = made[id(value)]
        return found

    for module in model.modules():
        everything: list[dict[str, Any]] = [module._parameters, module._buffers, vars(module)]
        for held in everything:
            for name, value in list(held.items()):
                if isinstance(value, torch.Tensor) and value.device.type == "meta":
                    held[name] = fake(value)
