import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tdro.errors import InputError
from tdro.evaluation import corpus
from tdro.evaluation.benchmark import load_benchmark, write_benchmark
from tdro.evaluation.scores import score


def test_beir_layout(folder):
    benchmark = load_benchmark(folder)
    assert (benchmark.name, benchmark.instruction, benchmark.group) == ("tiny", "", "external")
    assert benchmark.queries == {"q1": "w1", "q2": "w2"}, "judged queries, in the file's order"
    assert benchmark.documents[:] == {
        "id": ["d1", "d2", "d3"],
        "text": ["w1 w2 w3", "w4 w5", "w6"],
    }
    assert benchmark.qrels == {"q2": {"d1": 2}, "q1": {"d2": 1, "d3": 0}}
    assert benchmark.documents.cache_files, "the corpus is memory-mapped"


def test_details_tell_name_instruction_and_group_and_a_given_name_wins(folder):
    details = {"name": "n", "instruction": "i", "group": "holdout"}
    (folder / "benchmark.json").write_text(json.dumps(details))
    benchmark = load_benchmark(folder)
    assert (benchmark.name, benchmark.instruction, benchmark.group) == ("n", "i", "holdout")
    assert load_benchmark(folder, name="x").name == "x"


def test_cache_is_reused_until_the_corpus_changes(folder, tmp_path):
    cache = tmp_path / "cache"
    load_benchmark(folder, cache=cache)
    (first,) = cache.glob("*.arrow")
    stamp = first.stat().st_mtime_ns
    load_benchmark(folder, cache=cache)
    assert [path.stat().st_mtime_ns for path in cache.glob("*.arrow")] == [stamp]
    with (folder / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "d4", "text": "new"}\n')
    assert len(load_benchmark(folder, cache=cache).documents) == 4


def test_what_a_killed_process_left_of_a_corpus_is_written_over(folder, tmp_path, monkeypatch):
    def killed(*arguments):
        raise KeyboardInterrupt

    cache = tmp_path / "cache"
    with monkeypatch.context() as patched:
        patched.setattr(corpus, "_check_distinct", killed)
        patched.setattr(Path, "unlink", lambda *arguments, **options: None)
        with pytest.raises(KeyboardInterrupt):
            load_benchmark(folder, cache=cache)
    assert list(cache.glob("*.partial"))
    assert len(load_benchmark(folder, cache=cache).documents) == 3
    assert {path.suffix for path in cache.iterdir()} == {".arrow", ".lock"}


@pytest.mark.parametrize(
    ("file", "line", "sentence"),
    [
        ("corpus.jsonl", '{"_id": "d9", "text": "\\ud800"}', "half a surrogate pair"),
        ("queries.jsonl", '{"_id": "q2", "text": "\\uDC00 w"}', "half a surrogate pair"),
        ("corpus.jsonl", '{"_id": "d9", "text": ' + "[" * 100000 + "}", "beyond any use"),
        ("qrels/test.tsv", "q1\td1\t99999999999", "scores lie between"),
    ],
)
def test_what_no_file_should_hold_is_one_sentence_with_its_line(folder, file, line, sentence):
    number = len((folder / file).read_text().splitlines()) + 1
    with (folder / file).open("a") as opened:
        opened.write(f"{line}\n")
    with pytest.raises(InputError, match=rf"{file}:{number} .*{sentence}"):
        load_benchmark(folder)


def test_a_whole_surrogate_pair_is_a_character(folder):
    with (folder / "corpus.jsonl").open("a") as opened:
        opened.write('{"_id": "d9", "text": "\\ud83d\\ude00"}\n')
    assert load_benchmark(folder).documents[-1]["text"] == "\U0001f600"


def test_temporary_corpus_goes_with_the_process(folder):
    code = (
        "import sys, pathlib; from tdro.evaluation.benchmark import load_benchmark;"
        "b = load_benchmark(pathlib.Path(sys.argv[1]));"
        "print(b.documents.cache_files[0]['filename'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True
    )
    path = Path(done.stdout.strip())
    assert path.suffix == ".arrow"
    assert not path.exists()


