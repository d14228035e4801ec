import codecs
import gzip
import shutil

import pytest

from tdro.errors import InputError
from tdro.evaluation.loaders import cqadupstack, mkqa
from tdro.evaluation.loaders.find import find_sources
from tdro.evaluation.loaders.source import QUESTION_INSTRUCTION, Choice
from tests.evaluation import published
from tests.evaluation.published import answer, write_lines, write_rows


def names(folder, **options):
    return [source.name for source in find_sources([folder], **options)]


def read(folder, name, cache=None, **choice):
    (source,) = find_sources([folder], Choice(**choice), [name])
    return source.read(cache)


def texts(benchmark):
    return dict(zip(benchmark.documents["id"], benchmark.documents["text"], strict=True))


def test_a_folder_of_beir_folders(tmp_path):
    for name in ("scifact", "nq"):
        published.beir(tmp_path / name)
    assert names(tmp_path) == ["nq", "scifact"]
    assert names(tmp_path / "nq") == ["nq"]
    assert names(tmp_path, only=["scifact"]) == ["scifact"]
    benchmark = read(tmp_path, "nq")
    assert texts(benchmark) == {"d1": "w1 w2 w3", "d2": "w4 w5", "d3": "w9 w6"}
    assert benchmark.qrels == {"q1": {"d1": 1}, "q2": {"d2": 2}}
    assert not benchmark.excluded


def test_msmarco_is_judged_on_dev_and_any_on_a_split_that_is_named(tmp_path):
    dev, test = [("q1", "d1", 1)], [("q2", "d2", 1)]
    for name in ("msmarco", "nfcorpus"):
        published.beir(tmp_path / name, dev=dev, test=test)
    assert list(read(tmp_path, "msmarco").queries) == ["q1"]
    assert list(read(tmp_path, "msmarco", split="test").queries) == ["q2"]
    assert list(read(tmp_path, "nfcorpus").queries) == ["q2"]
    assert list(read(tmp_path, "nfcorpus", split="dev").queries) == ["q1"]
    with pytest.raises(InputError, match=r"train\.tsv are missing: there is the split dev, test"):
        read(tmp_path, "nfcorpus", split="train")


def test_the_query_itself_is_left_out_where_beir_leaves_it_out(tmp_path):
    published.beir(tmp_path / "quora")
    assert read(tmp_path, "quora").excluded == {"q1": {"q1"}, "q2": {"q2"}}
    (source,) = find_sources([tmp_path])
    assert source.traits, "told in the fingerprint"


def test_cqadupstack_is_twelve_parts_of_one(tmp_path):
    folder = tmp_path / "beir" / "cqadupstack"
    for forum in cqadupstack.FORUMS:
        published.beir(folder / forum)
    parts = [f"cqadupstack/{forum}" for forum in cqadupstack.FORUMS]
    assert names(folder) == names(tmp_path / "beir") == parts
    assert names(folder, only=["cqadupstack"]) == parts
    assert read(folder, "cqadupstack/tex").name == "cqadupstack/tex"
    shutil.rmtree(folder / "unix")
    with pytest.raises(InputError, match="lacks the forum 'unix'"):
        names(folder)


@pytest.mark.parametrize("score", [float("nan"), float("inf"), 0.5])
def test_a_judgement_in_parquet_is_a_whole_number(tmp_path, score):
    published.nanobeir(tmp_path / "n")
    shard = tmp_path / "n" / "qrels" / "train-00000-of-00001.parquet"
    write_rows(shard, **{"query-id": ["q1"], "corpus-id": ["d1"], "score": [score]})
    (source,) = find_sources([tmp_path / "n"], Choice(()), ())
    with pytest.raises(InputError, match="row 1 must have a whole number in the field 'score'"):
        source.read(tmp_path / "corpora")


