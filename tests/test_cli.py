import json
import subprocess
import sys

import pytest

from tdro import cli
from tdro.mixture import Mixture


@pytest.fixture
def tdro(monkeypatch, capsys):
    """Runs the command line as a shell would and returns exit code, output and errors."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["tdro", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        shown = capsys.readouterr()
        return ended.value.code or 0, shown.out, shown.err

    return call


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
    for command in ("run", "demo", "tasks", "mixture", "evaluate", "report"):
        assert command in shown


def test_help_and_mixtures_need_no_torch():
    check = (
        "import sys, tdro, tdro.cli, tdro.mixture, tdro.settings;"
        "sys.exit(bool({'torch', 'datasets', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


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


@pytest.mark.parametrize(
    "words",
    [
        ("mixture", "show", "gone.json"),
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
