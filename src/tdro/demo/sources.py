"""The page that says where the demo's text and model came from, with the credit they ask for."""

import platform
from pathlib import Path

from tdro.demo.wheels import Wheel
from tdro.files import write_text

SOURCES_FILE = "SOURCES.md"
STDLIB_LICENCE = "PSF-2.0"
_TITLE = "# Sources\n\nFetched for this demo; none of it is part of tdro.\n"


def source_label(wheel: Wheel | None) -> str:
    """Names where a task is read from: a wheel, or the standard library."""
    if wheel is None:
        return f"Python {platform.python_version()} standard library"
    return f"PyPI: {wheel.label}"


def source_licence(wheel: Wheel | None) -> str:
    """Names the licence of what a task is read from."""
    return STDLIB_LICENCE if wheel is None else wheel.licence


def source_entry(wheel: Wheel | None) -> str:
    """Describes one source as a list of facts in Markdown."""
    if wheel is None:
        facts = ["credit: © Python Software Foundation, https://docs.python.org/3/license.html"]
    else:
        address = f"https://pypi.org/project/{wheel.project}/{wheel.version}/"
        facts = [f"from: {address}", f"SHA-256: `{wheel.sha256}`", f"credit: {wheel.note}"]
    facts.insert(0, f"licence: {source_licence(wheel)}")
    return "\n".join([f"**{source_label(wheel)}**", "", *(f"- {fact}" for fact in facts)])


def write_section(directory: Path, heading: str, text: str) -> None:
    """Writes one section of the page, replacing an earlier one of that heading.

    The tasks and the model may share a directory, and each writes its own section.
    """
    path = directory / SOURCES_FILE
    page = path.read_text(encoding="utf-8") if path.is_file() else _TITLE
    opening, *sections = page.split("\n## ")
    kept = [part for part in sections if part.split("\n", 1)[0] != heading]
    parts = [opening, *sorted([*kept, f"{heading}\n\n{text}\n"])]
    write_text(path, "\n## ".join(part.rstrip("\n") + "\n" for part in parts))