def test_nanobeir_one_repository_each_or_one_for_all(tmp_path):
    for name in ("NanoSciFact", "NanoNQ"):
        published.nanobeir(tmp_path / "each" / name)
        published.nanobeir(tmp_path / "all", split=name)
    assert names(tmp_path / "each") == names(tmp_path / "all") == ["NanoNQ", "NanoSciFact"]
    for folder in (tmp_path / "each", tmp_path / "all"):
        benchmark = read(folder, "NanoNQ")
        assert benchmark.name == "NanoNQ"
        assert benchmark.queries == {"q1": "w2", "q2": "w4"}
        assert benchmark.qrels == {"q1": {"d1": 1}, "q2": {"d2": 1}}
    assert names(tmp_path / "each" / "NanoNQ") == ["NanoNQ"]


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path):
    published.beir(tmp_path / "nq")
    published.miracl(tmp_path, "sw", nested=False)
    for path in [path for path in tmp_path.rglob("*") if path.suffix in (".jsonl", ".tsv")]:
        path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    for path in tmp_path.rglob("*.gz"):
        path.write_bytes(gzip.compress(codecs.BOM_UTF8 + gzip.decompress(path.read_bytes())))
    benchmark = read(tmp_path / "nq", "nq")
    assert benchmark.qrels == {"q1": {"d1": 1}, "q2": {"d2": 2}}
    assert len(benchmark.documents) == 3
    benchmark = read(tmp_path, "miracl/sw")
    assert benchmark.queries == {"0": "w2 ?", "1": "w4"}
    assert benchmark.qrels["0"] == {"7#0": 1, "7#1": 0}
    assert len(benchmark.documents) == 3


def test_what_begins_with_a_dot_is_no_benchmark(tmp_path):
    published.nanobeir(tmp_path / "nano" / "NanoSciFact")
    shutil.copytree(tmp_path / "nano" / "NanoSciFact", tmp_path / "nano" / ".Trash")
    published.bright(tmp_path / "bright")
    for folder in (tmp_path / "nano" / "NanoSciFact" / "corpus", tmp_path / "bright" / "documents"):
        for file in list(folder.iterdir()):
            # macOS puts them beside what it copies to other disks.
            (folder / f"._{file.name}").write_bytes(b"\0\5\x16\7")
        (folder / "._more.jsonl").write_bytes(b"\0\5\x16\7")
    assert names(tmp_path / "nano") == ["NanoSciFact"]
    assert names(tmp_path / "bright") == ["bright/biology"]
    assert len(read(tmp_path / "nano", "NanoSciFact").documents) == 3


def test_columns_may_be_of_several_shards_and_ids_numbers(tmp_path):
    published.nanobeir(tmp_path / "n")
    (tmp_path / "n" / "corpus" / "train-00000-of-00001.parquet").unlink()
    for shard in (0, 1):
        path = tmp_path / "n" / "corpus" / f"train-0000{shard}-of-00002.parquet"
        write_rows(path, _id=[shard], text=[f"w{shard}"])
    shard = "train-00000-of-00001.parquet"
    write_rows(tmp_path / "n" / "qrels" / shard, **{"query-id": ["q1"], "corpus-id": [1]})
    benchmark = read(tmp_path, "n")
    assert texts(benchmark) == {"0": "w0", "1": "w1"}
    assert benchmark.qrels == {"q1": {"1": 1}}


@pytest.mark.parametrize("nested", [True, False])
def test_miracl(tmp_path, nested):
    for language in ("sw", "yo"):
        published.miracl(tmp_path, language, nested)
    assert names(tmp_path) == ["miracl/sw", "miracl/yo"]
    assert names(tmp_path, choice=Choice(("yo",))) == ["miracl/yo"]
    benchmark = read(tmp_path, "miracl/sw")
    assert benchmark.instruction == QUESTION_INSTRUCTION
    assert benchmark.queries == {"0": "w2 ?", "1": "w4"}
    assert list(texts(benchmark).items()) == [
        ("7#0", "w1 w2 w3"),
        ("7#1", "w1 w6"),
        ("9#0", "w4 w5"),
    ]
    assert benchmark.qrels == {"0": {"7#0": 1, "7#1": 0}, "1": {"9#0": 1}}
    with pytest.raises(InputError, match="'th' is in none of these folders"):
        names(tmp_path, choice=Choice(("th",)))


