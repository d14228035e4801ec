import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tdro.errors import InputError
from tdro.tasks.layouts import Problem, Reason, Row, read_row
from tdro.tasks.reading import read_records
from tdro.tasks.sources import find_sources

from .helpers import row, write_jsonl


def test_lines_are_counted_from_one_and_blank_lines_skipped(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"x": 1}\r\n\n{"x": 2}')
    assert list(read_records(path)) == [(1, {"x": 1}), (3, {"x": 2})]


def test_parquet_rows_are_counted_across_batches(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": list(range(2500))}), path)
    records = list(read_records(path))
    assert records[0] == (1, {"x": 0})
    assert records[-1] == (2500, {"x": 2499})


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"x": ', Reason.NOT_JSON),
        (b"[" * 100_000, Reason.NOT_JSON),
        (b"1" * 10_000, Reason.NOT_JSON),
        (b'{"x": "\xff"}', Reason.NOT_UTF8),
        (json.dumps({"x": 1}).encode("utf-16"), Reason.NOT_UTF8),
    ],
)
def test_a_bad_line_is_a_problem_and_reading_goes_on(tmp_path, line, reason):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"x": 1}\n' + line + b'\n{"x": 3}\n')
    (_, first), (number, problem), *rest = read_records(path)
    assert first == {"x": 1}
    assert number == 2
    assert isinstance(problem, Problem)
    assert problem.reason is reason
    assert rest[-1][1] == {"x": 3}


