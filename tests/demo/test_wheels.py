import subprocess
from pathlib import Path

import pytest

from tdro.demo import wheels
from tdro.demo.wheels import Wheel, default_cache, fetch_wheel
from tdro.errors import InputError


def _pip(monkeypatch, *, brings: bytes | None = None, complains: str = ""):
    """Stands in for pip; returns the commands it was called with."""
    calls: list[list[str]] = []

    def run(command, **_):
        calls.append([*command, Path(command[command.index("--requirement") + 1]).read_text()])
        if brings is not None:
            folder = Path(command[command.index("--dest") + 1])
            (folder / "tiny-1.0-py3-none-any.whl").write_bytes(brings)
        return subprocess.CompletedProcess(command, 1 if complains else 0, "", complains)

    monkeypatch.setattr(wheels.subprocess, "run", run)
    return calls


@pytest.fixture
def tiny(make_wheel, pin, tmp_path):
    path = make_wheel({"tiny/data.txt": "text"}, folder=tmp_path / "published")
    return pin(path), path.read_bytes()


def test_a_cached_wheel_is_used_without_pip(tiny, tmp_path, monkeypatch):
    wheel, content = tiny
    calls = _pip(monkeypatch)
    kept = tmp_path / "tiny-1.0-py2.py3-none-any.whl"
    kept.write_bytes(content)
    assert fetch_wheel(wheel, tmp_path) == kept
    assert calls == []


def test_a_missing_wheel_is_downloaded_by_hash_and_not_twice(tiny, tmp_path, monkeypatch):
    wheel, content = tiny
    calls = _pip(monkeypatch, brings=content)
    cache = tmp_path / "new" / "cache"
    path = fetch_wheel(wheel, cache)
    assert fetch_wheel(wheel, cache) == path
    assert path.read_bytes() == content
    assert list(cache.iterdir()) == [path]
    (command,) = calls
    assert {"--no-deps", "--only-binary=:all:", "--require-hashes", "download"} <= set(command)
    assert command[-1] == f"tiny==1.0 --hash=sha256:{wheel.sha256}\n"


def test_a_damaged_cached_wheel_is_fetched_again(tiny, tmp_path, monkeypatch):
    wheel, content = tiny
    _pip(monkeypatch, brings=content)
    (tmp_path / "tiny-1.0-py3-none-any.whl").write_bytes(content[:-5])
    assert fetch_wheel(wheel, tmp_path).read_bytes() == content


def test_the_project_name_is_looked_up_as_files_spell_it(tiny, tmp_path, monkeypatch):
    _, content = tiny
    _pip(monkeypatch)
    path = tmp_path / "very_tiny-1.0-py3-none-any.whl"
    path.write_bytes(content)
    assert fetch_wheel(Wheel("very-tiny", "1.0", tiny[0].sha256, "MIT", ""), tmp_path) == path


@pytest.mark.parametrize(
    ("brings", "complains", "sentence"),
    [
        (b"other", "", "another file for tiny 1.0 than the one pinned"),
        (None, "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM", "another file for tiny 1.0"),
        (None, "/usr/bin/python3: No module named pip", "tiny 1.0 needs pip.*ensurepip"),
        (None, "WARNING: x\nERROR: No matching distribution\n\n", "tiny 1.0.*ERROR: No matching"),
        (None, "killed", r"tiny 1.0 could not be downloaded \(pip failed\): check the network"),
    ],
)
def test_a_failed_fetch_names_the_wheel_and_leaves_nothing(
    tiny, tmp_path, monkeypatch, brings, complains, sentence
):
    _pip(monkeypatch, brings=brings, complains=complains)
    cache = tmp_path / "cache"
    with pytest.raises(InputError, match=sentence) as caught:
        fetch_wheel(tiny[0], cache)
    assert "\n" not in str(caught.value)
    assert list(cache.iterdir()) == []


def test_a_cache_that_cannot_be_made_is_named(tiny, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cache .*file.* cannot be written"):
        fetch_wheel(tiny[0], tmp_path / "file" / "cache")


def test_the_default_cache_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "tdro" / "wheels"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache() == Path.home() / ".cache" / "tdro" / "wheels"