def test_mkqa_counts_the_questions_that_the_published_figures_count(tmp_path):
    english = [
        [answer("entity", "Ada Lovelace", "Ada"), {"type": "date", "text": "1815"}],
        [answer("unanswerable", None)],
        [answer("binary", "yes")],
        [answer("long_answer", None)],
        [answer("entity", "out"), answer("long_answer", None)],
        [answer("long_answer", None), answer("number", "0", "")],
    ]
    published.mkqa(tmp_path, english)
    published.beir(tmp_path / "nq")
    benchmark = read(tmp_path, "mkqa/de", languages=("de",))
    assert benchmark.queries == {"-2": "w0", "3": "w5"}
    assert benchmark.answers == {"-2": ("Ada", "Ada Lovelace", "1815"), "3": ("", "0")}
    assert benchmark.qrels == {}
    assert benchmark.instruction == QUESTION_INSTRUCTION


def test_mkqa_is_25_languages_over_one_corpus(tmp_path):
    published.mkqa(tmp_path / "dataset", [[answer("entity", "w6")]], mkqa.LANGUAGES, "mkqa.jsonl")
    published.beir(tmp_path / "nq")
    sources = find_sources([tmp_path])
    assert len(sources) == 25
    assert "mkqa/en" not in [source.name for source in sources]
    assert {source.files for source in sources} == {
        (tmp_path / "dataset" / "mkqa.jsonl", tmp_path / "nq" / "corpus.jsonl")
    }
    cache = tmp_path / "cache"
    corpora = {source.read(cache).documents.cache_files[0]["filename"] for source in sources}
    assert len(corpora) == len(list(cache.glob("*.arrow"))) == 1
    assert names(tmp_path, choice=Choice(("en",))) == ["mkqa/en"]


def test_mkqa_takes_no_file_that_is_only_called_alike(tmp_path):
    published.mkqa(tmp_path, [[answer("entity", "w6")]], name="mkqa.jsonl.old")
    published.beir(tmp_path / "nq")
    assert names(tmp_path) == ["nq"]


def test_bright_leaves_out_what_is_excluded(tmp_path):
    published.bright(tmp_path)
    published.bright(tmp_path, "pony")
    assert names(tmp_path) == ["bright/biology", "bright/pony"]
    benchmark = read(tmp_path, "bright/biology")
    assert benchmark.qrels == {"0": {"c/2.txt": 1}, "1": {"a%20b/1.txt": 1}}
    assert benchmark.excluded == {"0": {"a%20b/1.txt"}}, "N/A is no id"
    assert texts(benchmark) == {"a%20b/1.txt": "w1 w2", "c/2.txt": "w1 w2 w3"}
    long = read(tmp_path, "bright/biology", split="long")
    assert long.qrels == {"0": {"a%20b.txt": 1}, "1": {"a%20b.txt": 1}}


def test_bright_in_json_lines(tmp_path):
    write_lines(tmp_path / "documents" / "pony.jsonl.gz", [{"id": "d", "content": "w1"}])
    example = {"id": "0", "query": "w1", "gold_ids": ["d"], "excluded_ids": []}
    write_lines(tmp_path / "examples" / "pony.jsonl", [example])
    assert read(tmp_path, "bright/pony").qrels == {"0": {"d": 1}}


