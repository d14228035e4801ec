"""Names and paths stay values in whatever is written: they end no string, line or command."""

import ast
import functools
import os
import shlex
import subprocess
import tempfile
from glob import escape
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tdro.errors import InputError
from tdro.exports.targets import TARGETS, export_mixture
from tdro.exports.text import comment, quoted
from tdro.files import file_name
from tdro.mixture import Mixture

NAMES = st.lists(
    st.text("ab'\"\\\n\r\t\x85\u2028 $()`;&|#%[]*?{}:-~!<>=,.é日", min_size=1, max_size=8).filter(
        lambda name: not name.startswith(".")
    ),
    min_size=2,
    max_size=4,
    unique=True,
)


def render(names, target, folder):
    """Exports the tasks; all but the last have a weight and a file."""
    *kept, dropped = names
    data = folder / kept[0]
    data.mkdir()
    for name in kept:
        (data / f"{name}.jsonl").touch()
    weights = {name: 1 / len(kept) for name in kept}
    path = data / "the mixture"
    Mixture({**weights, dropped: 0.0}, dict.fromkeys(names, 10)).save(path)
    files = export_mixture(path, target, data=data, folder=folder).files
    assert all(repr(dropped) in text for text in files.values())
    return kept, data, files


@functools.cache
def plain_files(target):
    with tempfile.TemporaryDirectory() as folder:
        return render(["a", "b", "c"], target, Path(folder))[2]


def assigned(script):
    """The constants a script assigns, and how many statements it has."""
    tree = ast.parse(script)
    values = {}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            value = node.value
            if isinstance(value, ast.Call) and ast.unparse(value.func) == "Path":
                value = value.args[0]
            try:
                values[node.targets[0].id] = ast.literal_eval(value)
            except ValueError:
                continue
    return values, len(tree.body)


@pytest.mark.parametrize("target", sorted(TARGETS))
@given(names=NAMES)
def test_names_are_values_in_every_text(target, names):
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"{folder}/{names[0]}/{name}.jsonl" for name in names[:-1]]
        if target in ("datasets", "trl") and any("::" in path for path in paths):
            with pytest.raises(InputError, match="holds '::'"):
                render(names, target, Path(folder))
            return
        kept, data, files = render(names, target, Path(folder))
        plain = plain_files(target)
        for name, text in files.items():
            if name.endswith(".py"):
                assert assigned(text)[1] == assigned(plain[name])[1]
            check = {"py": check_python, "yaml": check_yaml, "sh": check_shell}
            check[name.rpartition(".")[2]](text, kept, data, Path(folder))


def check_python(text, kept, data, folder):
    values, _ = assigned(text)
    if "DATA" in values:
        assert values["DATA"] == str(data)
    if "MIXTURE" in values:
        assert values["MIXTURE"] == str(data / "the mixture")
    table = next(values[key] for key in ("ROWS", "TASKS", "FILES") if key in values)
    assert list(table) == kept
    if "TASKS" in values:
        assert [file for _, file, _ in table.values()] == [f"{name}.jsonl" for name in kept]


def check_yaml(text, kept, data, folder):
    content = yaml.safe_load(text)
    if "datasets" in content:
        found = [entry["data_files"] for entry in content["datasets"]]
        assert found == [escape(str(data / f"{name}.jsonl")) for name in kept]
    else:
        found = [entry["name"] for entry in content["train"]]
        assert found == [escape(str(folder / "rows" / f"{file_name(name)}.jsonl")) for name in kept]
        assert len(content["corpus"]) == len(kept)


def check_shell(text, kept, data, folder):
    """Runs the script with commands that print what they are given."""
    for command in ("swift", "torchrun"):
        stub = folder / command
        stub.write_text('#!/bin/sh\nprintf "%s\\0" "$@"\n')
        stub.chmod(0o755)
    script = folder / "train.sh"
    script.write_text(text)
    before = sorted(folder.rglob("*"))
    done = subprocess.run(
        ["sh", str(script), "encoder_only.base", "--output_dir", "$HOME x"],
        env={"PATH": f"{folder}:{os.environ['PATH']}"},
        cwd=folder,
        capture_output=True,
        check=True,
    )
    assert sorted(folder.rglob("*")) == before
    words = done.stdout.decode().split("\0")[:-1]
    assert words[-2:] == ["--output_dir", "$HOME x"]
    rows = [word for word in words if "rows/" in word]
    if "sft" in words:
        paths = [f"{folder}/rows/{file_name(name)}.jsonl" for name in kept]
        assert [row.rpartition("#")[0] for row in rows] == paths
        assert sum(int(row.rpartition("#")[2]) for row in rows) == 10 * len(kept)


@given(NAMES)
def test_a_comment_stays_on_its_lines(names):
    text = comment([quoted(names)])
    assert len(text.splitlines()) == 1
    assert text.startswith("# ")
    assert shlex.split(text, comments=True) == []
