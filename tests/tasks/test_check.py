import io

import pytest
from rich.console import Console

from tdro.errors import InputError
from tdro.tasks.check import check, check_sources, render_check
from tdro.tasks.task import TaskSource

from .helpers import row, write_jsonl


@pytest.fixture
def folder(tmp_path):
    write_jsonl(tmp_path / "bad.jsonl.gz", [row("q", "a")])
    (tmp_path / "bad.jsonl.gz").write_bytes(b"no gzip")
    write_jsonl(tmp_path / "good.jsonl", [row("two words", "a", neg=["b"]), row("q", "a")])
    write_jsonl(tmp_path / "some.jsonl", [row("q", "a"), *[{"[red]x": 1}] * 13, row("", "a")])
    return tmp_path


def _shown(checked):
    console = Console(file=io.StringIO(), width=200)
    console.print(render_check(checked))
    return console.file.getvalue()


def test_a_broken_file_does_not_stop_the_others(folder):
    checked = check(folder)
    assert [(one.source.name, one.report is None) for one in checked] == [
        ("bad", True),
        ("good", False),
        ("some", False),
    ]
    assert "bad.jsonl.gz is broken" in checked[0].error


def test_nothing_is_written_or_mined(folder):
    before = sorted(folder.rglob("*"))
    good = check(folder)[1].report
    assert sorted(folder.rglob("*")) == before
    assert (good.negatives_given, good.negatives_mined, good.short_of_negatives) == (1, 0, 1)


def test_shown(folder):
    shown = _shown(check(folder)).replace("\n", "")
    assert "not usable, see below" in shown
    assert "bad.jsonl.gz is broken after line 0" in shown
    assert "13 unknown layout" in shown
    assert "1 empty query" in shown
    assert f"{folder / 'some.jsonl'}:2: unknown layout (keys '[red]x'" in shown
    assert f"and 4 more in {folder / 'some.jsonl'}" in shown
    assert f"{folder / 'some.jsonl'}:12:" not in shown


def test_strict_raises_with_file_and_line(folder):
    with pytest.raises(InputError, match="broken"):
        check(folder, strict=True)
    with pytest.raises(InputError, match=r"some\.jsonl:2: unknown layout"):
        check(folder / "some.jsonl", strict=True)
    assert check(folder / "good.jsonl", strict=True)[0].error == ""


def test_texts_that_other_tasks_have_are_told(tmp_path):
    write_jsonl(tmp_path / "big.jsonl", [row(f"Query {n}?", f"passage {n}") for n in range(4)])
    write_jsonl(tmp_path / "small.jsonl", [row("query 1", "passage"), row("query 1", "passage 2")])
    write_jsonl(tmp_path / "apart.jsonl", [row("else", "other")])
    shown = _shown(check(tmp_path))
    assert "small: 100.0% of its 1 queries are in big, too" in shown
    assert "small: 50.0% of its 2 positives are in big, too" in shown
    assert "big: 25.0% of its 4 queries are in small, too" in shown
    assert "apart:" not in shown


def test_rows_over_the_limit_are_in_no_other_task(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [row("one", "x"), row("two", "y")])
    write_jsonl(tmp_path / "b.jsonl", [row("two", "z")])
    tasks = [
        TaskSource("a", tmp_path / "a.jsonl", max_rows=1),
        TaskSource("b", tmp_path / "b.jsonl"),
    ]
    assert "too" not in _shown(check_sources(tasks)).split("answers another row too.")[1]