def test_coir_counts_codesearchnet_once(tmp_path):
    for name in ("apps", "CodeSearchNet-go", "CodeSearchNet-ccr-go"):
        published.coir(tmp_path, name)
    assert set(names(tmp_path)) == {"apps", "CodeSearchNet/go", "CodeSearchNet-ccr/go"}
    assert names(tmp_path, only=["CodeSearchNet"]) == ["CodeSearchNet/go"]
    benchmark = read(tmp_path, "apps")
    assert benchmark.qrels == {"q1": {"d1": 1}}
    assert texts(benchmark) == {"d1": "w1 w2"}
    shutil.rmtree(tmp_path / "apps-qrels")
    with pytest.raises(InputError, match=r"apps-qrels has no Parquet file of the split 'test'"):
        names(tmp_path)


def test_what_was_looked_for_is_told(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError) as told:
        names(tmp_path)
    for layout in ("BEIR", "CQADupStack", "NanoBEIR", "MIRACL", "MKQA", "BRIGHT", "CoIR"):
        assert f"({layout})" in str(told.value)
    with pytest.raises(InputError, match="does not exist"):
        names(tmp_path / "none")


def test_unknown_names_and_languages_are_told(tmp_path):
    published.beir(tmp_path / "scifact")
    with pytest.raises(InputError, match="named 'scifat': the nearest is 'scifact'"):
        names(tmp_path, only=["scifat"])
    with pytest.raises(InputError, match="'xx' is unknown to these benchmarks, which have none"):
        names(tmp_path, choice=Choice(("xx",)))
    published.miracl(tmp_path / "m", "sw")
    with pytest.raises(InputError, match=r"'zh_cn' is unknown .*: they have ar, bn"):
        names(tmp_path, choice=Choice(("zh_cn",)))
    with pytest.raises(InputError, match="Two benchmarks are named 'miracl/sw'"):
        find_sources([tmp_path, tmp_path])


SHARD = "train-00000-of-00001.parquet"


