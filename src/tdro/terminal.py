"""The terminal that commands write to."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def console() -> "Console":
    """Returns the console; rich is imported only when something is printed."""
    from rich.console import Console

    return Console()
