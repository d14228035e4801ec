import json
import re
from dataclasses import replace
from html import unescape

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tdro.learning.diagnosis import diagnose
from tdro.report import page
from tdro.report.html import DASH
from tdro.report.record import MixtureRecord, RunRecord, load_run
from tests.report.conftest import HOSTILE, PLAIN, make_run

MEMORISED = "it has memorised them"


def section(record):
    return re.search(r'<section id="diagnosis">(.*?)</section>', page.render(record), re.S)[1]


def headline(record):
    return re.search(r'<div class="headline">(.*?)</div>', page.render(record), re.S)[1]


def lines(html):
    """The texts of each line's cells, by task and in the order shown."""
    found = re.findall(r'<tr><th class="name" scope="row">(.*?)</th>(.*?)</tr>', html)
    return {
        unescape(task): [
            re.sub(r"<[^>]*>", " ", cell).strip() for cell in re.findall(r"<td.*?</td>", cells)
        ]
        for task, cells in found
    }


def trajectory(steps, **columns):
    """A table of two tasks; each column holds the value of either task at every step."""
    return pa.Table.from_pylist(
        [
            {"step": step, "task": task, **{name: pair[place] for name, pair in columns.items()}}
            for step in range(1, steps + 1)
            for place, task in enumerate(("light", "heavy"))
        ]
    )


def falling(table):
    """The same with twice the proxy loss in the first third of the steps: the proxy learns."""
    early = pc.less_equal(table["step"], 6)
    losses = pc.if_else(early, pc.multiply(table["proxy_loss"], 2.0), table["proxy_loss"])
    return table.set_column(table.column_names.index("proxy_loss"), "proxy_loss", losses)


SETTLED = falling(
    trajectory(
        20,
        weight=(0.25, 0.75),
        weight_mean=(0.375, 0.625),
        weight_ema=(0.3125, 0.6875),
        proxy_loss=(2.0, 3.0),
        reference_loss=(1.0, 1.5),
        signal=(2.5, 4.5),
        norm=(5.5, 5.5),
        largest=(1.0, 2.7),
        under_cut=(0.125, 0.25),
        zero_loss=(0.0625, 0.375),
    )
)
BY_TASK = pa.table(
    {
        "task": ["heavy", "light"],
        "trained_on_rows": [1500, 0],
        "trained_on_loss": pa.array([1.125, None]),
        "unseen_rows": [64, 1],
        "unseen_loss": [1.75, 0.875],
    }
)


def test_every_column_says_what_its_head_says():
    html = section(RunRecord("r", trajectory=SETTLED, reference_by_task=BY_TASK))
    heads = re.findall(r"<th[^>]*>(.*?)</th>", html[html.index("<thead>") : html.index("</thead>")])
    assert heads == [
        *("task", "weight", "proxy", "reference", "signal", "largest push"),
        *("last", "mean", "ema", "loss", "zero", "loss", "under cut", "trained on", "unseen"),
    ]
    assert lines(html) == {
        "heavy": [
            *("75.00 %", "62.50 %", "68.75 %"),
            *("3.000", "37.5 %"),
            *("1.500", "25.0 %", "1.125 1,500 rows", "1.750 64 rows"),
            *("4.500", "3.0 %"),
        ],
        "light": [
            *("25.00 %", "37.50 %", "31.25 %"),
            *("2.000", "6.2 %"),
            *("1.000", "12.5 %", f"{DASH} 0 rows", "0.875 1 row"),
            *("2.500", "2.0 %"),
        ],
    }
    assert list(lines(html)) == ["heavy", "light"]


def test_norm_and_way_are_said():
    columns = SETTLED.to_pydict()
    columns["norm"] = [value for step in range(20) for value in (0.5 + step, 0.5 + step)]
    for name in ("weight", "weight_ema"):
        columns[name] = [0.5, 0.5] * 18 + [0.375, 0.625] * 2
    html = section(RunRecord("r", trajectory=pa.table(columns)))
    assert "least 0.500, median 10.000, greatest 19.500. Above 1 it is clipped" in html
    assert "moved the mixture by 0.125; it is 0.125 away from uniform" in html


def test_lines_follow_the_kept_mixture():
    mixtures = {
        "last": MixtureRecord({"light": 0.25, "heavy": 0.75}),
        "mean": MixtureRecord({"light": 0.875, "heavy": 0.125}, kept=True),
    }
    record = RunRecord("r", mixtures=mixtures, trajectory=SETTLED)
    assert list(lines(section(record))) == ["light", "heavy"]


def test_nothing_to_warn_of_is_said():
    record = RunRecord("r", trajectory=SETTLED, reference_by_task=BY_TASK)
    assert "<p>There is nothing to warn of.</p>" in section(record)
    assert 'class="warnings"' not in section(record)
    assert "warning" not in headline(record)


def test_warnings_are_listed_with_names_escaped(run_directory):
    record = load_run(run_directory)
    html = section(record)
    warnings = re.findall(
        r"<li>(.*?)</li>", re.search(r'class="warnings">(.*?)</ul>', html, re.S)[1]
    )
    assert len(warnings) == 2
    assert warnings[0].startswith("The mixture is not settled")
    assert repr(HOSTILE[0]) in unescape(warnings[1])
    assert MEMORISED in warnings[1]
    assert "<script>" not in html
    assert "<img" not in html
    assert set(lines(html)) == {*HOSTILE, *PLAIN}
    assert "There is nothing to warn of" not in html


def test_other_warnings_of_the_run_stand_at_the_top_and_those_of_learning_only_once(run_directory):
    run = load_run(run_directory)
    learning = diagnose(run.trajectory, run.reference_by_task).warnings
    told = ["The training rows of task '<b>' hold the benchmark", *learning]
    (run_directory / "warnings.json").write_text(json.dumps(told))
    html = page.render(load_run(run_directory))
    assert "<li>The training rows of task &#39;&lt;b&gt;&#39; hold the benchmark</li>" in html
    assert html.count("The mixture is not settled") == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [({}, "2 warnings"), ({"reference_by_task": None}, "1 warning")],
)
def test_the_headline_counts_the_warnings(run_directory, change, words):
    record = replace(load_run(run_directory), **change)
    sentence = f'<p>Learning gives {words}: see <a href="#diagnosis">Diagnosis</a>.</p>'
    assert sentence in headline(record)


def test_without_losses_by_task_it_is_said(run_directory):
    record = load_run(run_directory)
    said = "there is no <code>reference_losses/by_task.parquet</code>"
    assert said not in section(record)
    html = section(replace(record, reference_by_task=None))
    assert said in html
    assert "unseen" not in html
    assert MEMORISED not in html
    assert {len(cells) for cells in lines(html).values()} == {9}


def test_a_task_that_losses_by_task_do_not_name_gets_dashes():
    html = section(RunRecord("r", trajectory=SETTLED, reference_by_task=BY_TASK.slice(0, 1)))
    assert lines(html)["light"][7:9] == [DASH, DASH]
    assert lines(html)["heavy"][7:9] == ["1.125 1,500 rows", "1.750 64 rows"]


def test_without_a_trajectory_the_section_says_so(run_directory):
    html = section(replace(load_run(run_directory), trajectory=None))
    assert "The diagnosis of learning is not there yet" in html
    assert "<table" not in html


@pytest.mark.parametrize(("tasks", "long"), [(30, False), (31, True)])
def test_a_long_table_scrolls_in_its_box(tmp_path, tasks, long):
    names = tuple(f"task {number}" for number in range(tasks))
    html = section(load_run(make_run(tmp_path / "run", tasks=names, steps=4)))
    assert ('class="scroll long"' in html) == long
