"""Selections: which tasks of a mixture are trained on, in equal parts."""

import re
from collections.abc import Mapping
from typing import Any

from tdro.errors import InputError
from tdro.mixture import Mixture

HELPED = "helped"
# Where a mixture file keeps what was measured of each task, and what its gain is called there.
_MEASURED = (("gains", "gain"), ("slopes", "slope"))
_TOP = re.compile(r"top-(0?\.\d+|1(\.0+)?)")
# A task is left out when it gains less than this share of the mean gain, ...
_LEAST_SHARE = 1 / 3
# ... by so many standard errors.
_ERRORS = 2.0


def is_selection(name: str) -> bool:
    """Tells whether a name asks for a selection: ``helped``, or such as ``top-0.7``."""
    return name == HELPED or (bool(_TOP.fullmatch(name)) and float(name.removeprefix("top-")) > 0)


def split_selection(name: str) -> tuple[str, str]:
    """Splits ``tdro/top-0.7`` into what is selected from and the selection, or an empty text."""
    base, slash, selection = name.rpartition("/")
    return (base, selection) if slash and is_selection(selection) else (name, "")


def selected(mixture: Mixture, selection: str) -> Mixture:
    """Selects tasks of a mixture and gives them equal weights.

    Args:
        mixture: The mixture.
        selection: ``top-FRACTION`` (see :meth:`~tdro.mixture.Mixture.top`), or ``helped``: all but
            the tasks that further rows do not help (see :func:`unhelped_tasks`).

    Raises:
        InputError: ``helped`` of a mixture that tells no gains.
    """
    if selection != HELPED:
        return mixture.top(selection.removeprefix("top-"))
    out = left_out(mixture)
    kept = [task for task in mixture.weights if task not in out]
    return Mixture(
        dict.fromkeys(kept, 1 / len(kept)),
        {task: mixture.sizes[task] for task in kept if mixture.sizes},
        {**mixture.details, "selection": HELPED},
    )


def left_out(mixture: Mixture) -> set[str]:
    """Returns the tasks of a mixture that the selection ``helped`` leaves out.

    Raises:
        InputError: The mixture tells no gains.
    """
    gains, errors = gains_told(mixture)
    here = {task: gain for task, gain in gains.items() if task in mixture.weights}
    return set(unhelped_tasks(here, errors))


def tells_gains(mixture: Mixture) -> bool:
    """Tells whether a mixture says what further rows gain on each task."""
    return any(told in mixture.details for told, _ in _MEASURED)


def gains_told(mixture: Mixture) -> tuple[dict[str, float], dict[str, float]]:
    """Returns what further rows gain on each task by a mixture's file, and the standard errors.

    Raises:
        InputError: The file tells no gains, or not as numbers.
    """
    for told, gain in _MEASURED:
        if told in mixture.details:
            measured: Any = mixture.details[told]
            try:
                return (
                    {task: float(one[gain]) for task, one in measured.items()},
                    {task: float(one["error"]) for task, one in measured.items()},
                )
            except (AttributeError, KeyError, TypeError, ValueError):
                raise InputError(
                    f"{told!r} of the mixture must give a {gain!r} and an 'error' for each task."
                ) from None
    # Here, since a mixture is shown and selected from without a recipe's settings.
    from tdro.settings import MEASURE_GAINS

    raise InputError(
        "'helped' selects by what further rows gain on each task, which this mixture does not "
        f"tell: take one of {' or '.join(MEASURE_GAINS)}."
    )


def unhelped_tasks(gains: Mapping[str, float], errors: Mapping[str, float]) -> list[str]:
    """Returns the tasks that further rows do not help, the one that gains least first.

    They gain less than a third of the mean gain by two standard errors or more. Where the tasks
    gain nothing on the whole, nothing tells them apart and none is named.

    Args:
        gains: What further rows gain on each task.
        errors: Standard errors of the gains.
    """
    mean = sum(gains.values()) / len(gains) if gains else 0.0
    return [
        task
        for task in sorted(gains, key=gains.__getitem__)
        if mean > 0 and gains[task] + _ERRORS * errors[task] < _LEAST_SHARE * mean
    ]
