import io
import math
from dataclasses import replace

import ir_measures
import pytest
from rich.console import Console

from tdro.errors import InputError
from tdro.evaluation import scores
from tdro.evaluation.benchmark import load_benchmark


@pytest.fixture
def benchmark(folder):
    return load_benchmark(folder)


def test_values_by_hand(benchmark):
    run = {"q1": {"d3": 0.9, "d2": 0.5}, "unjudged": {"d1": 1.0}}
    found = scores.score(benchmark, run)
    assert list(found) == ["q1", "q2"]
    assert found["q1"] == {"nDCG@10": pytest.approx(1 / math.log2(3)), "R@100": 1.0}
    assert found["q2"] == {"nDCG@10": 0.0, "R@100": 0.0}, "a query without results scores 0"
    table = scores.score_table([("mine", benchmark, found)])
    assert scores.summary(table)[0].means["mine"] == {
        "nDCG@10": pytest.approx(0.5 / math.log2(3)),
        "R@100": 0.5,
    }


def test_other_metrics_and_unknown_ones(benchmark):
    assert scores.score(benchmark, {"q1": {"d2": 1.0}}, ["RR@10"])["q1"] == {"RR@10": 1.0}
    with pytest.raises(InputError, match="'nDGC@10' is unknown"):
        scores.score(benchmark, {}, ["nDGC@10"])


def test_a_metric_without_a_cutoff_looks_at_a_thousand_documents_whatever_else_is_asked(benchmark):
    depths = [scores.search_depth(asked) for asked in (["nDCG@10"], ["AP"], ["AP", "R@2000"])]
    assert depths == [100, 1000, 2000]
    assert scores.metrics_basis(["nDCG@10", "AP"]) == ["nDCG@10", "AP of the best 1000"]
    one = replace(benchmark, queries={"q1": "w1"}, qrels={"q1": {"near": 1, "far": 1}})
    found = {f"x{number}": -float(number) for number in range(1498)}
    run = {"q1": {"near": 2.0, **found, "far": -2000.0}}
    values = scores.score(one, run, ["AP", "R@2000", "AP@2000"])["q1"]
    assert values["AP"] == 0.5, "the second relevant document is the 1,500th"
    assert values["AP"] < values["AP@2000"]
    assert values["R@2000"] == 1


@pytest.mark.parametrize(
    ("metrics", "sentence"),
    [
        (["R@100", "Recall@100"], "'R@100' and 'Recall@100' are the same metric"),
        (["nDCG@0"], "'nDCG@0' must be a whole number above zero"),
        (["nDCG@10.5"], "whole number above zero|unknown to ir_measures"),
        (["alpha_nDCG@10"], "'alpha_nDCG@10' cannot be computed here"),
        (["AP(foo=1)@10"], r"'AP\(foo=1\)@10' (is unknown|cannot be computed)"),
    ],
)
def test_metrics_that_would_fail_after_the_search_are_told_before(metrics, sentence):
    with pytest.raises(InputError, match=sentence):
        scores.check_metrics(metrics)


def test_run_files(tmp_path):
    run = {"q1": {"a": 0.1, "b": 0.30000001192092896}, "q2": {"c": -1.5e-09}}
    scores.write_run(tmp_path / "r.trec", run, "uniform")
    assert (tmp_path / "r.trec").read_text().splitlines() == [
        "q1 Q0 b 1 0.30000001192092896 uniform",
        "q1 Q0 a 2 0.1 uniform",
        "q2 Q0 c 1 -1.5e-09 uniform",
    ]
    found = {}
    for line in ir_measures.read_trec_run(str(tmp_path / "r.trec")):
        found.setdefault(line.query_id, {})[line.doc_id] = line.score
    assert found == run


@pytest.mark.parametrize(
    ("run", "tag", "field"),
    [
        ({"q 1": {"d": 1.0}}, "t", "'q 1'"),
        ({"q": {"d\t1": 1.0}}, "t", r"'d\\t1'"),
        ({"q": {"": 1.0}}, "t", "''"),
        ({"q": {"d": 1.0}}, "my tag", "'my tag'"),
    ],
)
def test_spaces_are_refused(tmp_path, run, tag, field):
    with pytest.raises(InputError, match=field):
        scores.write_run(tmp_path / "r.trec", run, tag)
    assert list(tmp_path.iterdir()) == []


def per_query(first, second):
    return {
        query: {"nDCG@10": value, "R@100": 1.0}
        for query, value in zip("ab", (first, second), strict=True)
    }


@pytest.fixture
def table(benchmark):
    held, other = replace(benchmark, name="h", group="holdout"), replace(benchmark, name="[b]x")
    third = replace(benchmark, name="y")
    return scores.score_table(
        [
            ("learned", other, per_query(0.5, 0.7)),
            ("uniform", other, per_query(0.4, 0.6)),
            ("uniform", third, per_query(0.2, 0.2)),
            ("uniform", held, per_query(0.1, 0.3)),
            ("learned", held, per_query(0.3, 0.5)),
        ]
    )


def test_table_and_summary(table):
    assert table.column_names == [*scores.KEY_COLUMNS, *scores.METRICS]
    assert table.num_rows == 10
    rows = scores.summary(table)
    assert [(row.group, row.benchmark, row.is_mean) for row in rows] == [
        ("holdout", "h", False),
        ("holdout", "mean", True),
        ("external", "[b]x", False),
        ("external", "y", False),
        ("external", "mean", True),
    ]
    assert rows[1].difference("learned", "nDCG@10") == pytest.approx(0.2)
    assert rows[4].means["uniform"]["nDCG@10"] == pytest.approx(0.35)
    assert "learned" not in rows[4].means, "it lacks benchmark y"
    assert math.isnan(rows[4].difference("learned", "nDCG@10"))


def test_groups_are_ordered(table):
    assert scores.ordered_groups(["other", "external", "a", "unseen", "holdout", "a"]) == [
        *scores.GROUPS,
        "a",
        "other",
    ]
    moved = [
        {**line, "group": "unseen" if line["group"] == "holdout" else "holdout", "seed": 1}
        for line in table.to_pylist()
    ]
    rows = scores.summary(table.from_pylist(moved))
    assert [row.group for row in rows if row.is_mean] == ["holdout", "unseen"]
    assert set(rows[0].means["uniform"]) == set(scores.METRICS), "a seed is no metric"


def test_empty_and_uneven_tables(benchmark):
    assert scores.score_table([]).column_names == [*scores.KEY_COLUMNS, *scores.METRICS]
    assert scores.summary(scores.score_table([])) == []
    uneven = scores.score_table(
        [("a", benchmark, per_query(0, 1)), ("b", benchmark, {"q": {"RR@10": 1.0}})]
    )
    assert uneven["RR@10"].to_pylist() == [None, None, 1.0]
    assert uneven["nDCG@10"].to_pylist()[2] is None


def test_render(table):
    console = Console(width=100, file=io.StringIO())
    console.print(scores.render_scores(table))
    text = console.file.getvalue()
    assert "[b]x" in text, "names are not markup"
    lines = text.splitlines()
    held, external = (place for place, line in enumerate(lines) if "mean of" in line)
    at = lines[held].index("0.400") + len("0.400")
    assert lines[held + 1][:at].endswith("+0.200"), "the difference stands below its mean"
    assert "+" not in lines[external + 1], "no difference without a common mean"
    assert lines[1].index("uniform") < lines[1].index("learned")
