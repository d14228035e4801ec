"""``tdro evaluate`` through the command line."""

from functools import partial

import pyarrow.parquet as pq
import pytest

from tests.evaluation import published


@pytest.fixture
def evaluate(tdro, model, tmp_path, monkeypatch):
    """Runs the command on a saved model; returns exit code, output and errors."""
    model.save(str(tmp_path / "model"))
    monkeypatch.setenv("COLUMNS", "200")
    return partial(tdro, "evaluate", tmp_path / "model")


def lines(at):
    return pq.read_table(at / "scores.parquet").to_pylist()


def test_collections_of_several_layouts_in_one_call(evaluate, tmp_path):
    published.beir(tmp_path / "beir" / "scifact")
    published.miracl(tmp_path / "miracl", "sw")
    published.miracl(tmp_path / "miracl", "yo")
    published.mkqa(tmp_path / "mkqa", [[published.answer("entity", "w6")]])
    published.beir(tmp_path / "mkqa" / "nq")
    folders = [word for name in ("beir", "miracl", "mkqa") for word in ("-b", tmp_path / name)]
    languages = [word for xx in ("sw", "yo", "de", "zh_cn") for word in ("--language", xx)]
    code, shown, errors = evaluate(*folders, *languages, "-o", tmp_path / "out")
    assert code == 0, errors
    benchmarks = ["scifact", "miracl/sw", "miracl/yo", "mkqa/de", "mkqa/zh_cn"]
    assert list(dict.fromkeys(line["benchmark"] for line in lines(tmp_path / "out"))) == benchmarks
    for text in (*benchmarks, "mean of miracl (2)", "mean of mkqa (2)", "Acc@100"):
        assert text in shown
    code, shown, errors = evaluate(*folders, "--only", "miracl", "-o", tmp_path / "out")
    assert code == 0, errors
    assert {line["benchmark"] for line in lines(tmp_path / "out")} == {"miracl/sw", "miracl/yo"}


def test_the_same_command_goes_on_and_judges_what_has_changed(evaluate, tmp_path, monkeypatch):
    for name in ("one", "two"):
        published.beir(tmp_path / "b" / name)
    asked = ("-b", tmp_path / "b", "-o", tmp_path / "out")
    assert evaluate(*asked)[0] == 0
    first = lines(tmp_path / "out")
    judged = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "judged").iterdir()}
    assert len(judged) == 2
    published_again = tmp_path / "b" / "two" / "qrels" / "test.tsv"
    published_again.write_text(published_again.read_text().replace("q1\td1", "q1\td3"))
    assert evaluate(*asked)[0] == 0
    changed = [p.name for p, stamp in judged.items() if p.stat().st_mtime_ns != stamp]
    assert changed == ["two.parquet"]
    assert lines(tmp_path / "out") != first
    stamps = {path: path.stat().st_mtime_ns for path in judged}
    assert evaluate(*asked, "--instruction", "w1")[0] == 0
    assert all(path.stat().st_mtime_ns != stamp for path, stamp in stamps.items())


def test_a_judged_document_that_is_not_there_is_told_and_no_error(evaluate, tmp_path):
    published.beir(tmp_path / "b", test=[("q1", "d1", 1), ("q1", "d9", 1)])
    code, shown, errors = evaluate("-b", tmp_path / "b")
    assert code == 0, errors
    assert "document 'd9', which is not in corpus.jsonl" in " ".join(shown.split())


def test_without_an_output_nothing_is_left(evaluate, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    published.beir(tmp_path / "b")
    assert evaluate("-b", "b")[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "model"]


def test_msmarco_by_another_split(evaluate, tmp_path):
    folder = tmp_path / "msmarco"
    published.beir(folder, dev=[("q1", "d1", 1)], test=[("q2", "d2", 1)])
    for words, query in (((), "q1"), (("--split", "test"), "q2")):
        assert evaluate("-b", folder, "-o", tmp_path / "out", *words)[0] == 0
        assert [line["query"] for line in lines(tmp_path / "out")] == [query]


def test_weights_that_were_not_copied_whole_are_one_sentence(evaluate, tmp_path):
    published.beir(tmp_path / "b")
    (weights,) = (tmp_path / "model").rglob("model.safetensors")
    whole = weights.read_bytes()
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
    for content in (whole[: len(whole) // 2], pointer):
        weights.write_bytes(content)
        code, _, errors = evaluate("-b", tmp_path / "b")
        assert (code, errors.count("\n")) == (2, 1)
        assert "/model' cannot be read" in errors
        assert "copy them again" in errors
        assert "git-lfs pointer" in errors


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "nothing to judge on"),
        (("-b", "empty"), "looked for"),
        (("-b", "gone"), "does not exist"),
        (("-b", "b", "--only", "x"), "No benchmark is named 'x'"),
        (("-b", "b", "--language", "xx"), "The language 'xx' is unknown"),
        (("-b", "b", "--split", "dev"), "dev.tsv are missing: there is the split test"),
        (("-b", "b", "-m", "nDCG"), None),
        (("-b", "b", "-m", "Good@1"), "unknown to ir_measures"),
        (("--mteb", "SciFact"), "--output"),
    ],
)
def test_bad_input_is_one_sentence(evaluate, tmp_path, monkeypatch, words, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    published.beir(tmp_path / "b")
    code, _, errors = evaluate(*words)
    if told is None:
        assert code == 0
    else:
        assert code == 2
        assert told in errors
        assert errors.startswith("tdro: ")
        assert errors.count("\n") == 1
