"""Scores of retrievers laid side by side, query by query, for paired comparisons."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tdro.errors import InputError
from tdro.evaluation.families import shares
from tdro.evaluation.scores import SEED_COLUMN

KEYS = (SEED_COLUMN, "group", "benchmark", "query")
"""What tells the scores of a retriever apart."""

Floats = NDArray[np.float64]


def unmeasured_metrics(table: pa.Table, metrics: Sequence[str]) -> set[tuple[str, str, str]]:
    """Returns group, benchmark and metric where no query of any retriever has a score."""
    counts = table.group_by(["group", "benchmark"]).aggregate([(m, "count") for m in metrics])
    return {
        (line["group"], line["benchmark"], metric)
        for line in counts.to_pylist()
        for metric in metrics
        if not line[f"{metric}_count"]
    }


def measured_alike(values: Floats) -> list[list[int]]:
    """Returns the metrics that are measured on the same lines together, (metrics, lines)."""
    found: dict[bytes, list[int]] = {}
    for place, row in enumerate(~np.isnan(values)):
        if row.any():
            found.setdefault(row.tobytes(), []).append(place)
    return list(found.values())


def sorted_lines(
    table: pa.Table, retriever: str, metrics: Sequence[str], unmeasured: set[tuple[str, str, str]]
) -> pa.Table:
    """Returns the lines of a retriever, sorted by their keys.

    Raises:
        InputError: A score is missing, not finite or there twice.
    """
    lines = table.filter(pc.field("retriever") == retriever).sort_by(
        [(name, "ascending") for name in KEYS]
    )
    keys = _keys(lines)
    for metric in metrics:
        for key, value in zip(keys, lines.column(metric).to_pylist(), strict=True):
            unscored = value is None and (key[1], key[2], metric) in unmeasured
            if not unscored and (value is None or not math.isfinite(value)):
                raise InputError(
                    f"The {metric} of retriever {retriever!r} for {_place(key)} is not a number."
                )
    for first, second in itertools.pairwise(keys):
        if first == second:
            raise InputError(f"Retriever {retriever!r} has two scores for {_place(first)}.")
    return lines


def _keys(lines: pa.Table) -> list[tuple[Any, ...]]:
    return list(zip(*(lines.column(name).to_pylist() for name in KEYS), strict=True))


def _place(key: tuple[Any, ...]) -> str:
    """Says which seed, benchmark or query the first of the ``KEYS`` stand for."""
    text = f"seed {key[0]}"
    if len(key) > 1:
        text = f"{key[1]} benchmark {key[2]!r} of {text}"
    return f"query {key[3]!r} of {text}" if len(key) > 3 else text


def check_paired(parts: Mapping[str, pa.Table], retriever: str, baseline: str) -> None:
    """Checks that a retriever has the queries of the baseline.

    Raises:
        InputError: It has not; the sentence names the largest thing that is missing.
    """
    if all(parts[retriever].column(name).equals(parts[baseline].column(name)) for name in KEYS):
        return
    keys = {name: _keys(parts[name]) for name in (retriever, baseline)}
    for width in (1, 3, 4):
        for has, lacks in ((baseline, retriever), (retriever, baseline)):
            missing = {key[:width] for key in keys[has]} - {key[:width] for key in keys[lacks]}
            if missing:
                raise InputError(
                    f"Retriever {lacks!r} has no scores for {_place(min(missing))}, "
                    f"which {has!r} has: score both on the same queries."
                )


@dataclass(frozen=True)
class Paired:
    """The scores of a group, paired.

    Attributes:
        seeds: The seeds.
        benchmarks: Names of the benchmarks.
        macro: Mean over benchmarks, a family counting once, float64 (retrievers, metrics, seeds).
        means: Mean of each benchmark, float64 (retrievers, metrics, benchmarks).
        shares: What a query adds to the difference: float64 (retrievers but the baseline, metrics,
            seeds, queries); the sum over seeds and queries is the difference.
        weights: What a query would add if it differed by 1 in each of its seeds, float64 (queries).
        places: Queries of each benchmark, as places in ``weights``.
    """

    seeds: list[int]
    benchmarks: list[str]
    macro: Floats
    means: Floats
    shares: Floats
    weights: Floats
    places: list[NDArray[np.intp]]


def pair(group: str, keys: Mapping[str, NDArray[np.object_]], values: Floats) -> Paired:
    """Pairs the scores of a group; ``values`` is (retrievers, metrics, lines), baseline first."""
    seeds, seed = np.unique(keys[SEED_COLUMN], return_inverse=True)
    benchmarks, benchmark = np.unique(keys["benchmark"], return_inverse=True)
    names, name = np.unique(keys["query"], return_inverse=True)
    queries, query = np.unique(benchmark * len(names) + name, return_inverse=True)
    sizes = np.zeros((len(seeds), len(benchmarks)))
    np.add.at(sizes, (seed, benchmark), 1)
    size = sizes[seed, benchmark]
    divisors = np.ones_like(sizes)
    for line, there in zip(divisors, sizes > 0, strict=True):
        line[there] = shares(group, benchmarks[there].tolist())
    in_seed = 1 / (size * divisors[seed, benchmark])
    in_benchmark = 1 / (size * np.count_nonzero(sizes, axis=0)[benchmark])
    weight = in_seed / len(seeds)
    weights = np.zeros(len(queries))
    np.add.at(weights, query, weight)
    parts = np.zeros((len(values) - 1, values.shape[1], len(seeds), len(queries)))
    parts[:, :, seed, query] = (values[1:] - values[:1]) * weight
    return Paired(
        seeds=seeds.tolist(),
        benchmarks=benchmarks.tolist(),
        macro=_sums(values * in_seed, seed, len(seeds)),
        means=_sums(values * in_benchmark, benchmark, len(benchmarks)),
        shares=parts,
        weights=weights,
        places=[np.unique(query[benchmark == place]) for place in range(len(benchmarks))],
    )


def _sums(values: Floats, label: NDArray[np.intp], count: int) -> Floats:
    """Sums the last axis by label."""
    return np.stack([values[..., label == place].sum(axis=-1) for place in range(count)], axis=-1)