def faults(kind):
    """Breaks a collection in one way; returns what it was and the sentence to expect."""
    return {
        "nanobeir column": (
            published.nanobeir,
            lambda at: write_rows(at / "corpus" / SHARD, _id=["d1"], body=["x"]),
            r"corpus/train.*parquet lacks the column 'text': it has _id, body",
        ),
        "nanobeir repeated": (
            published.nanobeir,
            lambda at: write_rows(at / "corpus" / SHARD, _id=["d1", "d2", "d1"], text=list("abc")),
            r"train.*parquet, row 3 repeats the _id 'd1'",
        ),
        "nanobeir empty": (
            published.nanobeir,
            lambda at: write_rows(at / "corpus" / SHARD, _id=[], text=[]),
            r"train.*parquet holds no documents",
        ),
        "nanobeir unknown": (
            published.nanobeir,
            lambda at: write_rows(
                at / "qrels" / SHARD, **{"query-id": ["q1", "q1"], "corpus-id": ["d9", "d8"]}
            ),
            r"qrels/train.*parquet, row 1 judges the document 'd9', which is not in the corpus",
        ),
        "nanobeir null": (
            published.nanobeir,
            lambda at: write_rows(at / "queries" / SHARD, _id=["q1", "q2"], text=["a", None]),
            r"queries/train.*parquet, row 2 must have a text in the field 'text'",
        ),
        "nanobeir broken": (
            published.nanobeir,
            lambda at: (at / "queries" / SHARD).write_bytes(b"PAR1 no"),
            r"queries/train.*parquet is not a whole Parquet file",
        ),
        "miracl topics": (
            lambda at: published.miracl(at, "sw", nested=False),
            lambda at: (at / "miracl-v1.0-sw/topics/topics.miracl-v1.0-sw-dev.tsv").write_text(
                "0\tw2\n1 w4\n"
            ),
            r"dev\.tsv:2 must be an id, a tab and a query",
        ),
        "miracl qrels": (
            lambda at: published.miracl(at, "sw", nested=False),
            lambda at: (at / "miracl-v1.0-sw/qrels/qrels.miracl-v1.0-sw-dev.tsv").write_text(
                "0 Q0 7#0 1\n0 7#1 1\n"
            ),
            r"dev\.tsv:2 must have TREC's four columns",
        ),
        "miracl gzip": (
            lambda at: published.miracl(at, "sw", nested=False),
            lambda at: (at / "miracl-corpus-v1.0-sw/docs-9.jsonl.gz").write_bytes(
                gzip.compress(b'{"docid": "7#1", "text": "x"}\n')[:-6]
            ),
            r"docs-9\.jsonl\.gz is not a whole gzip file",
        ),
        "miracl repeated": (
            lambda at: published.miracl(at, "sw", nested=False),
            lambda at: write_lines(
                at / "miracl-corpus-v1.0-sw/docs-9.jsonl.gz", [{"docid": "7#0", "text": "x"}]
            ),
            r"docs-9\.jsonl\.gz:1 repeats the docid '7#0'",
        ),
        "miracl field": (
            lambda at: published.miracl(at, "sw", nested=False),
            lambda at: write_lines(
                at / "miracl-corpus-v1.0-sw/docs-9.jsonl.gz", [{"docid": "7#1", "title": "x"}]
            ),
            r"docs-9\.jsonl\.gz:1 must have a text in the field 'text'",
        ),
        "miracl corpus": (
            lambda at: published.miracl(at, "sw", nested=False),
            lambda at: shutil.rmtree(at / "miracl-corpus-v1.0-sw"),
            r"has no miracl-corpus-v1\.0-sw/docs-\*\.jsonl\.gz",
        ),
        "mkqa corpus": (
            lambda at: published.mkqa(at, [[answer("entity", "x")]]),
            lambda at: None,
            r"has no nq/corpus\.jsonl",
        ),
        "mkqa language": (
            lambda at: published.mkqa(at, [[answer("entity", "x")]], ("en",)),
            lambda at: published.beir(at / "nq"),
            r"mkqa\.jsonl\.gz:1 has no query in the language 'ar'",
        ),
        "mkqa answers": (
            lambda at: published.mkqa(at, [[answer("entity", 7)]]),
            lambda at: published.beir(at / "nq"),
            r"mkqa\.jsonl\.gz:1 has an answer whose 'text' or 'aliases' are no texts",
        ),
        "bright column": (
            published.bright,
            lambda at: write_rows(
                at / "examples/biology-00000-of-00001.parquet", id=["0"], query=["w1"]
            ),
            r"biology-.*parquet lacks the column 'excluded_ids'",
        ),
        "bright domain": (
            published.bright,
            lambda at: (at / "examples/biology-00000-of-00001.parquet").rename(
                at / "examples/pony-00000-of-00001.parquet"
            ),
            r"examples has no file of the domain 'biology'",
        ),
        "coir score": (
            lambda at: published.coir(at, "apps"),
            lambda at: write_rows(
                at / "apps-qrels/data/test-00000-of-00001.parquet",
                query_id=["q1"],
                corpus_id=["d1"],
                score=[0.5],
            ),
            r"test-.*parquet, row 1 must have a whole number in the field 'score', not 0\.5",
        ),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        *("nanobeir column", "nanobeir repeated", "nanobeir empty", "nanobeir unknown"),
        *("nanobeir null", "nanobeir broken", "miracl topics", "miracl qrels", "miracl gzip"),
        *("miracl repeated", "miracl field", "miracl corpus", "mkqa corpus", "mkqa language"),
        *("mkqa answers", "bright column", "bright domain", "coir score"),
    ],
)
def test_each_fault_is_one_sentence_with_file_and_place(tmp_path, kind):
    write, damage, message = faults(kind)
    folder = tmp_path / "c"
    write(folder)
    damage(folder)
    with pytest.raises(InputError, match=message):
        [source.read(tmp_path / "cache") for source in find_sources([folder])]
    assert not list(tmp_path.glob("cache/*.arrow")) or "document 'd9'" in message
