"""Tables for the terminal."""

from rich.markup import escape
from rich.table import Table

from tdro.mixture import Mixture
from tdro.selection import gains_told, left_out, tells_gains


def mixture_table(mixture: Mixture) -> Table:
    """Shows the weights, heaviest first, beside uniform and beside the tasks' share of the rows.

    Where the mixture tells what further rows gain on each task, that is shown with its standard
    error, and which tasks the selection ``helped`` would leave out.

    Raises:
        InputError: The gains that it tells are no numbers.
    """
    table = Table(
        caption=f"{mixture.effective_tasks():.1f} effective tasks of {len(mixture.weights)}"
    )
    table.add_column("task")
    for name in ("weight", "x uniform", *(("rows", "share of rows") if mixture.sizes else ())):
        table.add_column(name, justify="right")
    gains, errors = gains_told(mixture) if tells_gains(mixture) else ({}, {})
    # A selection was made already, and of what is left another would be made.
    out = left_out(mixture) if gains and "selection" not in mixture.details else set()
    if gains:
        table.add_column("gain", justify="right", no_wrap=True)
    if out:
        table.add_column("'helped'", no_wrap=True)
    total = sum(mixture.sizes.values())
    count = len(mixture.weights)
    for task, weight in sorted(mixture.weights.items(), key=lambda item: -item[1]):
        cells = [escape(task), f"{weight:.4f}", f"{weight * count:.2f}"]
        if mixture.sizes:
            rows = mixture.sizes[task]
            cells += [f"{rows:,}", f"{rows / total:.4f}" if total else "-"]
        if gains:
            cells.append(f"{gains[task]:+.4f} ± {errors[task]:.4f}" if task in gains else "-")
        if out:
            cells.append("drops" if task in out else "keeps")
        table.add_row(*cells)
    return table
