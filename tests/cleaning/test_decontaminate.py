"""Taking benchmarks out of tasks."""

import json
import shutil

import pytest
from rich.console import Console

from tdro.cleaning import decontaminate as module
from tdro.cleaning.decontaminate import Asked, decontaminate
from tdro.cleaning.finder import Finder, Findings, Placed
from tdro.cleaning.judged import Judged, judged
from tdro.errors import InputError
from tdro.evaluation.benchmark import load_benchmark
from tdro.evaluation.loaders.find import find_sources as find_benchmarks
from tdro.files import locked
from tdro.tasks.duplicates import jaccard, words_of
from tdro.tasks.layouts import Row
from tdro.tasks.rows import read_rows
from tdro.tasks.sources import find_sources
from tests.evaluation import published
from tests.tasks.helpers import row, source, write_jsonl

from .conftest import JUDGED, LONG, OTHER


def clean(data, benchmark, target, **asked):
    wanted = Asked(find_benchmarks([benchmark]), **asked)
    return decontaminate(find_sources(data), target, wanted, Console(quiet=True))


def rows_in(folder):
    return {task.name: [found for _, _, found in read_rows(task)] for task in find_sources(folder)}


def contents(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in files
        if path.name != "manifest.json"
    }


def test_what_a_benchmark_holds_is_gone_and_nothing_else(data, benchmark, tmp_path):
    clean(data, benchmark, tmp_path / "out")
    assert rows_in(tmp_path / "out") == {
        "leaky": [
            Row("some fox", ("five",), (f"Spring {OTHER}", "never judged")),
            Row("a cat", ("seven",), ("eight",)),
        ],
        "clean": [Row("a dog", ("nine",), ()), Row("a cow", ("ten",), ())],
    }
    instructions = {task.name: task.instruction for task in find_sources(tmp_path / "out")}
    assert instructions == {"leaky": "Find the fox", "clean": ""}


def test_the_report_counts_and_shows_where_each_text_stands(data, benchmark, tmp_path):
    report = clean(data, benchmark, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report
    assert report["benchmarks"] == {"held": {"queries": 2, "passages": 1}}
    leaky = report["tasks"]["leaky"]
    assert (leaky["rows_read"], leaky["rows"]) == (6, 2)
    assert leaky["rows_removed"] == {"query": 2, "no positive left": 1}
    assert leaky["passages_removed"] == {"positive": 2, "negative": 1}
    assert leaky["rows_dropped"] == {"empty query": 1}
    found = {(one["kind"], one["match"]): one for one in leaky["found"]}
    assert {key: one["count"] for key, one in found.items()} == {
        ("query", "equal"): 1,
        ("query", "near"): 1,
        ("positive", "equal"): 1,
        ("positive", "near"): 1,
        ("negative", "equal"): 1,
    }
    (near,) = found["query", "near"]["examples"]
    assert near == {
        "text": f"{LONG} they think",
        "benchmark_text": f"{LONG} you think",
        "benchmark_id": "q2",
        "similarity": round(
            jaccard(words_of(f"{LONG} they think"), words_of(f"{LONG} you think")), 4
        ),
        "file": str(data / "tasks" / "leaky.jsonl"),
        "line": 2,
    }
    assert report["tasks"]["clean"]["found"] == []


def test_a_threshold_of_one_takes_equal_texts_only(data, benchmark, tmp_path):
    report = clean(data, benchmark, tmp_path / "out", threshold=1.0)
    assert {one["match"] for one in report["tasks"]["leaky"]["found"]} == {"equal"}
    assert report["tasks"]["leaky"]["rows_removed"]["query"] == 1


@pytest.mark.parametrize("layout", ["tevatron", "sentence-transformers"])
def test_every_layout_reads_back(data, benchmark, tmp_path, layout):
    clean(data, benchmark, tmp_path / "plain")
    clean(data, benchmark, tmp_path / "out", layout=layout)
    assert rows_in(tmp_path / "out") == rows_in(tmp_path / "plain")


def test_the_limit_counts_the_rows_that_are_left(data, benchmark, tmp_path):
    report = clean(data, benchmark, tmp_path / "out", max_rows=1)
    assert {name: len(rows) for name, rows in rows_in(tmp_path / "out").items()} == {
        "leaky": 1,
        "clean": 1,
    }
    assert report["tasks"]["leaky"]["rows_dropped"]["over max_rows"] == 1


def test_at_most_five_examples_are_kept_and_the_first_ones():
    finder = Finder([Judged("held", (("q", "why"),), ())], 0.8)
    findings = Findings()
    rows = [Placed("a.jsonl", line, Row("Why?", ("x",), ())) for line in range(1, 9)]
    assert list(finder.cleaned(rows, findings)) == []
    (found,) = findings.as_json()["found"]
    assert found["count"] == 8
    assert [one["line"] for one in found["examples"]] == [1, 2, 3, 4, 5]


def test_a_text_in_two_benchmarks_is_counted_at_both_and_removed_once():
    finder = Finder([Judged(name, (), (("d", "yes"),)) for name in ("b", "a")], 0.8)
    findings = Findings()
    (left,) = finder.cleaned([Placed("x", 1, Row("q", ("Yes!", "no"), ()))], findings)
    assert left.row == Row("q", ("no",), ())
    assert findings.passages["positive"] == 1
    counted = [(one["benchmark"], one["count"]) for one in findings.as_json()["found"]]
    assert counted == [("a", 1), ("b", 1)]


def test_queries_are_not_compared_with_passages():
    finder = Finder([Judged("held", (("q", "why"),), (("d", "because"),))], 0.8)
    findings = Findings()
    placed = Placed("x", 1, Row("because", ("why",), ()))
    assert list(finder.cleaned([placed], findings)) == [placed]


def test_relevant_passages_count_and_unjudged_ones_do_not(benchmark):
    texts = judged(load_benchmark(benchmark))
    assert texts.passages == (("d1", JUDGED),)
    assert [query for query, _ in texts.queries] == ["q1", "q2"]


def test_a_benchmark_judged_by_answers_has_queries_only(tmp_path):
    published.mkqa(tmp_path / "mkqa", [[published.answer("entity", "w2")]])
    published.beir(tmp_path / "mkqa" / "nq")
    (german,) = [one for one in find_benchmarks([tmp_path / "mkqa"]) if one.language == "de"]
    assert judged(german.read(None)) == Judged("mkqa/de", (("-2", "w0"),), ())


def test_a_resumed_call_ends_alike_and_does_no_finished_task_again(
    data, benchmark, tmp_path, monkeypatch
):
    clean(data, benchmark, tmp_path / "whole")
    real, seen = module._clean, []

    def dying(task, *rest):
        seen.append(task.name)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return real(task, *rest)

    monkeypatch.setattr(module, "_clean", dying)
    with pytest.raises(KeyboardInterrupt):
        clean(data, benchmark, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    clean(data, benchmark, tmp_path / "out")
    assert seen == ["leaky", "clean", "clean"]
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "tasks",
        "tasks.json",
        "report.json",
    }
    assert not list(tmp_path.glob(".*partial")), "something unfinished was left"


def test_an_output_that_exists_is_left_alone(data, benchmark, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="out is there already"):
        clean(data, benchmark, tmp_path / "out")


def test_two_calls_do_not_write_the_same_folder(data, benchmark, tmp_path):
    with (
        locked(tmp_path / ".out.partial" / ".lock", wait=False),
        pytest.raises(InputError, match=r"Another process is at work on .*out"),
    ):
        clean(data, benchmark, tmp_path / "out")


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.1])
def test_a_threshold_that_is_none_is_told(data, benchmark, tmp_path, threshold):
    with pytest.raises(InputError, match=f"threshold is {threshold}: give one above 0"):
        clean(data, benchmark, tmp_path / "out", threshold=threshold)


