import errno
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import tdro as tdro_module
from tdro.encoder import build_encoder
from tdro.errors import fault_of_place
from tdro.evaluation.benchmark import write_benchmark
from tdro.mixture import Mixture
from tdro.settings import EncoderSettings


@pytest.fixture
def mixture_file(tmp_path):
    path = tmp_path / "mixture.json"
    Mixture({"small[b]": 0.1, "big": 0.6, "mid": 0.3}, {"small[b]": 5, "big": 10, "mid": 5}).save(
        path
    )
    return path


def test_help_names_every_command(tdro):
    code, shown, _ = tdro("--help")
    assert code == 0
    for command in ("run", "compare", "demo", "tasks", "mixture", "evaluate", "report", "estimate"):
        assert command in shown


def test_help_and_mixtures_need_no_torch():
    check = (
        "import sys, tdro, tdro.cli, tdro.mixture, tdro.settings;"
        "sys.exit(bool({'torch', 'datasets', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_the_version_is_that_of_the_package(tdro):
    assert tdro("--version") == (0, f"tdro {version('tdro')}\n", "")
    assert tdro_module.__version__ == version("tdro")


def test_show_prints_the_heaviest_task_first(tdro, mixture_file):
    code, shown, _ = tdro("mixture", "show", mixture_file)
    assert code == 0
    assert shown.index("big") < shown.index("mid") < shown.index("small[b]")
    assert "0.6000" in shown


def test_top_writes_the_selection(tdro, mixture_file, tmp_path):
    code, _, _ = tdro("mixture", "top", mixture_file, "0.7", "-o", tmp_path / "top.json")
    assert code == 0
    content = json.loads((tmp_path / "top.json").read_text())
    assert content["domain_weights"] == {"big": 0.5, "mid": 0.5}


@pytest.fixture
def measured_file(tmp_path):
    gains = {"steep": (0.4, 0.02), "flat": (0.02, 0.005), "far": (-0.1, 0.5)}
    told = {task: {"gain": gain, "error": error} for task, (gain, error) in gains.items()}
    path = tmp_path / "measured.json"
    weights = {"steep": 0.7, "flat": 0.1, "far": 0.1, "none": 0.1}
    Mixture(weights, {}, {"method": "learning-curve", "gains": told}).save(path)
    return path


def test_helped_writes_the_selection(tdro, measured_file, mixture_file, tmp_path):
    code, shown, _ = tdro("mixture", "helped", measured_file, "-o", tmp_path / "helped.json")
    assert code == 0
    assert "+0.4000 ± 0.0200" in shown
    assert "drops" not in shown
    content = json.loads((tmp_path / "helped.json").read_text())
    assert content["domain_weights"] == pytest.approx(
        dict.fromkeys(["steep", "far", "none"], 1 / 3)
    )
    assert content["selection"] == "helped"
    code, _, errors = tdro("mixture", "helped", mixture_file, "-o", tmp_path / "other.json")
    assert code == 2
    assert errors.startswith(f"tdro: {mixture_file}: 'helped' selects by what further rows gain")
    assert not (tmp_path / "other.json").exists()


def test_show_tells_gains_and_what_helped_leaves_out(tdro, measured_file, mixture_file):
    shown = tdro("mixture", "show", measured_file)[1]
    line = {
        task: next(row for row in shown.splitlines() if f" {task} " in row)
        for task in ("steep", "flat", "none")
    }
    assert "+0.4000 ± 0.0200" in line["steep"]
    assert "keeps" in line["steep"]
    assert "+0.0200 ± 0.0050" in line["flat"]
    assert "drops" in line["flat"]
    assert "±" not in line["none"]
    assert "gain" not in tdro("mixture", "show", mixture_file)[1]


@pytest.mark.parametrize(
    "words",
    [
        ("mixture", "show", "gone.json"),
        ("mixture", "helped", "gone.json", "-o", "x.json"),
        ("mixture", "top", "gone.json", "0.7", "-o", "x.json"),
        ("run", "gone.yaml"),
        ("tasks", "check", "gone.jsonl"),
        ("report", "gone"),
    ],
)
def test_bad_input_ends_with_code_2_and_one_sentence(tdro, words):
    code, _, errors = tdro(*words)
    assert code == 2
    assert errors.startswith("tdro: ")
    assert "gone" in errors
    assert errors.count("\n") == 1


def test_a_place_where_nothing_can_be_written_ends_with_code_2_and_one_sentence(
    tdro, mixture_file, tmp_path
):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "a.jsonl").write_text('["query", "answer"]\n')
    convert = ("tasks", "convert", tmp_path / "a.jsonl", "--to", "tevatron", "-o")
    for words in (
        ("mixture", "top", mixture_file, "0.7", "-o", tmp_path),
        ("mixture", "top", mixture_file, "0.7", "-o", tmp_path / "file" / "top.json"),
        (*convert, tmp_path / "file" / "out.jsonl"),
        (*convert, tmp_path / "file" / "out"),
    ):
        code, _, errors = tdro(*words)
        assert code == 2
        assert errors.startswith(f"tdro: {tmp_path}")
        assert "give another path" in errors
        assert errors.count("\n") == 1
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a place that holds no new folder")
def test_a_folder_that_cannot_be_made_ends_with_code_2_and_one_sentence(
    tdro, mixture_file, tmp_path
):
    (tmp_path / "a.jsonl").write_text('["query", "answer"]\n')
    for words in (
        ("mixture", "top", mixture_file, "0.7", "-o", "/proc/nope/top.json"),
        ("tasks", "inspect", tmp_path / "a.jsonl", "-o", "/proc/nope/page.html"),
        ("tasks", "convert", tmp_path / "a.jsonl", "--to", "tevatron", "-o", "/proc/nope/a.jsonl"),
        ("tasks", "convert", tmp_path / "a.jsonl", "--to", "tevatron", "-o", "/proc/nope"),
    ):
        code, _, errors = tdro(*words)
        assert code == 2
        assert errors.startswith("tdro: The folder /proc/")
        assert errors.endswith("cannot be made: give another path.\n")


