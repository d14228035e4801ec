"""What a recipe says of a comparison, and the names that mixtures have there."""

import difflib
import re
from decimal import Decimal
from typing import Any

from pydantic import field_validator

from tdro.selection import HELPED, is_selection, split_selection
from tdro.settings import LEARNERS, MEASURE_GAINS, Settings

_TEMPERATURE = re.compile(r"temperature-(\d+(\.\d+)?|\.\d+)")


def is_temperature(name: str) -> bool:
    """Tells whether a name asks for weights by a power of the tasks' sizes."""
    return bool(_TEMPERATURE.fullmatch(name))


def one_spelling(name: str) -> str:
    """Writes the number of a name in the one way: ``tdro/top-.70`` becomes ``tdro/top-0.7``."""
    base, selection = split_selection(name)
    if is_temperature(base) or is_selection(base):
        base = _plain(base)
    return f"{base}/{_plain(selection)}" if selection else base


def _plain(name: str) -> str:
    kind, dash, number = name.partition("-")
    if not dash:
        return name
    digits = format(Decimal(number), "f")
    return f"{kind}-{digits.rstrip('0').rstrip('.') if '.' in digits else digits}"


class CompareSettings(Settings):
    """What ``tdro compare`` compares.

    Attributes:
        mixtures: Each ``uniform``, ``proportional``, ``temperature-T`` (or ``temperature: T``), a
            mixture file, or a learning method; with ``/top-FRACTION`` behind it, the selection of
            its heaviest tasks, or with ``/helped``, of all but those that further rows do not help
            (of ``learning-curve``, ``regression`` or their files). Also ``uniform-longer``, trained
            longer by what the recipe's own method costs, and ``soup``, the plain average of the
            experts of ``merge-search``. Other methods than the recipe's take its settings of
            learning (see ``LearningSettings.with_method``).
        seeds: Repetitions, a number of seeds from the recipe's on, or a list of the seeds; data
            splits, models and draws all differ. What was found with some seeds is confirmed with
            others.
        budgets: Shares of the training steps with which each mixture is trained; 1 is always
            among them.
        keep_models: Keep the retrievers when they have their scores; without, one is trained
            again when a further benchmark asks for it.
    """

    mixtures: tuple[str, ...] = (
        "uniform",
        "uniform-longer",
        "proportional",
        "temperature-0.5",
        "tdro",
        "tdro/top-0.7",
        "learning-curve",
        "learning-curve/helped",
    )
    seeds: int | tuple[int, ...] = 3
    budgets: tuple[float, ...] = (1.0,)
    keep_models: bool = True

    @field_validator("mixtures", mode="before")
    @classmethod
    def _named(cls, values: Any) -> Any:
        """Turns ``{temperature: 0.5}`` and ``{method: tdro, top: 0.7}`` into names."""
        if not isinstance(values, list | tuple):
            return values
        return tuple(_entry_name(value) for value in values)

    @field_validator("mixtures")
    @classmethod
    def _known(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        names = tuple(map(one_spelling, given))
        named = ("uniform", "uniform-longer", "proportional", "soup", *LEARNERS)
        for name in names:
            base, selection = split_selection(name)
            if not (base in named or is_temperature(base) or base.endswith(".json")):
                near = difflib.get_close_matches(base, (*named, "temperature-0.5"), 1, 0.0)[0]
                raise ValueError(f"{name!r} is no mixture; the nearest is {near!r}")
            if selection and base in ("uniform", "uniform-longer", "soup"):
                raise ValueError(f"{name!r}: there is nothing to select from {base!r}")
            if selection == HELPED and not (base in MEASURE_GAINS or base.endswith(".json")):
                raise ValueError(
                    f"{name!r}: {base} does not tell what further rows gain; "
                    f"{' and '.join(MEASURE_GAINS)} do"
                )
            if names.count(name) > 1:
                raise ValueError(f"the mixture {name!r} is named twice")
        # What every other mixture is compared with.
        return names if "uniform" in names else ("uniform", *names)

    @field_validator("seeds", mode="before")
    @classmethod
    def _some(cls, seeds: Any) -> Any:
        listed = list(seeds) if isinstance(seeds, list | tuple) else [seeds]
        whole = all(type(seed) is int and seed >= 0 for seed in listed)
        if not whole or not listed or seeds == 0 or len(set(listed)) < len(listed):
            raise ValueError("write how many, 1 or more, or a list of different seeds")
        return seeds

    @field_validator("budgets")
    @classmethod
    def _shares(cls, budgets: tuple[float, ...]) -> tuple[float, ...]:
        for budget in budgets:
            if not 0 < budget <= 1:
                raise ValueError(
                    f"a budget is a share of the steps above 0 and at most 1, not {budget}"
                )
        return tuple(sorted({1.0, *budgets}, reverse=True))


def _entry_name(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    selection = f"/top-{value['top']}" if "top" in value else ""
    rest = {key: item for key, item in value.items() if key != "top"}
    match rest:
        case {"temperature": power, **others} if not others:
            return f"temperature-{power}{selection}"
        case {"method": name, **others} if not others:
            return f"{name}{selection}"
        case {"file": name, **others} if not others:
            return f"{name}{selection}"
    raise ValueError(f"a mixture is a name, or one of temperature, method and file, not {value}")
