"""The page on bringing data: its files are written, its recipes read, its commands run."""

import io
import json
import re
import shlex
import sys
import tarfile
from pathlib import Path

import pytest

from tdro import cli
from tdro.errors import InputError
from tdro.recipe_file import load_recipe
from tdro.tasks.check import check_sources

PAGE = (Path(__file__).parents[1] / "docs" / "bring-your-data.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```(?:\n\n```text\n(.*?)^```)?", PAGE, re.M | re.S)
RECIPES = [text for kind, text, error in BLOCKS if kind == "yaml" and not error]
MISTAKES = [(text, error.strip()) for kind, text, error in BLOCKS if kind == "yaml" and error]
COMMANDS = [
    line.partition("#")[0] for kind, text, _ in BLOCKS if kind == "sh" for line in text.splitlines()
]
MODEL = "\nmodel: {name_or_path: m}\n"


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """The page's files, where the page has them."""
    files = re.findall(r"`([\w./-]+)`:\n\n```json\n(.*?)^```", PAGE, re.M | re.S)
    assert len(files) == 9
    for name, text in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    papers = tmp_path / "finetune_data"
    papers.mkdir()
    passage = [{"docid": "1", "title": "t", "text": "p"}]
    row = {"query_id": "1", "query": "q", "positive_passages": passage, "negative_passages": []}
    line = json.dumps(row).encode() + b"\n"
    for name in ("miracl", "nq"):
        (papers / f"{name}.jsonl").write_bytes(line)
    with tarfile.open(papers / "agnews.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("agnews.jsonl")
        member.size = len(line)
        archive.addfile(member, io.BytesIO(line))
    (tmp_path / "recipe.yaml").write_text(RECIPES[1] + MODEL)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sources(workplace, text):
    (workplace / "recipe.yaml").write_text(text + MODEL)
    return load_recipe(Path("recipe.yaml")).task_sources()


def test_the_page_has_something_to_test():
    assert (len(RECIPES), len(MISTAKES), len(COMMANDS)) == (4, 4, 5)


@pytest.mark.parametrize("text", RECIPES)
def test_its_recipes_read_its_files_without_a_fault(workplace, text):
    local = [one for one in sources(workplace, text) if one.hub is None]
    assert local
    for checked in check_sources(local, strict=True):
        assert checked.report.rows >= 1


def test_its_filters_do_what_it_says(workplace):
    faq, *_ = check_sources(sources(workplace, RECIPES[1]))
    assert (faq.report.rows, faq.report.dropped) == (1, {"not in where": 1})
    scored, pairs, graded = check_sources(sources(workplace, RECIPES[2]))
    assert scored.report.left_out == {"negative scored too high": 1}
    assert pairs.report.dropped == {"positive scored too low": 1}
    assert (graded.report.passages, graded.report.negatives_given) == (3, 1)


def test_its_python_runs(workplace, capsys):
    (snippet,) = (text for kind, text, _ in BLOCKS if kind == "python")
    exec(snippet, {})
    assert capsys.readouterr().out == "faq 1\n"


def told(workplace, text):
    """What is said of a recipe whose one task cannot be used."""
    try:
        (checked,) = check_sources(sources(workplace, text))
    except InputError as error:
        return str(error)
    return checked.error


@pytest.mark.parametrize(("text", "error"), MISTAKES)
def test_its_errors_are_as_it_says(workplace, text, error):
    assert told(workplace, text).replace(f"{workplace}/", "") == error


@pytest.mark.parametrize("line", COMMANDS)
def test_its_commands_run(workplace, monkeypatch, line):
    monkeypatch.setattr(sys, "argv", shlex.split(line))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
