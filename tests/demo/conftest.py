"""Hand-made sources in exactly the published layouts."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from tdro.demo.wheels import Wheel


@pytest.fixture
def make_wheel(tmp_path: Path):
    """Writes a wheel with the given members; names it as the package index would."""

    def make(members: dict[str, str | bytes], project: str = "tiny", folder: Path = tmp_path):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{project}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(zipfile.ZipInfo(name), content)
        return path

    return make


@pytest.fixture
def pin():
    """Pins a wheel file to its content."""

    def pin_file(path: Path, project: str = "tiny", note: str = "a note") -> Wheel:
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        return Wheel(project, "1.0", content, "MIT", note)

    return pin_file
