import csv
import html
import io
import math

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from tdro.evaluation import comparison
from tdro.evaluation.significance import compare

LEARNED = "a|b, [bold]<i>_x_\\"
BY_NDCG = {"holdout": "nDCG@10", "external": "nDCG@10"}
BENCHMARK = 'icd_10 | [red], "x" <script> *y*'


def scored(seeds, retrievers=("uniform", LEARNED)):
    generator = np.random.default_rng(0)
    return pa.Table.from_pylist(
        [
            {
                "retriever": name,
                "benchmark": benchmark,
                "group": group,
                "query": f"q{query}",
                "seed": seed,
                "nDCG@10": generator.random(),
                "R@100": 0.75,
            }
            for seed in range(seeds)
            for name in retrievers
            for group in ("external", "holdout")
            for benchmark in (BENCHMARK, "plain")
            for query in range(6)
        ]
    )


@pytest.fixture(scope="module")
def compared():
    return compare(scored(2), resamples=100)


def cells(line):
    assert line.startswith("| ")
    assert line.endswith(" |")
    return [html.unescape(cell) for cell in line[2:-2].split(" | ")]


def test_rows_are_plain_and_csv_keeps_them(compared):
    rows = comparison.comparison_rows(compared)
    assert [row["retriever"] for row in rows] == ["uniform", LEARNED] * 4
    assert all(type(value) in (str, int, float) for row in rows for value in row.values())
    text = comparison.comparison_csv(rows)
    read = list(csv.DictReader(io.StringIO(text)))
    assert len(read) == len(rows)
    for line, row in zip(read, rows, strict=True):
        assert line["worst_benchmark"] in (BENCHMARK, "plain")
        for name, value in row.items():
            assert repr(type(value)(line[name])) == repr(value), "nothing is rounded"
    by_seed = dict(pair.split(":") for pair in read[1]["difference_by_seed"].split())
    assert {int(seed): float(value) for seed, value in by_seed.items()} == compared[1].by_seed


def test_markdown_holds_any_name(compared):
    rows = comparison.comparison_rows(compared)
    header, rule, *lines = comparison.comparison_markdown(rows).splitlines()
    assert [len(cells(line)) for line in (header, rule, *lines)] == [10] * (2 + len(rows))
    assert cells(header)[:4] == ["group", "metric", "retriever", "mean"]
    for line, row in zip(lines, rows, strict=True):
        assert line.count("|") == 11, "no bar but those between cells"
        assert not set("<[*\\") & set(line)
        found = cells(line)
        assert found[:3] == [row["group"], row["metric"], row["retriever"]]
        assert found[3] == f"{row['mean']:.3f}"
        assert found[-1] == f"{row['worst_mean']:.3f} {row['worst_benchmark']}"
    assert "icd_10" in lines[0] + lines[1] + lines[4] + lines[5], "no need to escape that"


def test_the_terminal_shows_the_rows_in_a_hundred_columns():
    longest = "a-rather-long-name-of-a-retriever"
    table = scored(2, ("uniform", "[bold]x", longest))
    rows = comparison.comparison_rows(compare(table, resamples=100))
    console = Console(width=100, file=io.StringIO())
    console.print(comparison.render_comparison(rows, BY_NDCG))
    text = console.file.getvalue()
    assert "…" not in text
    assert "[bold]x" in text
    assert "R@100" not in text
    assert comparison.ONE_SEED not in text
    assert text.index("holdout") < text.index("external")
    learned = next(row for row in rows if row["retriever"] == "[bold]x")
    line = next(line for line in text.splitlines() if "[bold]x" in line)
    for value in (
        f"{learned['mean']:.3f}",
        f"{learned['difference']:+.3f}",
        f"{learned['queries_low']:+.3f} {learned['queries_high']:+.3f}",
        f"{learned['seeds_low']:+.3f} {learned['seeds_high']:+.3f}",
        f"{learned['p_holm']:.3f}",
        learned["verdict"],
        f"{learned['worst_mean']:.3f}",
    ):
        assert value in line


def test_one_seed_is_said():
    rows = comparison.comparison_rows(compare(scored(1), resamples=100))
    assert all(math.isnan(row["seeds_low"]) for row in rows)
    assert comparison.comparison_markdown(rows).endswith(f"\n\n{comparison.ONE_SEED}\n")
    console = Console(width=100, file=io.StringIO())
    console.print(comparison.render_comparison(rows, BY_NDCG))
    assert comparison.ONE_SEED in console.file.getvalue()


def test_means_of_benchmarks(compared):
    read = list(csv.reader(io.StringIO(comparison.benchmark_csv(compared))))
    assert read[0] == ["group", "metric", "benchmark", "uniform", LEARNED]
    assert [line[:3] for line in read[1:]] == [
        [group, metric, name]
        for group in ("holdout", "external")
        for metric in ("nDCG@10", "R@100")
        for name in (BENCHMARK, "plain", "mean")
    ]
    table = scored(2).filter(
        (pa.compute.field("group") == "holdout")
        & (pa.compute.field("benchmark") == "plain")
        & (pa.compute.field("retriever") == LEARNED)
    )
    assert float(read[2][4]) == pytest.approx(table.column("nDCG@10").to_numpy().mean())
    assert float(read[3][4]) == compared[1].mean
    shown = comparison.benchmark_markdown(compared).splitlines()
    assert cells(shown[0]) == read[0]
    assert shown[1] == "| --- | --- | --- | ---: | ---: |"
    first = [line for line in read[1:] if line[1] == "nDCG@10"]
    for line, exact in zip(shown[2:], first, strict=True):
        assert cells(line) == [*exact[:3], *(f"{float(value):.3f}" for value in exact[3:])]