def test_only_faults_of_a_path_or_a_disk_are_the_users():
    place = fault_of_place(PermissionError(errno.EACCES, "Permission denied", "a/b"))
    assert place.startswith("a/b may not be read or written")
    assert "make room" in fault_of_place(OSError(errno.ENOSPC, "No space left on device"))
    for error in (
        PermissionError(errno.EACCES, "a connection"),
        FileNotFoundError(errno.ENOENT, "No such file", "a"),
        OSError(errno.EIO, "Input/output error", "a"),
        OSError("what a library says"),
    ):
        assert fault_of_place(error) is None


def test_an_unknown_option_ends_with_code_2(tdro):
    assert tdro("run", "--speed", "high")[0] == 2


def test_check_shows_bad_rows_with_file_and_line(tdro, tmp_path):
    path = tmp_path / "odd.jsonl"
    path.write_text('{"query": "a", "pos": ["b"]}\n{"query": "", "pos": ["b"]}\nnot json\n')
    code, shown, _ = tdro("tasks", "check", path)
    assert code == 0
    assert "odd.jsonl:2" in shown
    assert "odd.jsonl:3" in shown
    code, _, errors = tdro("tasks", "check", path, "--strict")
    assert code == 2
    assert "odd.jsonl:2" in errors


def test_convert_writes_tasks_that_check_reads(tdro, tmp_path):
    path = tmp_path / "odd.jsonl"
    path.write_text('["query", "answer", "wrong"]\n["query"]\n')
    code, shown, _ = tdro("tasks", "convert", path, "-o", tmp_path / "out", "--to", "tevatron")
    assert code == 0
    assert "odd.jsonl: 1 rows; 1 dropped, not an object" in shown
    code, shown, _ = tdro("tasks", "check", tmp_path / "out", "--strict")
    assert code == 0
    assert "odd" in shown
    code, _, errors = tdro("tasks", "convert", path, "-o", tmp_path / "out", "--to", "tevatron")
    assert code == 2
    assert "is there already" in errors
    code, _, errors = tdro(
        "tasks", "convert", path, "-o", tmp_path / "new", "--to", "tevatron", "--strict"
    )
    assert code == 2
    assert "odd.jsonl:2" in errors


def test_check_and_convert_take_the_tasks_of_a_recipe(tdro, tmp_path):
    rows = [{"frage": f"q{n}", "antwort": f"a{n}", "lang": "de"} for n in range(5)]
    rows.append({"frage": "long long query", "antwort": "a", "lang": "de"})
    rows.append({"frage": "q", "antwort": "a", "lang": "en"})
    (tmp_path / "faq.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    task = {
        "name": "faq",
        "path": "faq.jsonl",
        "instruction": "Find",
        "columns": {"query": "frage", "positive": "antwort"},
        "filter": {"where": {"lang": "de"}, "max_query_words": 2},
        "max_rows": 4,
    }
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps({"tasks": [task], "model": {"name_or_path": "m"}, "max_rows": 3}))
    code, shown, _ = tdro("tasks", "check", recipe)
    assert code == 0
    for words in ("1 query too long", "1 not in where", "faq: 2 rows over max_rows"):
        assert words in " ".join(shown.split())
    out = tmp_path / "out"
    code, shown, _ = tdro("tasks", "convert", recipe, "-o", out, "--to", "flagembedding")
    assert code == 0
    assert "3 rows" in shown
    assert "1 dropped, query too long" in shown
    assert json.loads((out / "tasks.json").read_text())["faq"]["instruction"] == "Find"


@pytest.mark.slow
def test_a_model_is_judged_by_the_metrics_that_are_named(tdro, tiny_llm, tmp_path):
    model = build_encoder(EncoderSettings(name_or_path=str(tiny_llm), layers=1))
    model.save(str(tmp_path / "model"))
    write_benchmark(
        tmp_path / "outside",
        name="outside",
        instruction="",
        group="external",
        queries=[("q1", "badle fesin"), ("q2", "goran")],
        documents=[("d1", "badle fesin"), ("d2", "goran"), ("d3", "mulet")],
        qrels=[("q1", "d1", 1), ("q2", "d2", 1)],
    )
    asked = ("evaluate", str(tmp_path / "model"), "-b", str(tmp_path / "outside"))
    code, shown, _ = tdro(*asked, "-m", "RR@10", "-o", str(tmp_path / "out"))
    assert code == 0
    assert "RR@10" in shown
    scores = pq.read_table(tmp_path / "out" / "scores.parquet")
    assert scores["RR@10"].to_pylist() == [1.0, 1.0]
    assert "nDCG@10" not in scores.column_names
    code, _, said = tdro(*asked, "-m", "RR@ten")
    assert code == 2
    assert "RR@ten" in said