def test_write_then_load(tmp_path):
    content = {
        "name": "held out",
        "instruction": "Find it",
        "group": "holdout",
        "queries": [("q1", "füße\n\u2028x"), ("q2", "b")],
        "documents": [("d1", "one\ttwo"), ("d2", "")],
        "qrels": [("q1", "d1", 1), ("q2", "d2", 3)],
    }
    for name in ("a", "b"):
        write_benchmark(tmp_path / name, **content)
    write_benchmark(tmp_path / "b", **content)
    benchmark = load_benchmark(tmp_path / "a")
    assert (benchmark.name, benchmark.instruction, benchmark.group) == (
        "held out",
        "Find it",
        "holdout",
    )
    assert list(benchmark.queries.items()) == content["queries"]
    assert benchmark.documents["text"][:] == ["one\ttwo", ""]
    assert benchmark.qrels == {"q1": {"d1": 1}, "q2": {"d2": 3}}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    for file in ("corpus.jsonl.gz", "queries.jsonl.gz", "qrels/test.tsv", "benchmark.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_failing_stream_leaves_nothing_behind(tmp_path):
    def documents():
        yield "d1", "text"
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        write_benchmark(
            tmp_path / "a",
            name="a",
            instruction="",
            group="holdout",
            queries=[],
            documents=documents(),
            qrels=[],
        )
    assert list(tmp_path.iterdir()) == []


HEADER = "query-id\tcorpus-id\tscore\n"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("corpus.jsonl", None, r"has no corpus\.jsonl"),
        ("queries.jsonl", None, r"has no queries\.jsonl"),
        ("qrels/test.tsv", None, r"test\.tsv are missing"),
        ("corpus.jsonl", "", "holds no documents"),
        ("corpus.jsonl", '{"_id": "d1", "text": "a"}\n{"_id"\n', r"corpus\.jsonl:2 is not valid"),
        ("corpus.jsonl", '{"_id": "d1"}\n', r"corpus\.jsonl:1 .* 'text'"),
        ("corpus.jsonl", "[1]\n", r"corpus\.jsonl:1 must be a JSON object"),
        ("corpus.jsonl", '{"_id": "d 1", "text": "a"}\n', r"corpus\.jsonl:1 .* without spaces"),
        ("corpus.jsonl", '{"_id": 7, "text": "a"}\n', r"corpus\.jsonl:1 .* not 7"),
        ("corpus.jsonl", '{"_id": "d", "text": "a"}\n' * 2, r"corpus\.jsonl:2 repeats .*'d'"),
        ("queries.jsonl", '{"_id": "q1", "text": "a"}\n' * 2, r"queries\.jsonl:2 repeats"),
        ("queries.jsonl", '{"_id": "q1", "text": " "}\n', r"queries\.jsonl:1 is an empty query"),
        ("queries.jsonl", b"\xff\xfe\n", r"queries\.jsonl is not UTF-8"),
        ("qrels/test.tsv", "", "must begin with the columns"),
        ("qrels/test.tsv", "q1 0 d1 1\n", "must begin with the columns"),
        ("qrels/test.tsv", HEADER, "holds no judgements"),
        ("qrels/test.tsv", HEADER + "q1\td1\n", r"test\.tsv:2 must be"),
        ("qrels/test.tsv", HEADER + "q1\td1\t0.5\n", r"test\.tsv:2 must be"),
        ("qrels/test.tsv", HEADER + "q8\td1\t1\nq9\td1\t1\n", r"tsv:2 .* query 'q8'.* nor is any"),
        ("qrels/test.tsv", HEADER + "q1\ty\t1\nq1\tx\t1\n", r"tsv:2 .* document 'y'.* nor is any"),
        ("qrels/test.tsv", HEADER + "q1\td1\t1\nq1\td1\t2\n", r"test\.tsv:3 .* than line 2"),
        ("benchmark.json", "[]", r"benchmark\.json must be a JSON object"),
        ("benchmark.json", '{"nmae": "x"}', r"benchmark\.json must be a JSON object"),
    ],
)
def test_each_fault_is_one_sentence(folder, file, content, message):
    path = folder / file
    if content is None:
        path.unlink()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load_benchmark(folder)


def test_what_is_judged_and_not_there_is_told_and_counts_as_elsewhere(folder):
    (folder / "qrels/test.tsv").write_text(
        HEADER + "q1\td1\t1\nq1\tgone\t1\nq9\td1\t1\nq9\td2\t1\n", encoding="utf-8"
    )
    found = load_benchmark(folder)
    query, document = found.warnings
    assert "test.tsv:4 judges the query 'q9', which is not in queries.jsonl: 1 of 2" in query
    assert "test.tsv:3 judges the document 'gone', which is not in corpus.jsonl: 1 of 2" in document
    assert found.qrels == {"q1": {"d1": 1, "gone": 1}}
    assert list(found.queries) == ["q1"]
    # The document is one that should have been found: a perfect ranking misses half.
    assert score(found, {"q1": {"d1": 1.0}}, ["R@10"]) == {"q1": {"R@10": 0.5}}


def test_broken_gzip(folder):
    packed = gzip.compress((folder / "corpus.jsonl").read_bytes())
    (folder / "corpus.jsonl").unlink()
    for broken in (packed[:-12], b"plain text\n", packed[:15] + b"\x00\xff" + packed[17:]):
        (folder / "corpus.jsonl.gz").write_bytes(broken)
        with pytest.raises(InputError, match=r"corpus\.jsonl\.gz is not a whole gzip file"):
            load_benchmark(folder)
    (folder / "corpus.jsonl.gz").write_bytes(packed)
    assert len(load_benchmark(folder).documents) == 3


def test_missing_folder(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load_benchmark(tmp_path / "none")