def test_a_task_of_which_nothing_is_left_is_named_and_the_others_are_kept(
    data, benchmark, tmp_path
):
    write_jsonl(data / "tasks" / "clean.jsonl", [row("Where does the fox jump?", "x")])
    with pytest.raises(InputError) as told:
        clean(data, benchmark, tmp_path / "out")
    assert str(told.value) == (
        f"Nothing is left of the task 'clean' ({data / 'tasks' / 'clean.jsonl'}): 1 of its 1 rows "
        "are in 'held': leave the task out, or the benchmark."
    )
    assert (tmp_path / ".out.partial" / "tasks" / "leaky" / "rows.jsonl").is_file()


def test_a_task_without_a_usable_row_is_told(benchmark, tmp_path):
    path = write_jsonl(tmp_path / "bad.jsonl", [row("", "x")])
    asked = Asked(find_benchmarks([benchmark]))
    with pytest.raises(
        InputError, match=r"bad\.jsonl holds no usable row: its only row was .*\(empty query"
    ):
        decontaminate([source(path)], tmp_path / "out", asked, Console(quiet=True))


def test_a_name_cannot_leave_the_folder(benchmark, tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [row("q", "x")])
    asked = Asked(find_benchmarks([benchmark]))
    tasks = [source(path, name="../<script>")]
    decontaminate(tasks, tmp_path / "out" / "deep", asked, Console(quiet=True))
    assert [task.name for task in find_sources(tmp_path / "out" / "deep")] == ["../<script>"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"deep"}


def test_the_command_shows_a_table_and_ends_well(tdro, data, benchmark, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    words = ("tasks", "decontaminate", data, "--against", benchmark, "-o", tmp_path / "out")
    code, shown, _ = tdro(*words)
    assert code == 0
    (line,) = [one for one in shown.splitlines() if one.startswith("leaky")]
    assert line.split() == ["leaky", "held", "1", "1", "1", "1", "1", "0"]
    assert "4 of 8 rows are left: 3 removed for a benchmark, 1 dropped otherwise" in shown
    code, _, told = tdro(*words)
    assert (code, "is there already" in told) == (2, True)


def test_the_command_tells_of_a_benchmark_that_is_not_there(tdro, data, tmp_path):
    where = tmp_path / "nowhere"
    code, _, told = tdro("tasks", "decontaminate", data, "--against", where, "-o", tmp_path / "o")
    assert code == 2
    assert f"The benchmark folder {where} does not exist." in told
    assert not (tmp_path / "o").exists()


def test_the_command_takes_a_recipe_with_its_columns(tdro, benchmark, tmp_path):
    write_jsonl(
        tmp_path / "a.jsonl",
        [{"question": "Where does the fox jump", "answer": "x"}, {"question": "q", "answer": "y"}],
    )
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "tasks:\n  - {name: a, path: a.jsonl, columns: {query: question, positive: answer}}\n"
        "model: {name_or_path: nothing}\n"
    )
    out = tmp_path / "out"
    assert tdro("tasks", "decontaminate", recipe, "--against", benchmark, "-o", out)[0] == 0
    assert rows_in(out) == {"a": [Row("q", ("y",), ())]}


def test_the_clean_tasks_do_not_need_the_old_ones(data, benchmark, tmp_path):
    clean(data, benchmark, tmp_path / "out")
    shutil.rmtree(data)
    assert rows_in(tmp_path / "out")["clean"], "the clean tasks stand alone"
