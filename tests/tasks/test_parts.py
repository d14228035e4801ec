"""Where a task may lie: shards, archives, saved datasets and the hub, in the published layouts."""

import gzip
import io
import json
import tarfile

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict
from datasets.arrow_writer import ArrowWriter

from tdro.errors import InputError
from tdro.tasks.layouts import Row
from tdro.tasks.rows import read_rows
from tdro.tasks.sources import find_sources
from tdro.tasks.task import HubDataset, TaskSource

from .helpers import row, write_jsonl

ROWS = [row("q1", "a", neg=["b"]), row("q2", "c")]
WANTED = [Row("q1", ("a",), ("b",)), Row("q2", ("c",), ())]


def rows_of(path, **options):
    return [one for _, _, one in read_rows(TaskSource("task", path, **options))]


def _parquet(path, records):
    pq.write_table(pa.Table.from_pylist(records), path)


def _arrow_stream(path, records):
    table = pa.Table.from_pylist(records)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def _arrow_file(path, records):
    table = pa.Table.from_pylist(records)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.jsonl", write_jsonl),
        ("a.jsonl.gz", write_jsonl),
        ("a.parquet", _parquet),
        ("a.arrow", _arrow_stream),
        ("b.arrow", _arrow_file),
    ],
)
def test_every_kind_of_file_gives_the_same_rows(tmp_path, name, write):
    write(tmp_path / name, ROWS)
    assert rows_of(tmp_path / name) == WANTED


def test_shards_are_one_task_in_the_order_of_their_names(tmp_path):
    _parquet(tmp_path / "train-00000-of-00002.parquet", ROWS[:1])
    write_jsonl(tmp_path / "train-00001-of-00002.jsonl.gz", ROWS[1:])
    (tmp_path / "train-00002.jsonl").write_text("")
    (tmp_path / "README.md").write_text("not data")
    (tmp_path / "._train-00001-of-00002.jsonl.gz").write_bytes(b"\0\5\x16\7")
    assert rows_of(tmp_path) == WANTED


def test_a_bad_row_of_a_shard_is_told_with_that_shard(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", ROWS)
    (tmp_path / "b.jsonl").write_text('{"query": "q", "pos": ["a"]}\n{"query": \n')
    *_, (place, line, problem) = read_rows(TaskSource("task", tmp_path))
    assert (place, line) == (str(tmp_path / "b.jsonl"), 2)
    assert "not JSON" in str(problem)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_an_archive_is_read_where_it_is(tmp_path, mode):
    path = tmp_path / ("a.tar" if mode == "w" else "a.tar.gz")
    lines = "".join(json.dumps(one) + "\n" for one in ROWS).encode()
    with tarfile.open(path, mode) as archive:
        for name, text in (("../card.md", b"no data"), ("collection/a.jsonl", lines)):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
    assert rows_of(path) == WANTED
    assert [place for place, _, _ in read_rows(TaskSource("a", path))] == [
        f"{path}/collection/a.jsonl"
    ] * 2
    assert find_sources(path) == [TaskSource("a", path)]


def test_a_cut_archive_names_file_and_line(tmp_path):
    path = tmp_path / "a.tar.gz"
    lines = b"".join(json.dumps(row(f"q{n}", f"p{n * n}")).encode() + b"\n" for n in range(9000))
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("a.jsonl")
        member.size = len(lines)
        archive.addfile(member, io.BytesIO(lines))
    path.write_bytes(path.read_bytes()[:20000])
    with pytest.raises(InputError, match=r"a\.tar\.gz/a\.jsonl is broken after line [1-9]"):
        rows_of(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"no archive", "cannot be read as a tar"), (gzip.compress(b"x"), "cannot be read as a tar")],
    ids=["text", "gzip"],
)
def test_what_is_no_archive(tmp_path, content, words):
    (tmp_path / "a.tar.gz").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.tar\.gz.*{words}"):
        rows_of(tmp_path / "a.tar.gz")


def test_an_archive_without_jsonl(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("readme.md"))
    with pytest.raises(InputError, match=r"a\.tar holds no file in \.jsonl"):
        rows_of(tmp_path / "a.tar")


def test_a_saved_dataset(tmp_path):
    Dataset.from_list(ROWS).save_to_disk(str(tmp_path / "saved"))
    assert rows_of(tmp_path / "saved") == WANTED
    assert [one.name for one in find_sources(tmp_path / "saved")] == ["saved"]
    write_jsonl(tmp_path / "other.jsonl", ROWS)
    assert [one.name for one in find_sources(tmp_path)] == ["other", "saved"]


def test_a_saved_dataset_with_splits(tmp_path):
    splits = {"train": Dataset.from_list(ROWS), "dev": Dataset.from_list(ROWS[1:])}
    DatasetDict(splits).save_to_disk(str(tmp_path / "saved"))
    assert rows_of(tmp_path / "saved") == WANTED
    assert rows_of(tmp_path / "saved", split="dev") == WANTED[1:]
    with pytest.raises(InputError, match=r"saved has no split 'test'; it has 'dev', 'train'"):
        rows_of(tmp_path / "saved", split="test")


def test_a_broken_saved_dataset(tmp_path):
    Dataset.from_list(ROWS).save_to_disk(str(tmp_path / "saved"))
    (tmp_path / "saved" / "data-00000-of-00001.arrow").unlink()
    with pytest.raises(InputError, match="saved cannot be read as a saved dataset"):
        rows_of(tmp_path / "saved")


