"""Whether retrievers beat a baseline: paired differences with intervals and tests.

Two things differ by chance between two runs: the queries that happen to be asked, and the seed of
training. Each has an interval of its own here, because neither says anything of the other.

What is resampled is a query of a benchmark, with its scores of all seeds: seeds share the queries
of a benchmark, so scores of one query are not independent.

The permutation test asks whether retriever and baseline could be swapped on each query. The
bootstrap asks for the mean alone; with few queries its interval is a little narrow.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tdro.errors import InputError, require
from tdro.evaluation.pairing import (
    KEYS,
    Floats,
    Paired,
    check_paired,
    measured_alike,
    pair,
    sorted_lines,
    unmeasured_metrics,
)
from tdro.evaluation.scores import BASELINE, SEED_COLUMN, metric_names, ordered_groups

RESAMPLES = 5000
CONFIDENCE = 0.95
SIGNIFICANT = 0.05

_BATCHED_DRAWS = 1_000_000
"""Draws held at a time; the permutation test takes about 70 bytes for each."""

Verdict = Literal["above", "below", "unclear", "baseline"]


@dataclass(frozen=True)
class Comparison:
    """A retriever set against the baseline, by one metric on the benchmarks of one group.

    Attributes:
        group: One of :data:`tdro.evaluation.scores.GROUPS`.
        metric: Name of the metric; all values below but the p-values are in its unit.
        retriever: Name of the retriever. The baseline has a comparison too, with a difference of 0
            and NaN for intervals and p-values.
        baseline: Name of the baseline.
        benchmarks: Mean of each benchmark by name: over queries, then over seeds.
        by_seed: Difference to the baseline within each seed, by seed.
        mean: Mean over benchmarks, each (a family as one) counting the same, then over seeds.
        difference: How much higher than the baseline's mean.
        queries_low: Lower end of the 95 % bootstrap interval over queries.
        queries_high: Upper end.
        seeds_low: Lower end of the paired 95 % t interval over seeds; NaN with one seed.
        seeds_high: Upper end.
        p: Two-sided p-value of a sign-flip permutation test over queries.
        p_holm: The same, corrected for the number of retrievers of this group and metric.
        p_by_seed: The test within each seed alone, by seed, not corrected.
    """

    group: str
    metric: str
    retriever: str
    baseline: str
    benchmarks: Mapping[str, float]
    by_seed: Mapping[int, float]
    mean: float
    difference: float
    queries_low: float
    queries_high: float
    seeds_low: float
    seeds_high: float
    p: float
    p_holm: float
    p_by_seed: Mapping[int, float]

    @property
    def seeds(self) -> int:
        """How many seeds were compared."""
        return len(self.by_seed)

    @property
    def worst_benchmark(self) -> str:
        """The benchmark with the lowest mean."""
        return min(self.benchmarks, key=lambda name: self.benchmarks[name])

    @property
    def verdict(self) -> Verdict:
        """Whether the retriever is ``above`` or ``below`` the baseline, or it is ``unclear``.

        Clear is what both intervals and the corrected test agree on. With one seed there is no
        interval over seeds, and the verdict is of these very models, not of their mixtures.
        """
        if self.retriever == self.baseline:
            return "baseline"
        intervals = [(self.queries_low, self.queries_high)]
        if self.seeds > 1:
            intervals.append((self.seeds_low, self.seeds_high))
        if self.p_holm < SIGNIFICANT and all(low > 0 for low, _ in intervals):
            return "above"
        if self.p_holm < SIGNIFICANT and all(high < 0 for _, high in intervals):
            return "below"
        return "unclear"


def compare(
    table: pa.Table,
    baseline: str = BASELINE,
    *,
    resamples: int = RESAMPLES,
    random_seed: int = 0,
) -> list[Comparison]:
    """Compares every retriever of a table of scores with the baseline.

    Seeds may have different held-out queries; within a seed all retrievers must have the same. All
    retrievers are judged on the same draws, so who else is compared changes nothing but
    ``p_holm``, and the order of the table's lines changes nothing at all.

    Args:
        table: A table of scores with an int64 column ``seed``.
        baseline: The retriever the others are compared with.
        resamples: Draws of the bootstrap and of the permutation test.
        random_seed: Seeds both.

    Returns:
        For each group in the order of :data:`tdro.evaluation.scores.GROUPS` and each metric: the
        baseline, then the other retrievers by name.

    Raises:
        InputError: The baseline is missing, a score is missing, not finite or there twice,
            retrievers were scored on different queries, or scipy is not installed.
    """
    stats = require("scipy.stats", "run")
    if SEED_COLUMN not in table.column_names:
        raise InputError(f"The table of scores has no column {SEED_COLUMN!r}: add one.")
    names = table.column("retriever").unique().to_pylist()
    if baseline not in names:
        raise InputError(
            f"There are no scores of the baseline {baseline!r}: "
            f"score it too, or take one of {', '.join(map(repr, sorted(names)))} as the baseline."
        )
    retrievers = sorted(names, key=lambda name: (name != baseline, name))
    metrics = metric_names(table)
    unmeasured = unmeasured_metrics(table, metrics)
    parts = {name: sorted_lines(table, name, metrics, unmeasured) for name in retrievers}
    for name in retrievers[1:]:
        check_paired(parts, name, baseline)
    keys = {name: np.array(parts[baseline].column(name).to_pylist(), dtype=object) for name in KEYS}
    values = np.array(
        [[part.column(metric).to_numpy() for metric in metrics] for part in parts.values()],
        dtype=np.float64,
    )
    comparisons = []
    for group in ordered_groups(keys["group"]):
        lines = keys["group"] == group
        for places in measured_alike(values[0][:, lines]):
            chosen = lines & ~np.isnan(values[0, places[0]])
            paired = pair(
                group,
                {name: column[chosen] for name, column in keys.items()},
                values[:, places][..., chosen],
            )
            named = [metrics[place] for place in places]
            comparisons += _compare_group(
                stats, group, retrievers, named, paired, resamples, random_seed
            )
    return comparisons


def holm(p: Sequence[float]) -> list[float]:
    """Corrects p-values for their number by Holm's step-down method, in their order."""
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    corrected = np.empty_like(values)
    corrected[order] = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    return [float(value) for value in np.minimum(corrected, 1.0)]


