import math

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdro.evaluation.families import shares, units
from tdro.evaluation.scores import summary
from tdro.evaluation.significance import compare

NAMES = ["nq", "cqadupstack/tex", "cqadupstack/gis", "miracl/sw"]


def table(values, metrics=("nDCG@10",), group="external"):
    """Scores by retriever and benchmark; each query has its own."""
    lines = [
        {"retriever": retriever, "benchmark": name, "group": group, "query": f"q{n}", "seed": 0}
        | dict(zip(metrics, score if isinstance(score, tuple) else (score,), strict=True))
        for retriever, benchmarks in values.items()
        for name, scores in benchmarks.items()
        for n, score in enumerate(scores)
    ]
    return pa.Table.from_pylist(lines)


def test_a_family_counts_once_and_has_a_line():
    scores = {"nq": [0.8], "cqadupstack/tex": [0.1], "cqadupstack/gis": [0.3]}
    rows = summary(table({"uniform": scores}))
    assert [row.benchmark for row in rows] == [*scores, "mean of cqadupstack (2)", "mean"]
    means = [row.means["uniform"]["nDCG@10"] for row in rows]
    assert means[3:] == [pytest.approx(0.2), pytest.approx(0.5)]


def test_tasks_with_a_slash_are_no_family():
    assert list(units("holdout", ["bge/nq", "bge/squad"])) == ["bge/nq", "bge/squad"]


@given(st.lists(st.sampled_from(NAMES), unique=True, min_size=1))
def test_the_shares_sum_to_one_and_families_weigh_the_same(names):
    weights = {
        name: 1 / share for name, share in zip(names, shares("external", names), strict=True)
    }
    assert math.isclose(sum(weights.values()), 1)
    sums = [sum(weights[name] for name in part) for part in units("external", names).values()]
    assert all(math.isclose(value, 1 / len(sums)) for value in sums)


def test_comparisons_count_a_family_once():
    uniform = {"nq": [0.5, 0.5], "cqadupstack/tex": [0.1], "cqadupstack/gis": [0.3]}
    other = {"nq": [0.7, 0.7], "cqadupstack/tex": [0.2], "cqadupstack/gis": [0.2]}
    baseline, found = compare(table({"uniform": uniform, "other": other}), resamples=100)
    assert baseline.mean == pytest.approx((0.5 + 0.2) / 2)
    assert found.difference == pytest.approx((0.2 + 0.0) / 2)


def test_each_metric_is_compared_and_averaged_on_what_has_it():
    values = {
        "uniform": {"nq": [(0.5, None)] * 3, "mkqa/de": [(None, 0.0)] * 3},
        "other": {"nq": [(0.7, None)] * 3, "mkqa/de": [(None, 1.0)] * 3},
    }
    scores = table(values, ("nDCG@10", "Acc@10"))
    mean = summary(scores)[-1].means
    assert mean["other"] == {"nDCG@10": pytest.approx(0.7), "Acc@10": 1.0}
    found = {(one.metric, one.retriever): one for one in compare(scores, resamples=100)}
    assert found["nDCG@10", "other"].difference == pytest.approx(0.2)
    assert found["Acc@10", "other"].difference == 1
    assert list(found["Acc@10", "other"].benchmarks) == ["mkqa/de"]