def test_truncated_gzip_names_file_and_line(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl.gz", [row(f"q{n}", f"p{n}") for n in range(2000)])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    seen = []
    with pytest.raises(InputError, match=r"a\.jsonl\.gz is broken after line (\d+)") as error:
        seen.extend(read_records(path))
    assert 0 < len(seen) < 2000
    assert f"after line {seen[-1][0]}:" in str(error.value)


@pytest.mark.parametrize("damage", [b"this is no gzip", b"\x1f\x8b\x08\x00" + b"\x07" * 40])
def test_damaged_gzip(tmp_path, damage):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(damage)
    with pytest.raises(InputError, match="broken after line 0"):
        list(read_records(path))


def test_a_text_that_is_not_utf8_is_a_problem_of_its_row(tmp_path):
    texts = pa.array([b"a", b"c\xff", b"d"]).view(pa.string())
    pq.write_table(pa.table({"query": texts}), tmp_path / "a.parquet")
    first, (number, problem), last = read_records(tmp_path / "a.parquet")
    assert (first, last) == ((1, {"query": "a"}), (3, {"query": "d"}))
    assert number == 2
    assert str(problem) == "not UTF-8 (byte 2 of a text in 'query')"


@pytest.mark.parametrize("date", [pa.timestamp("us"), pa.timestamp("us", "No/Where")])
def test_a_date_that_python_cannot_hold_is_no_matter_in_a_column_that_is_not_read(tmp_path, date):
    rows = pa.table(
        {"query": ["q"], "pos": [["a"]], "when": pa.array([2**62], pa.int64()).view(date)}
    )
    pq.write_table(rows, tmp_path / "a.parquet")
    ((_, record),) = read_records(tmp_path / "a.parquet")
    assert read_row(record) == Row("q", ("a",), ())
    problem = read_row({**record, "query": record["when"]})
    assert problem.reason is Reason.WRONG_TYPE


def test_damaged_parquet(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 and nothing else PAR1")
    with pytest.raises(InputError, match=r"a\.parquet is broken after row 0"):
        list(read_records(path))


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.parquet"])
def test_missing_and_empty_files(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(InputError, match="does not exist"):
        list(read_records(path))
    if name.endswith(".parquet"):
        pq.write_table(pa.table({"query": pa.array([], pa.string())}), path)
    else:
        write_jsonl(path, [])
    with pytest.raises(InputError, match="holds no rows"):
        list(read_records(path))


@pytest.mark.parametrize("name", ["a.csv", "a.json", ".jsonl", "a.jsonl.bz2"])
def test_unknown_suffix(tmp_path, name):
    (tmp_path / name).write_text("x")
    for function in (find_sources, lambda path: list(read_records(path))):
        with pytest.raises(InputError, match=r"\.jsonl\.gz, \.jsonl, \.parquet or \.arrow"):
            function(tmp_path / name)


def _indexed(tmp_path, index, *files):
    (tmp_path / "tasks").mkdir()
    text = index if isinstance(index, str) else json.dumps(index)
    (tmp_path / "tasks.json").write_text(text)
    for file in files:
        write_jsonl(tmp_path / "tasks" / file, [row("q", "a")])
    return tmp_path


def test_one_file_is_a_task_without_instruction(tmp_path):
    path = write_jsonl(tmp_path / "my.cats.jsonl.gz", [row("q", "a")])
    (found,) = find_sources(path)
    assert (found.name, found.path, found.instruction) == ("my.cats", path, "")


def test_plain_folder_is_sorted_and_ignores_other_files(tmp_path):
    # macOS puts ._NAME beside what it copies to other disks.
    for name in ("b.jsonl", "a.jsonl.gz", "README.md", ".hidden", "._b.jsonl"):
        write_jsonl(tmp_path / name, [row("q", "a")])
    (tmp_path / "c.jsonl").mkdir()
    assert [one.name for one in find_sources(tmp_path)] == ["a", "b"]


def test_index_gives_order_and_instructions(tmp_path):
    index = {"b": {"instruction": "Find b", "rows": 1}, "a": {}}
    folder = _indexed(tmp_path, index, "a.jsonl", "b.jsonl.gz", "unlisted.jsonl")
    assert [(one.name, one.instruction) for one in find_sources(folder)] == [
        ("b", "Find b"),
        ("a", ""),
    ]


@pytest.mark.parametrize(
    ("index", "files", "message"),
    [
        ({"a": {}, "b": {}}, ["a.jsonl"], r"tasks\.json names the task 'b', but .*tasks.b "),
        ({"a": {}}, ["a.jsonl", "a.jsonl.gz"], r"a\.jsonl and a\.jsonl\.gz are both"),
        ('{"a": {}, "a": {}}', ["a.jsonl"], "names the task 'a' twice"),
        ({"../a": {}}, [], r"names a task '\.\./a'"),
        ({"..": {}}, [], r"names a task '\.\.'"),
        ({".a": {}}, [".a.jsonl"], r"names a task '\.a': .* no dot in front"),
        ({"": {}}, [], "names a task ''"),
        ({"x\\a": {}}, [], "without folders"),
        ({"a": "Find a"}, ["a.jsonl"], "describes the task 'a' wrongly"),
        ({"a": {"instruction": 1}}, ["a.jsonl"], "describes the task 'a' wrongly"),
        ({"a": {"instruction": "\ud800"}}, ["a.jsonl"], r"tasks\.json .*'a' .*half a surrogate"),
        ({"a": {"path": "\ud800"}}, [], r"tasks\.json gives the task 'a' the path .*half a surrog"),
        ([], ["a.jsonl"], "must be a JSON object"),
        ({}, ["a.jsonl"], "must be a JSON object"),
        ("{", ["a.jsonl"], r"tasks\.json is not valid JSON"),
    ],
)
def test_index_errors(tmp_path, index, files, message):
    with pytest.raises(InputError, match=message):
        find_sources(_indexed(tmp_path, index, *files))


def test_a_file_outside_the_folder_cannot_be_named(tmp_path):
    write_jsonl(tmp_path / "secret.jsonl", [row("q", "a")])
    (tmp_path / "data").mkdir()
    for name in ("../../secret", str(tmp_path / "secret")):
        (tmp_path / "data" / "tasks.json").write_text(json.dumps({name: {}}))
        with pytest.raises(InputError, match="plain file name"):
            find_sources(tmp_path / "data")


def test_nothing_to_find(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        find_sources(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"neither tasks\.json nor"):
        find_sources(tmp_path)


def test_duplicate_names_in_a_plain_folder(tmp_path):
    (tmp_path / "a.jsonl").write_text("x")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b"x"))
    with pytest.raises(InputError, match="both the task 'a'"):
        find_sources(tmp_path)
