"""What is written is read, and where that is quick run, by the libraries it is written for."""

import collections
import json
import runpy
import shlex
import subprocess
import sys
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tdro.encoder import build_encoder
from tdro.errors import InputError
from tdro.exports.targets import export_mixture, write_rendered
from tdro.mixture import Mixture
from tdro.settings import EncoderSettings

from ..conftest import synthetic_rows
from .conftest import NASTY, write_rows

WEIGHTS = dict(zip(NASTY, [0.4, 0.3, 0.15, 0.1, 0.05], strict=True))


@pytest.fixture
def written(nasty, monkeypatch):
    """Writes an export in the folder of the mixture and lays out its rows."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(nasty / "cache"))

    def call(target, **options):
        rendered = export_mixture(
            nasty / "mixture.json", target, data=nasty / "data", folder=nasty / "out", **options
        )
        write_rendered(rendered, nasty / "out")
        if (nasty / "out" / "rows.py").is_file():
            runpy.run_path(str(nasty / "out" / "rows.py"))
        return nasty / "out"

    return call


def owners():
    """The task of each query."""
    return {
        row["query"]: name
        for place, name in enumerate(NASTY)
        for row in synthetic_rows(20 + place, place)
    }


def shares(queries):
    counts = collections.Counter(map(owners().get, queries))
    assert None not in counts
    return {name: counts[name] / len(queries) for name in NASTY}


def test_datasets_draws_by_weight_and_ends_when_all_is_seen(written):
    mixed = runpy.run_path(str(written("datasets") / "mixed.py"))["mixed"]
    assert set(mixed["query"]) == set(owners())
    assert shares(mixed["query"]) == pytest.approx(WEIGHTS, abs=0.06)


def test_datasets_reads_every_kind_of_file_that_a_task_may_have(written, nasty):
    table = pa.Table.from_pylist(synthetic_rows(20, 0))
    lines = nasty / "data" / f"{NASTY[1]}.jsonl"
    (nasty / "data" / f"{NASTY[0]}.jsonl").unlink()
    with pa.ipc.new_stream(nasty / "data" / f"{NASTY[0]}.arrow", table.schema) as stream:
        stream.write_table(table)
    pq.write_table(pa.Table.from_pylist(synthetic_rows(21, 1)), lines.with_suffix(".parquet"))
    lines.unlink()
    mixed = runpy.run_path(str(written("datasets") / "mixed.py"))["mixed"]
    assert set(mixed["query"]) == set(owners())


def test_datasets_reads_an_archive_that_tasks_json_names_and_no_unknown_file(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    write_rows(tmp_path / "data", {"a": 5})
    with tarfile.open(tmp_path / "data" / "a.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "data" / "a.jsonl", "a.jsonl")
    (tmp_path / "data" / "a.jsonl").rename(tmp_path / "data" / "a.txt")
    Mixture({"a": 1.0}).save(tmp_path / "mixture.json")

    def exported(file):
        (tmp_path / "data" / "tasks.json").write_text(json.dumps({"a": {"path": file}}))
        return export_mixture(tmp_path / "mixture.json", "datasets", data=tmp_path / "data")

    write_rendered(exported("a.tar.gz"), tmp_path)
    assert len(runpy.run_path(str(tmp_path / "mixed.py"))["mixed"]) == 5
    with pytest.raises(InputError, match=r"'a\.txt' of the task 'a' is no task file"):
        exported("a.txt")


@pytest.mark.slow
def test_sentence_transformers_trains_by_the_script(written, tiny_llm, nasty):
    out = written("sentence-transformers")
    model = build_encoder(EncoderSettings(name_or_path=str(tiny_llm), kind="static"))
    model.save(str(nasty / "model"))
    done = subprocess.run(
        [sys.executable, str(out / "train.py"), "model"],
        cwd=nasty,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (nasty / "trained" / "model" / "modules.json").is_file()


def test_trl_mixes_by_the_fractions(written):
    from trl import DatasetMixtureConfig, TrlParser, get_dataset

    out = written("trl")
    parser = TrlParser([DatasetMixtureConfig])
    (config,) = parser.parse_args_and_config(["--config", str(out / "mixture.yaml")])
    mixed = get_dataset(config)["train"]
    # 20 rows of the heaviest task are all it has, and it is to be 0.4 of the mixture.
    assert len(mixed) == pytest.approx(50, abs=2)
    assert shares(mixed["query"]) == pytest.approx(WEIGHTS, abs=0.02)


@pytest.mark.slow
def test_flagembedding_reads_the_quota_of_each_task(written):
    from FlagEmbedding.abc.finetune.embedder.AbsArguments import AbsEmbedderDataArguments
    from FlagEmbedding.abc.finetune.embedder.AbsDataset import AbsEmbedderSameDatasetTrainDataset
    from transformers import HfArgumentParser

    out = written("flagembedding", rows=200)
    words = shlex.split((out / "train.sh").read_text().replace("$here", str(out)), comments=True)
    options = words[words.index("--train_data") : words.index("$@")]
    (arguments,) = HfArgumentParser([AbsEmbedderDataArguments]).parse_args_into_dataclasses(
        [word for word in options if word.strip("\n") or word == ""]
    )
    dataset = AbsEmbedderSameDatasetTrainDataset(
        arguments, default_batch_size=10, seed=0, tokenizer=None
    )
    assert shares(dataset.dataset["query"]) == WEIGHTS
    assert len(dataset) == 20
    queries, passages, _, _ = dataset[0]
    assert set(queries) <= set(owners())
    assert len(passages) == 10 * arguments.train_group_size


def test_ms_swift_takes_the_counts(written):
    # It asks for older versions of datasets and transformers than this project.
    loader = pytest.importorskip("swift.dataset", exc_type=ImportError)
    out = written("ms-swift", rows=200)
    words = shlex.split((out / "train.sh").read_text().replace("$here", str(out)), comments=True)
    train, _ = loader.load_dataset([word for word in words if "/rows/" in word])
    assert shares([message["content"] for (message,) in train["messages"]]) == WEIGHTS
    for row in train.select(range(3)):
        assert row["positive_messages"][0][0]["role"] == "user"
        assert row["negative_messages"]


def test_tevatrons_files_hold_what_its_training_set_reads(written):
    """Its package on PyPI is older than ``train_yaml``: the keys it reads are spelled out."""
    import yaml
    from datasets import load_dataset

    out = written("tevatron", rows=200)
    config = yaml.safe_load((out / "train.yaml").read_text())
    assert [entry["name"] for entry in config["corpus"]] == [None] * 5
    assert [entry["assets_path"] for entry in config["corpus"]] == [None] * 5
    queries = []
    for entry in config["train"]:
        assert entry["name"].endswith(".jsonl")
        part = load_dataset("json", data_files=entry["name"], split="train")
        queries += part["query"]
        for row in part.select(range(3)):
            assert row["positive_passages"][0]["text"]
            assert row["negative_passages"][0]["text"]
    assert shares(queries) == WEIGHTS
