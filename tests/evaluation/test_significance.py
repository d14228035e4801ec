import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdro.errors import InputError
from tdro.evaluation.significance import compare, holm

METRIC = "nDCG@10"


def lines(retriever, values, *, seed=0, benchmark="b", group="external", first=0):
    return [
        {
            "retriever": retriever,
            "benchmark": benchmark,
            "group": group,
            "query": f"q{first + place}",
            "seed": seed,
            METRIC: float(value),
        }
        for place, value in enumerate(values)
    ]


def table_of(found):
    return pa.Table.from_pylist(found)


def others(table, **options):
    options = {"resamples": 400, **options}
    return [found for found in compare(table, **options) if found.verdict != "baseline"]


def noisy(gains, *, seeds=3, queries=60, noise=0.1, benchmarks=("b", "c"), draw=0):
    """Scores with hard and easy queries, which all retrievers share."""
    generator = np.random.default_rng(draw)
    found = []
    for benchmark in benchmarks:
        hardness = generator.random(queries)
        for seed in range(seeds):
            for name, gain in gains.items():
                values = hardness + gain + noise * generator.normal(size=queries)
                found += lines(name, values, seed=seed, benchmark=benchmark)
    return table_of(found)


def test_values_by_hand():
    table = table_of(
        lines("uniform", [0, 1], seed=1)
        + lines("uniform", [0.5, 0.5, 0.5], seed=1, benchmark="a")
        + lines("uniform", [0, 0], seed=2)
        + lines("uniform", [0.5, 0.5, 0.5], seed=2, benchmark="a")
        + lines("learned", [1, 1], seed=1)
        + lines("learned", [0.5, 0.5, 0.8], seed=1, benchmark="a")
        + lines("learned", [0, 0.2], seed=2)
        + lines("learned", [0.5, 0.5, 0.5], seed=2, benchmark="a")
    )
    baseline, found = compare(table, resamples=100)
    assert (baseline.retriever, baseline.verdict, baseline.difference) == ("uniform", "baseline", 0)
    assert baseline.mean == pytest.approx(0.375)
    assert (found.group, found.metric, found.seeds) == ("external", METRIC, 2)
    assert found.benchmarks == {"a": pytest.approx(0.55), "b": pytest.approx(0.55)}
    assert found.by_seed == {1: pytest.approx(0.3), 2: pytest.approx(0.05)}
    assert found.mean == pytest.approx(0.55)
    assert found.difference == pytest.approx(0.175)
    half = 12.7062047 * 0.25 / 2
    assert (found.seeds_low, found.seeds_high) == pytest.approx((0.175 - half, 0.175 + half))
    # Five queries have 32 signs. The sums of two are as far from 0 as what was seen, but two
    # queries are always 0, so each counts four times: 8 of 32.
    assert found.p == found.p_holm == pytest.approx(8 / 32)


def test_a_known_difference_is_found():
    table = noisy({"uniform": 0, "better": 0.06, "worse": -0.06, "same": 0})
    found = {line.retriever: line for line in others(table, resamples=2000)}
    assert {name: line.verdict for name, line in found.items()} == {
        "better": "above",
        "same": "unclear",
        "worse": "below",
    }
    better = found["better"]
    assert 0 < better.queries_low < better.difference < better.queries_high
    assert better.p <= better.p_holm < 0.01
    assert all(p < 0.05 for p in better.p_by_seed.values())
    assert found["same"].p > 0.05


def without_difference(draw):
    """Three hundred retrievers that differ from the baseline by chance alone."""
    found = []
    for benchmark, queries in (("b", 40), ("c", 25)):
        found += lines("uniform", np.zeros(queries), benchmark=benchmark)
        for place in range(300):
            found += lines(f"r{place}", draw(queries), benchmark=benchmark)
    return others(table_of(found), resamples=600)


def test_intervals_cover_and_tests_hold_their_level():
    generator = np.random.default_rng(5)
    # Like differences of nDCG@10: on half of the queries there is none.
    compared = without_difference(
        lambda size: generator.standard_t(4, size) * generator.integers(0, 2, size)
    )
    covered = np.mean([line.queries_low <= 0 <= line.queries_high for line in compared])
    assert 0.91 <= covered <= 0.98
    assert 0.02 <= np.mean([line.p < 0.05 for line in compared]) <= 0.085
    assert sum(line.verdict != "unclear" for line in compared) <= 1


def test_intervals_cover_what_is_skewed():
    generator = np.random.default_rng(6)
    compared = without_difference(lambda size: generator.exponential(size=size) - 1)
    assert np.mean([line.queries_low <= 0 <= line.queries_high for line in compared]) >= 0.90


def test_pairing_narrows_the_interval():
    table = noisy({"uniform": 0, "better": 0.02}, noise=0.02)
    [paired] = others(table)
    shuffled = np.random.default_rng(1).permutation(60)
    unpaired = [
        {**line, "query": f"q{shuffled[int(line['query'][1:])]}"}
        if line["retriever"] == "better"
        else line
        for line in table.to_pylist()
    ]
    [found] = others(table_of(unpaired))
    assert found.difference == pytest.approx(paired.difference)
    width = paired.queries_high - paired.queries_low
    assert found.queries_high - found.queries_low > 5 * width
    assert (paired.verdict, found.verdict) == ("above", "unclear")


