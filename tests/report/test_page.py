import json
import math
import re
import shutil
from html import unescape

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tdro.report import figures, page
from tdro.report import html as words
from tdro.report.record import MixtureRecord, RunRecord, load_run
from tdro.report.series import weight_lines
from tests.report.conftest import BY_TASK, HOSTILE, PLAIN, keep, make_run


def own_html(html):
    """The page without plotly's own code."""
    return re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)


def test_page_is_whole_and_loads_nothing(run_directory):
    path = page.write_report(run_directory)
    assert path == run_directory / "report.html"
    html = own_html(path.read_text(encoding="utf-8"))
    assert not re.search(r"""(src|href)\s*=\s*["']?\s*(https?:)?//""", html)
    assert "is not there yet" not in html
    assert "<img" not in html
    assert "alert(1)</script>" not in html
    text = unescape(re.sub(r"<[^>]*>", "", re.sub(r"<script.*?</script>", "", html, flags=re.S)))
    for task in HOSTILE:
        assert task in text
    data = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', html, re.DOTALL)
    assert "<" not in data[1]
    assert set(json.loads(data[1])) == {"mixture-figure", "trajectory-figure", "loss-figure"}


PARTS = {
    "recipe.yaml": ("recipe.yaml", 1),
    "mixture/last.json": ("mixture/last.json", 1),
    "mixture/trajectory.parquet": ("mixture/trajectory.parquet", 3),
    "retrievers": ("retrievers/*/sampling.json", 1),
    "scores.parquet": ("scores.parquet", 1),
}


@pytest.mark.parametrize("part", PARTS)
def test_what_is_missing_is_said(run_directory, part):
    for name in ("mean", "ema"):
        (run_directory / f"mixture/{name}.json").unlink()
    path = run_directory / part
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    html = page.render(load_run(run_directory))
    named, sections = PARTS[part]
    assert html.count(f"<code>{named}</code> has not been written") == sections


@pytest.mark.parametrize("part", [*PARTS, "reference/manifest.json", BY_TASK])
def test_each_part_alone_makes_a_page(run_directory, tmp_path, part):
    alone = tmp_path / "alone" / part
    alone.parent.mkdir(parents=True)
    source = run_directory / part
    (shutil.copytree if source.is_dir() else shutil.copy)(source, alone)
    assert "is not there yet" in page.render(load_run(tmp_path / "alone"))


def test_the_kept_mixture_comes_first(run_directory):
    keep(run_directory, "mean")
    record = load_run(run_directory)
    html = own_html(page.render(record))
    assert "Weights of <code>mixture/mean.json</code>" in html
    heads = re.findall(r"<th>weight, (\w+)</th>", html)
    assert heads == ["mean", "last", "ema"]
    cells = re.search(r'scope="row">msmarco</th>(.*?)</tr>', html.split('id="mixture"')[1])[1]
    mean, last = (record.mixtures[name].weights["msmarco"] for name in ("mean", "last"))
    assert mean != last
    assert f"<td>{words.percent(mean)}</td><td>{words.percent(last)}</td>" in cells
    drawn = json.loads(re.search(r'id="figures">(.*?)</script>', page.render(record))[1])
    assert max(drawn["mixture-figure"]["data"][0]["x"]) == max(record.mixture.weights.values())


def test_numbers_that_are_not_finite_are_dashes(run_directory):
    mixture = json.loads((run_directory / "mixture/last.json").read_text())
    mixture["domain_weights"]["squad"] = math.nan
    (run_directory / "mixture/last.json").write_text(json.dumps(mixture))
    html = own_html(page.render(load_run(run_directory)))
    assert "nan" not in re.sub(r"[a-z]*nan[a-z]+|[a-z]+nan", "", html.lower())
    assert not re.search(r"\binf\b|Infinity", html)


def scores(groups=("holdout", "external"), **means):
    """A table of one query in each of two groups."""
    lines = [
        {"retriever": name, "benchmark": "b", "group": group, "query": "q", "nDCG@10": value}
        for name, values in means.items()
        for group, value in zip(groups, values, strict=True)
    ]
    return RunRecord("r", scores=pa.Table.from_pylist(lines))


