"""Pinned wheels fetched from the package index as plain files: nothing is ever installed."""

import hashlib
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tdro.errors import InputError


@dataclass(frozen=True)
class Wheel:
    """One published wheel, pinned to its exact content.

    Attributes:
        project: Name of the project on the package index, in lower case.
        version: Its version.
        sha256: Hexadecimal SHA-256 of the wheel file.
        licence: Licence of what is read from it.
        note: The credit its licence asks for, or where its text comes from.
    """

    project: str
    version: str
    sha256: str
    licence: str
    note: str

    @property
    def label(self) -> str:
        """Project and version, as shown to the user."""
        return f"{self.project} {self.version}"


def default_cache() -> Path:
    """Returns the folder wheels are kept in: ``tdro/wheels`` in the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "tdro" / "wheels"


def fetch_wheel(wheel: Wheel, cache: Path) -> Path:
    """Returns the path of a wheel in the cache, downloading it when it is not there.

    A file in the cache counts only when its SHA-256 is the pinned one, so a wheel put there by
    hand serves a machine without network.

    Args:
        wheel: What to fetch.
        cache: Folder the wheel is kept in; made when missing.

    Raises:
        InputError: The wheel cannot be downloaded, or what came is not the pinned file.
    """
    cached = _cached(wheel, cache)
    if cached is not None:
        return cached
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".fetch-") as folder:
            downloaded = _download(wheel, Path(folder), cache)
            return downloaded.replace(cache / downloaded.name)
    except OSError as error:
        raise InputError(
            f"The wheel cache {cache} cannot be written ({error.strerror}): make it writable "
            "or set XDG_CACHE_HOME to another folder."
        ) from error


def _cached(wheel: Wheel, cache: Path) -> Path | None:
    pattern = f"{wheel.project.replace('-', '_')}-{wheel.version}-*.whl"
    for path in sorted(cache.glob(pattern)):
        if _sha256(path) == wheel.sha256:
            return path
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(wheel: Wheel, folder: Path, cache: Path) -> Path:
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{wheel.project}=={wheel.version} --hash=sha256:{wheel.sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input"]
    command += ["--disable-pip-version-check", "--retries=2", "--no-deps"]
    command += ["--only-binary=:all:", "--require-hashes"]
    command += ["--requirement", str(requirements), "--dest", str(folder)]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    if outcome.returncode != 0:
        raise InputError(_failure(wheel, cache, outcome.stderr))
    found = sorted(folder.glob("*.whl"))
    if not found or _sha256(found[0]) != wheel.sha256:
        raise InputError(_mismatch(wheel))
    return found[0]


def _failure(wheel: Wheel, cache: Path, complaint: str) -> str:
    if "No module named pip" in complaint:
        return (
            f"Fetching {wheel.label} needs pip, which {sys.executable} does not have: run "
            f"'{sys.executable} -m ensurepip', or put the wheel into {cache}."
        )
    if "DO NOT MATCH THE HASHES" in complaint:
        return _mismatch(wheel)
    lines = [line.strip() for line in complaint.splitlines() if line.strip()]
    reason = next((line for line in reversed(lines) if line.startswith("ERROR")), "")
    return (
        f"The wheel {wheel.label} could not be downloaded ({reason or 'pip failed'}): check the "
        f"network and try again, or put the wheel into {cache}."
    )


def _mismatch(wheel: Wheel) -> str:
    return (
        f"The package index sent another file for {wheel.label} than the one pinned here "
        f"(SHA-256 {wheel.sha256[:12]}...): check the index pip is set to use, then try again."
    )
