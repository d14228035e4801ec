"""Tables for the terminal."""

from rich.markup import escape
from rich.table import Table

from tdro.mixture import Mixture


def mixture_table(mixture: Mixture) -> Table:
    """Shows the weights, heaviest first, beside uniform and beside the tasks' share of the rows."""
    table = Table(
        caption=f"{mixture.effective_tasks():.1f} effective tasks of {len(mixture.weights)}"
    )
    table.add_column("task")
    for name in ("weight", "x uniform", *(("rows", "share of rows") if mixture.sizes else ())):
        table.add_column(name, justify="right")
    total = sum(mixture.sizes.values())
    count = len(mixture.weights)
    for task, weight in sorted(mixture.weights.items(), key=lambda item: -item[1]):
        cells = [escape(task), f"{weight:.4f}", f"{weight * count:.2f}"]
        if mixture.sizes:
            rows = mixture.sizes[task]
            cells += [f"{rows:,}", f"{rows / total:.4f}" if total else "-"]
        table.add_row(*cells)
    return table
