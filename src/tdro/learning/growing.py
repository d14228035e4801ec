"""A sequence that grows by a value at a time and keeps what it was."""

from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar, overload

Item = TypeVar("Item")


class Growing(Sequence[Item], Generic[Item]):
    """A value like a tuple whose extension does not copy it.

    A sequence and its extensions share one list, of which each sees its own beginning. Extending
    a tuple by one copies it, which over a run is quadratic in its steps.

    Args:
        items: What it holds.
    """

    def __init__(self, items: Iterable[Item] = ()) -> None:
        self._items = list(items)
        self._length = len(self._items)

    @classmethod
    def of(cls, items: Sequence[Item]) -> "Growing[Item]":
        """Returns the items as such a sequence, themselves where they are one."""
        return items if isinstance(items, Growing) else cls(items)

    def extended(self, items: Iterable[Item]) -> "Growing[Item]":
        """Returns the sequence with more items at its end; this one stays as it is."""
        # Another extension may have put its own items behind ours.
        free = len(self._items) == self._length
        longer: Growing[Item] = Growing(() if free else self)
        if free:
            longer._items = self._items
        longer._items.extend(items)
        longer._length = len(longer._items)
        return longer

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, place: int) -> Item: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[Item, ...]: ...

    def __getitem__(self, place: int | slice) -> Item | tuple[Item, ...]:
        if isinstance(place, slice):
            return tuple(self._items[at] for at in range(*place.indices(self._length)))
        return self._items[range(self._length)[place]]