def test_a_split_of_what_has_none(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", ROWS)
    for path in (tmp_path / "a.jsonl", tmp_path):
        with pytest.raises(InputError, match="has no splits, so 'split: dev'"):
            rows_of(path, split="dev")


def test_folders_without_data(tmp_path):
    with pytest.raises(InputError, match=r"holds no file in \.jsonl\.gz, \.jsonl"):
        rows_of(tmp_path)
    (tmp_path / "a.jsonl").write_text("")
    (tmp_path / "b.jsonl").write_text("\n")
    with pytest.raises(InputError, match="holds no rows"):
        rows_of(tmp_path)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b""))
    with pytest.raises(InputError, match="both the task 'a'"):
        rows_of(tmp_path)


def test_an_empty_saved_dataset(tmp_path):
    Dataset.from_dict({"query": [], "pos": []}).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(InputError, match="saved holds no rows"):
        rows_of(tmp_path / "saved")


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """A cache as `load_dataset` leaves it, of org/cats with the configurations en and fr."""
    for config, records in (("en", ROWS), ("fr", ROWS[1:])):
        folder = tmp_path / "cache" / "org___cats" / config / "0.0.0" / ("0" * 40)
        folder.mkdir(parents=True)
        table = Dataset.from_list(records)
        with ArrowWriter(path=str(folder / "cats-train.arrow"), features=table.features) as writer:
            writer.write_table(table.data.table)
            writer.finalize()
        info = {
            "builder_name": "parquet",
            "config_name": config,
            "dataset_name": "cats",
            "features": table.features.to_dict(),
            "splits": {"train": {"name": "train", "num_examples": len(records)}},
            "version": {"version_str": "0.0.0", "major": 0, "minor": 0, "patch": 0},
        }
        (folder / "dataset_info.json").write_text(json.dumps(info))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)


def test_a_dataset_of_the_hub_is_read_from_the_cache(hub_cache):
    assert rows_of(None, hub=HubDataset("org/cats", "en")) == WANTED
    assert rows_of(None, hub=HubDataset("org/cats", "fr"), split="train") == WANTED[1:]


@pytest.mark.parametrize(
    ("hub", "split", "words"),
    [
        (HubDataset("org/dogs"), None, r"org/dogs \(train\) cannot be loaded.*HF_HUB_OFFLINE"),
        (HubDataset("org/cats", "de"), None, r"org/cats \(de, train\) cannot be loaded"),
        (HubDataset("org/cats", "en"), "tset", r"\(en, tset\) cannot be loaded.*tset.*split"),
    ],
)
def test_what_the_hub_has_not_is_one_sentence(hub_cache, hub, split, words):
    with pytest.raises(InputError, match=words) as error:
        rows_of(None, hub=hub, split=split)
    assert "\n" not in str(error.value)


def test_a_folder_of_the_same_name_is_not_taken_for_the_dataset(hub_cache, tmp_path):
    (tmp_path / "org" / "cats").mkdir(parents=True)
    with pytest.raises(InputError, match="org/cats would be read in place of the dataset"):
        rows_of(None, hub=HubDataset("org/cats", "en"))


def test_an_index_takes_the_keys_of_a_recipe(tmp_path):
    folder = tmp_path / "data"
    (folder / "tasks" / "shards").mkdir(parents=True)
    write_jsonl(folder / "tasks" / "shards" / "x.jsonl", [{"frage": "q", "pos": "a"}])
    write_jsonl(folder / "elsewhere.jsonl", ROWS)
    index = {
        "shards": {"columns": {"query": "frage", "positive": "pos"}, "max_rows": 3, "source": "x"},
        "any/name": {"path": "elsewhere.jsonl", "filter": {"min_query_words": 1}},
        "far": {"dataset": "org/cats", "config": "en", "instruction": " Find a cat "},
    }
    (folder / "tasks.json").write_text(json.dumps(index))
    shards, named, far = find_sources(folder)
    assert [one for _, _, one in read_rows(shards)] == [Row("q", ("a",), ())]
    assert shards.limit(None) == shards.limit(9) == 3
    assert [one for _, _, one in read_rows(named)] == WANTED
    assert (far.hub, far.instruction) == (HubDataset("org/cats", "en"), "Find a cat")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"path": "../secret.jsonl"}, r"'\.\./secret\.jsonl', which leaves the folder"),
        ({"path": "/etc/passwd"}, "leaves the folder"),
        ({"path": "gone.jsonl"}, "'gone.jsonl', which does not exist"),
        ({"column": {"query": "q"}}, "key 'column', which is unknown; .* 'columns'"),
        ({"columns": {"query": "q"}}, "'columns' is .*name the column of the positive"),
        ({"filter": {"min_words": 3}}, r"the key 'filter\.min_words' is unknown"),
        ({"max_rows": 0}, "'max_rows' is 0"),
        ({"path": "a.jsonl", "dataset": "org/x"}, "'path' and 'dataset' are both given"),
    ],
)
def test_a_wrong_index_is_one_sentence(tmp_path, entry, words):
    (tmp_path / "secret.jsonl").write_text("{}")
    folder = tmp_path / "data"
    (folder / "tasks").mkdir(parents=True)
    write_jsonl(folder / "tasks" / "cats.jsonl", ROWS)
    write_jsonl(folder / "a.jsonl", ROWS)
    (folder / "tasks.json").write_text(json.dumps({"cats": entry}))
    with pytest.raises(InputError, match=words) as error:
        find_sources(folder)
    assert "tasks.json" in str(error.value)
    assert "\n" not in str(error.value)