def test_the_order_of_lines_and_the_other_retrievers_change_nothing():
    table = noisy({"a": 0.01, "uniform": 0, "b": -0.01}, seeds=2, queries=20)
    first = compare(table, resamples=200)
    order = np.random.default_rng(3).permutation(table.num_rows)
    assert repr(compare(table.take(order), resamples=200)) == repr(first)
    alone = table_of([line for line in table.to_pylist() if line["retriever"] != "b"])
    found = replace(others(alone, resamples=200)[0], p_holm=0)
    assert found == replace(first[1], p_holm=0)
    assert repr(compare(table, resamples=200, random_seed=1)) != repr(first)


def test_seeds_with_their_own_queries():
    found = []
    for seed, first in ((0, 0), (1, 5), (2, 40)):
        found += lines("uniform", np.zeros(20), seed=seed, first=first)
        found += lines("learned", np.full(20, 0.1), seed=seed, first=first)
    [line] = others(table_of(found))
    assert line.seeds == 3
    assert (line.queries_low, line.queries_high) == pytest.approx((0.1, 0.1))
    assert line.difference == pytest.approx(0.1)


def test_a_seed_that_disagrees_makes_it_unclear():
    found = []
    for seed, gain in ((0, 0.1), (1, 0.1), (2, -0.01)):
        found += lines("uniform", np.zeros(40), seed=seed)
        found += lines("learned", np.linspace(gain - 0.01, gain + 0.01, 40), seed=seed)
    [line] = others(table_of(found))
    assert line.queries_low > 0
    assert line.p_holm < 0.05
    assert line.seeds_low < 0
    assert line.verdict == "unclear"


def test_one_seed_and_one_query():
    table = table_of(
        lines("uniform", np.zeros(30))
        + lines("learned", np.linspace(0.1, 0.2, 30))
        + lines("uniform", [0.5], benchmark="lone")
        + lines("learned", [0.5], benchmark="lone")
    )
    [line] = others(table)
    assert math.isnan(line.seeds_low)
    assert math.isnan(line.seeds_high)
    assert line.verdict == "above"
    assert line.worst_benchmark == "b"
    assert line.p_by_seed == {0: line.p}
    [tiny] = others(table_of(lines("uniform", [0]) + lines("learned", [1])))
    assert (tiny.queries_low, tiny.p, tiny.verdict) == (1, 1, "unclear")


def test_equal_scores_are_unclear():
    [line] = others(table_of(lines("uniform", np.ones(30)) + lines("learned", np.ones(30))))
    assert (line.queries_low, line.queries_high, line.p, line.verdict) == (0, 0, 1, "unclear")


def test_groups_and_metrics_are_ordered():
    found = []
    for group in ("external", "unseen", "holdout"):
        for name in ("z", "uniform", "a"):
            found += [{**line, "R@100": 1.0} for line in lines(name, [0, 1], group=group)]
    compared = compare(table_of(found), "z", resamples=20)
    assert [(line.group, line.metric, line.retriever) for line in compared] == [
        (group, metric, name)
        for group in ("holdout", "unseen", "external")
        for metric in (METRIC, "R@100")
        for name in ("z", "a", "uniform")
    ]
    assert len(compare(table_of(lines("uniform", [0, 1])))) == 1, "nothing to compare with"


def whole():
    return [
        line
        for name in ("uniform", "learned")
        for seed in (1, 2)
        for benchmark in ("b", "c")
        for line in lines(name, [0.1, 0.2, 0.3], seed=seed, benchmark=benchmark)
    ]


@pytest.mark.parametrize("lacking", ["uniform", "learned"])
@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ({"seed": 2}, "no scores for seed 2, which"),
        ({"seed": 2, "benchmark": "c"}, "no scores for external benchmark 'c' of seed 2, which"),
        (
            {"seed": 1, "benchmark": "b", "query": "q1"},
            "no scores for query 'q1' of external benchmark 'b' of seed 1, which",
        ),
    ],
)
def test_what_is_missing_is_named(lacking, missing, sentence):
    missing = {"retriever": lacking, **missing}
    kept = [line for line in whole() if missing.items() - line.items()]
    with pytest.raises(InputError, match=f"Retriever '{lacking}' has {sentence}"):
        compare(table_of(kept))


def test_bad_tables():
    with pytest.raises(InputError, match=r"baseline 'best'.* 'learned', 'uniform'"):
        compare(table_of(whole()), "best")
    with pytest.raises(InputError, match="no column 'seed'"):
        compare(table_of(whole()).drop_columns(["seed"]))
    with pytest.raises(InputError, match="'learned' has two scores for query 'q2' of external"):
        compare(table_of([*whole(), whole()[-1]]))
    for bad in (None, math.nan):
        with pytest.raises(InputError, match=r"nDCG@10 of retriever 'learned' for query 'q2'"):
            compare(table_of([*whole()[:-1], {**whole()[-1], METRIC: bad}]))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm(p):
    corrected = holm(p)
    assert all(raw <= found <= 1 for raw, found in zip(p, corrected, strict=True))
    ranked = [found for _, found in sorted(zip(p, corrected, strict=True))]
    assert ranked == sorted(ranked)
    assert min(corrected) == min(1, len(p) * min(p))
    assert holm(p[:1]) == p[:1]
    assert holm(p[::-1]) == corrected[::-1]


def test_holm_by_hand():
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([]) == []
