"""The command ``tdro mixture export``: what it writes, prints and refuses."""

import json

import pytest

from tdro.exports.targets import TARGETS
from tdro.mixture import Mixture

from .conftest import NASTY, write_rows


@pytest.fixture
def export(tdro, monkeypatch, nasty):
    """Runs the command as a shell would, in the folder of the mixture and its tasks."""
    monkeypatch.chdir(nasty)

    def call(*words, file="mixture.json"):
        return tdro("mixture", "export", file, *words)

    return call


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_the_terminal_and_the_folder_get_the_same_text(export, nasty, target):
    code, shown, _ = export("--to", target, "--data", "data", "-o", "out")
    assert code == 0
    files = shown.splitlines()
    assert [nasty / file for file in files] == sorted((nasty / "out").iterdir())
    code, shown, _ = export("--to", target, "--data", "data")
    assert code == 0
    for file in files:
        # A list of files to be written names the folder it is written to.
        text = (nasty / file).read_text().replace("/out/rows", "/rows")
        assert text in shown
    assert all(repr(name) in shown for name in ["dropped\nrun()"])


def test_the_help_names_every_target(export):
    code, shown, _ = export("--help")
    assert code == 0
    words = shown.replace("│", " ").split()
    assert all(any(word.strip(".,") == target for word in words) for target in TARGETS)


def test_without_data_the_paths_are_a_guess_that_is_told(export):
    code, shown, _ = export("--to", "trl")
    assert code == 0
    assert "data_files: data/" in shown
    assert "a guess" in shown
    assert "a guess" not in export("--to", "trl", "--data", "data")[1]


def test_writing_the_same_again_is_fine_and_another_text_is_not_lost(export, nasty):
    words = ("--to", "datasets", "--data", "data", "-o", "out")
    assert export(*words)[0] == 0
    assert export(*words)[0] == 0
    (nasty / "out" / "mixed.py").write_text("# mine\n")
    code, _, errors = export(*words)
    assert code == 2
    assert "mixed.py is there already" in errors
    assert (nasty / "out" / "mixed.py").read_text() == "# mine\n"


@pytest.mark.parametrize("target", ["out", "out/below"])
def test_a_file_where_the_folder_is_to_be_ends_with_one_sentence(export, nasty, target):
    (nasty / "out").write_text("mine")
    code, _, errors = export("--to", "trl", "--data", "data", "-o", target)
    assert code == 2
    assert errors.startswith("tdro: out")
    assert "give another path" in errors
    assert errors.count("\n") == 1


def test_a_task_too_light_for_a_row_is_left_out_and_told(export, nasty):
    Mixture({"heavy": 0.99, "light\n": 0.01}).save(nasty / "light.json")
    for target in ("flagembedding", "ms-swift", "tevatron"):
        code, shown, _ = export("--to", target, "--rows", 10, file="light.json")
        assert code == 0
        assert "Too light for one of 10 rows, and left out: 'light\\n'." in shown
        assert "light%0A" not in shown


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--to", "sentence-transformer"), "nearest is 'sentence-transformers'"),
        (("--to", "swift"), "nearest is 'ms-swift'"),
        (("--to", "trl", "--rows", "5"), "--rows is for flagembedding, ms-swift, tevatron"),
        (("--to", "tevatron", "--rows", "0"), "--rows is 0"),
        (("--to", "trl", "--data", "gone"), "gone is no folder"),
    ],
)
def test_bad_options_end_with_one_sentence(export, words, sentence):
    code, shown, errors = export(*words)
    assert code == 2
    assert shown == ""
    assert errors.startswith("tdro: ")
    assert sentence in errors
    assert errors.count("\n") == 1


def test_a_missing_mixture_file_ends_with_one_sentence(export):
    assert export("--to", "trl", file="gone.json")[::2] == (2, "tdro: gone.json does not exist.\n")


def test_a_task_without_a_file_is_named(export, nasty):
    (nasty / "data" / f"{NASTY[1]}.jsonl").unlink()
    code, _, errors = export("--to", "trl", "--data", "data", "-o", "out")
    assert code == 2
    assert "data has no file of 'new\\nline', to which the mixture gives weight" in errors
    assert errors.count("\n") == 1
    assert not (nasty / "out").exists()


@pytest.mark.parametrize(
    ("entry", "shards"),
    [({}, True), ({"max_rows": 5}, False), ({"filter": {"min_query_words": 1}}, False)],
)
def test_what_is_not_one_whole_file_is_laid_out_or_refused(export, tmp_path, entry, shards):
    tasks = tmp_path / "data" / "tasks"
    tasks.mkdir()
    write_rows(tasks, {"plain": 20})
    write_rows(tasks / "shards" if shards else tasks, {"part": 20})
    place = "tasks/shards" if shards else "tasks/part.jsonl"
    listed = {"plain": {}, "part": {"path": place, **entry}}
    (tmp_path / "data" / "tasks.json").write_text(json.dumps(listed))
    Mixture({"plain": 0.5, "part": 0.5}, {"plain": 20, "part": 20}).save(tmp_path / "m.json")
    for target in ("trl", "datasets"):
        code, _, errors = export("--to", target, "--data", "data", file="m.json")
        assert (code, "The task 'part' cannot be read as it is" in errors) == (2, True)
    assert export("--to", "flagembedding", "--data", "data", file="m.json")[0] == 0


def test_a_name_that_the_library_takes_for_a_chain_is_refused(export, nasty):
    Mixture({"a": 0.5, "zip::b": 0.5}).save(nasty / "chain.json")
    for name in ("a", "zip::b"):
        (nasty / "data" / f"{name}.jsonl").touch()
    for target in ("datasets", "trl"):
        code, _, errors = export("--to", target, "--data", "data", file="chain.json")
        assert code == 2
        assert "zip::b.jsonl' holds '::'" in errors
