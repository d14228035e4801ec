"""The processes of a run: one does what is done once, all wait for it and go on with its result.

Started by ``accelerate launch`` or ``torchrun``, every process goes through the same stages. They
share the run directory, which has to be on a file system that all of them see.
"""

import contextlib
import datetime
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

_T = TypeVar("_T")
# The first process may prepare large tasks for hours while the others wait for it.
_LONGEST_WAIT = datetime.timedelta(days=30)


class FirstFailed(Exception):  # noqa: N818 - it is no error of the process that raises it
    """The first process failed and has said why."""


@dataclass(frozen=True)
class Processes:
    """This process among those of a run.

    Attributes:
        rank: Its number; the first writes and speaks.
        count: Number of processes.
        turns: The group that waits and agrees on the CPU; None where there is one process.
    """

    rank: int = 0
    count: int = 1
    turns: Any = None

    @property
    def first(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0

    def speaking(self, console: "Console") -> "Console":
        """Returns where this process speaks: processes other than the first say nothing."""
        from rich.console import Console

        return console if self.first else Console(quiet=True)

    def once(self, work: Callable[[], _T]) -> _T:
        """Has the first process do something while the others wait.

        Returns:
            What the first one returned, in every process.

        Raises:
            FirstFailed: In the others, when the first one raised something.
        """
        if self.count == 1:
            return work()
        if not self.first:
            outcome, failed = self._told(None)
            if failed:
                raise FirstFailed
            return outcome  # type: ignore[no-any-return]
        try:
            outcome = work()
        except BaseException:
            self._told((None, True))
            raise
        self._told((outcome, False))
        return outcome

    def wait(self) -> None:
        """Waits until every process is here."""
        if self.count > 1:
            import torch

            torch.distributed.barrier(self.turns)

    def gathered(self, value: _T) -> list[_T]:
        """Returns what each process has, by rank, in the first one; nothing in the others."""
        if self.count == 1:
            return [value]
        import torch

        found: list[Any] = [None] * self.count
        torch.distributed.gather_object(value, found if self.first else None, group=self.turns)
        return found if self.first else []

    def _told(self, value: Any) -> Any:
        import torch

        box = [value]
        torch.distributed.broadcast_object_list(box, src=0, group=self.turns)
        return box[0]


@contextlib.contextmanager
def joined() -> Iterator[Processes]:
    """Joins the processes that a launcher started, and leaves them at the end.

    Without a launcher there is one process, and nothing is imported.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes()
        return
    import torch
    from accelerate import PartialState

    # Without an accelerator it has to be told, or each process takes itself for the only one.
    state = PartialState(cpu=not torch.accelerator.is_available())
    turns = torch.distributed.new_group(backend="gloo", timeout=_LONGEST_WAIT)
    yield Processes(state.process_index, state.num_processes, turns)
    state.destroy_process_group()