@pytest.mark.parametrize(
    ("record", "sentences"),
    [
        (
            scores(uniform=(0.4, 0.5), learned=(0.45, 0.48)),
            [
                "“learned” has the best mean nDCG@10 on the held-out benchmarks: 0.450, "
                "0.050 above “uniform”.",
                "On the external benchmarks “learned” is at 0.480, −0.020 against “uniform”.",  # noqa: RUF001
            ],
        ),
        (
            scores(groups=("external", "unseen"), uniform=(0.5, 0.4), learned=(0.48, 0.45)),
            [
                "“learned” has the best mean nDCG@10 on the unseen tasks' benchmarks: 0.450, "
                "0.050 above “uniform”.",
                "On the external benchmarks “learned” is at 0.480, −0.020 against “uniform”.",  # noqa: RUF001
            ],
        ),
        (
            scores(uniform=(0.4, 0.5), learned=(0.391, 0.48)),
            [
                "“uniform” has the best mean nDCG@10 on the held-out benchmarks: 0.400, "
                "0.009 above “learned”.",
                "One run; differences under 0.01 mean nothing.",
            ],
        ),
        (
            scores(uniform=(0.4, 0.5)),
            [
                "“uniform” has a mean nDCG@10 on the held-out benchmarks of 0.400; "
                "there is nothing to compare it with."
            ],
        ),
        (
            scores(a=(0.4, 0.5), b=(0.3, 0.5)),
            [
                "“a” has the best mean nDCG@10 on the held-out benchmarks: 0.400. "
                "There is no uniform retriever to compare it with."
            ],
        ),
        (
            scores(uniform=(math.nan, math.nan)),
            ["No retriever has been scored on all of the held-out benchmarks."],
        ),
        (RunRecord("r", recipe=""), ["No retriever has been scored yet."]),
        (
            RunRecord("r", mixtures={"last": MixtureRecord({"a": 1.0}, {"a": 1200})}),
            ["1 task with 1,200 rows.", "No retriever has been scored yet."],
        ),
    ],
)
def test_headline(record, sentences):
    assert page.headline(record) == sentences
    page.render(record)


def test_words_for_numbers():
    assert [words.number(x) for x in (0.12345, -1.0, None, math.nan, math.inf)] == [
        "0.123",
        "\u22121.000",
        "\u2013",
        "\u2013",
        "\u2013",
    ]
    assert [words.signed(x) for x in (0.0101, -0.0101, -0.0001, math.nan)] == [
        "+0.010",
        "\u22120.010",
        "±0.000",
        "\u2013",
    ]
    assert [words.duration(x) for x in (3.14, 59.96, 185, 3599.7, 3720, math.nan)] == [
        "3.1 s",
        "1 min 00 s",
        "3 min 05 s",
        "1 h 00 min",
        "1 h 02 min",
        "\u2013",
    ]
    assert [words.count(x) for x in (12345, None, "a", True, math.nan)] == [
        "12,345",
        "\u2013",
        "a",
        "True",
        "\u2013",
    ]
    assert words.percent(0.1234) == "12.34 %"


def test_labels_are_escaped_and_short():
    assert figures.label("<b>a</b> & \"c\" 'd'", 90) == "&lt;b&gt;a&lt;/b&gt; &amp; \"c\" 'd'"
    assert figures.label("a\n\u2028\x00b", 90) == "a b"
    short = figures.label("a" * 50 + "z" * 50, 22)
    assert len(short) == 22
    assert short.startswith("aaa")
    assert short.endswith("zzz")


@pytest.mark.parametrize("tasks", [1, 12, 13, 500])
def test_figures_grow_with_the_tasks(tmp_path, tasks):
    names = tuple(f"task {number}" for number in range(tasks))
    record = load_run(make_run(tmp_path / "run", tasks=names, steps=4))
    mixture = figures.mixture_figure(record.mixture)
    assert len(mixture["layout"]["yaxis"]["ticktext"]) == tasks
    assert mixture["layout"]["height"] >= 60 + 20 * tasks
    lines = weight_lines(record.trajectory)
    shown = figures.highlighted(lines)
    assert len(shown) == (tasks if tasks <= 12 else 10)
    assert shown == sorted(shown, key=lambda task: -lines.weights[task][-1])
    traces = figures.trajectory_figure(lines)["data"]
    assert len(traces) == len(shown) + (tasks > 12)
    styles = {figures.line_style(number) for number in range(len(shown))}
    assert len(styles) == len(shown)


def test_shortened_names_stay_apart_in_figures():
    weights = {f"{'x' * 40}{number}{'y' * 40}": 0.5 for number in range(2)}
    figure = figures.mixture_figure(MixtureRecord(weights))
    assert figure["layout"]["yaxis"]["tickvals"] == [0, 1]
    assert figure["layout"]["yaxis"]["ticktext"][0] == figure["layout"]["yaxis"]["ticktext"][1]


def test_empty_tables_count_as_missing(run_directory):
    for name in ("scores.parquet", "mixture/trajectory.parquet"):
        path = run_directory / name
        pq.write_table(pq.read_table(path).slice(0, 0), path)
    assert own_html(page.render(load_run(run_directory))).count("is not there yet") == 4


def test_plain_tasks_are_listed(run_directory):
    html = page.render(load_run(run_directory))
    for task in PLAIN:
        assert f">{task}<" in html
