"""Families: benchmarks that are parts of one, such as the forums of CQADupStack, and count once."""

from collections.abc import Iterable, Sequence


def family_of(benchmark: str) -> str | None:
    """Returns what stands before the slash of ``FAMILY/PART``; nothing for a benchmark alone."""
    family, slash, _ = benchmark.partition("/")
    return family if slash else None


def units(group: str, benchmarks: Iterable[str]) -> dict[str, list[str]]:
    """Returns what counts once in the mean of a group: a benchmark, or a family with its parts.

    Args:
        group: Group of the benchmarks. Hold-outs are named as their tasks and are no parts.
        benchmarks: Their names.

    Returns:
        The benchmarks of each unit by its name, in their order.
    """
    found: dict[str, list[str]] = {}
    for name in benchmarks:
        family = family_of(name) if group == "external" else None
        found.setdefault(family or name, []).append(name)
    return found


def shares(group: str, benchmarks: Sequence[str]) -> list[int]:
    """Returns by what each benchmark's score is divided for the mean over units."""
    sizes = units(group, benchmarks).values()
    parts = {name: len(members) for members in sizes for name in members}
    return [len(sizes) * parts[name] for name in benchmarks]