def _compare_group(
    stats: Any,
    group: str,
    retrievers: Sequence[str],
    metrics: Sequence[str],
    paired: Paired,
    resamples: int,
    random_seed: int,
) -> list[Comparison]:
    by_seed = paired.macro - paired.macro[:1]
    low, high = np.full((2, *by_seed.shape[:2]), math.nan)
    p, p_holm = np.full((2, *by_seed.shape[:2]), math.nan)
    p_by_seed = np.full(by_seed.shape, math.nan)
    if len(retrievers) > 1:
        total = paired.shares.sum(axis=2)
        low[1:], high[1:] = _bootstrap(stats, paired, total, resamples, random_seed)
        tested = np.concatenate([total[:, :, None], paired.shares], axis=2)
        found = _sign_flips(stats, tested, resamples, random_seed)
        p[1:], p_by_seed[1:] = found[..., 0], found[..., 1:]
        p_holm[1:] = np.transpose([holm(column) for column in p[1:].T])
    comparisons = []
    for column, metric in enumerate(metrics):
        for row, retriever in enumerate(retrievers):
            at = row, column
            seeds_low, seeds_high = _t_interval(stats, by_seed[at]) if row else (math.nan, math.nan)
            comparisons.append(
                Comparison(
                    group=group,
                    metric=metric,
                    retriever=retriever,
                    baseline=retrievers[0],
                    benchmarks=dict(zip(paired.benchmarks, paired.means[at].tolist(), strict=True)),
                    by_seed=dict(zip(paired.seeds, by_seed[at].tolist(), strict=True)),
                    mean=float(paired.macro[at].mean()),
                    difference=float(by_seed[at].mean()),
                    queries_low=float(low[at]),
                    queries_high=float(high[at]),
                    seeds_low=seeds_low,
                    seeds_high=seeds_high,
                    p=float(p[at]),
                    p_holm=float(p_holm[at]),
                    p_by_seed=dict(zip(paired.seeds, p_by_seed[at].tolist(), strict=True)),
                )
            )
    return comparisons


def _t_interval(stats: Any, differences: Floats) -> tuple[float, float]:
    if len(differences) < 2:
        return math.nan, math.nan
    error = differences.std(ddof=1) / math.sqrt(len(differences))
    half = stats.t.ppf((1 + CONFIDENCE) / 2, len(differences) - 1) * error
    return float(differences.mean() - half), float(differences.mean() + half)


def _batch(queries: int) -> int:
    # It must not depend on how many retrievers there are: the draws would change with it.
    return max(1, _BATCHED_DRAWS // queries)


def _bootstrap(
    stats: Any, paired: Paired, total: Floats, resamples: int, random_seed: int
) -> tuple[Floats, Floats]:
    """Returns both ends of the interval over queries, of ``total`` (..., queries) over its axes.

    A benchmark's difference is a mean weighted by the seeds a query appears in, so that an equal
    difference everywhere has an interval of no width. The interval is that of percentiles: BCa has
    none where all queries score alike, which similar retrievers do on easy benchmarks.
    """
    rows = total.reshape(-1, total.shape[-1])

    def statistic(*drawn: NDArray[np.intp], axis: int) -> Floats:
        found = np.zeros((len(rows), *drawn[0].shape[:-1]))
        for places, queries in zip(paired.places, drawn, strict=True):
            scale = paired.weights[places].sum() / paired.weights[queries].sum(axis=axis)
            for row, sums in zip(rows, found, strict=True):
                sums += scale * row[queries].sum(axis=axis)
        return found

    interval = stats.bootstrap(
        # scipy wants two observations; a lone query, given twice, is drawn whatever happens.
        [np.repeat(places, 2) if len(places) == 1 else places for places in paired.places],
        statistic,
        n_resamples=resamples,
        batch=_batch(len(paired.weights)),
        vectorized=True,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(random_seed),
    ).confidence_interval
    shape = total.shape[:-1]
    return interval.low.reshape(shape), interval.high.reshape(shape)


def _sign_flips(stats: Any, shares: Floats, resamples: int, random_seed: int) -> Floats:
    """Returns the two-sided p-values of ``shares`` (..., queries), whose sums are tested."""
    # scipy wants two observations, and flipping nothing changes nothing.
    rows = np.pad(shares.reshape(-1, shares.shape[-1]), ((0, 0), (0, 1)))

    def statistic(signs: Floats, axis: int) -> Floats:
        return signs @ rows.T

    # The signs are permuted, not the shares, so that one set of draws serves all of them.
    result = stats.permutation_test(
        (np.ones(rows.shape[1]),),
        statistic,
        permutation_type="samples",
        n_resamples=resamples,
        batch=_batch(rows.shape[1]),
        vectorized=True,
        rng=np.random.default_rng(random_seed),
    )
    return np.reshape(result.pvalue, shares.shape[:-1])
