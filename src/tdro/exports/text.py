"""Pieces of text that more than one target writes, with names and paths escaped."""

from collections.abc import Iterable, Mapping
from glob import escape
from pathlib import Path

import yaml

from tdro.errors import InputError
from tdro.exports.value import Export, Share
from tdro.tasks.parts import TAR_SUFFIXES
from tdro.tasks.reading import SUFFIXES, either

# What the library datasets calls the format of a file; it unpacks archives of JSONL itself.
_KINDS = {
    ".parquet": "parquet",
    ".arrow": "arrow",
    **dict.fromkeys((".jsonl", ".jsonl.gz", *TAR_SUFFIXES), "json"),
}


def quoted(names: Iterable[str]) -> str:
    """Writes names for a comment: no name can end its line, whatever it holds."""
    return ", ".join(repr(name) for name in names)


def comment(lines: Iterable[str]) -> str:
    """Writes lines as comments of Python, YAML or the shell."""
    return "".join(f"# {line}\n" for line in lines)


def origin(export: Export) -> list[str]:
    """Says in lines of a comment what was exported and which tasks were left out."""
    lines = [f"Written by `tdro mixture export` from {str(export.mixture)!r}."]
    if export.left_out:
        lines.append(f"Tasks of weight 0 are left out: {quoted(export.left_out)}.")
    if not export.known:
        lines.append("The paths of the task files are a guess: mend them or give --data.")
    return lines


def too_light(rows: Mapping[str, int]) -> list[str]:
    """Says in a line of a comment which tasks get no row of so few."""
    names = [name for name, count in rows.items() if count == 0]
    total = sum(rows.values())
    return [f"Too light for one of {total} rows, and left out: {quoted(names)}."] if names else []


def literal(values: Mapping[str, object]) -> str:
    """Writes a dictionary as Python, a line an entry."""
    return "".join(["{\n", *(f"    {key!r}: {value!r},\n" for key, value in values.items()), "}"])


class _Dumper(yaml.SafeDumper):
    """Quotes every text with line breaks so that they are escaped.

    PyYAML writes U+0085 and its like in single quotes, and reads a space instead.
    """


def _text_node(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None if text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text_node)


def as_yaml(value: object) -> str:
    """Writes a value as YAML, in the order of its keys, no line of it broken."""
    text: str = yaml.dump(value, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=2**31)
    return text


def plain_file(share: Share) -> tuple[str, str]:
    """Returns what the library datasets calls the format of a task's file, and the file.

    Raises:
        InputError: The task is more or less than one file, or the file's name does not tell.
    """
    if share.file is None:
        raise InputError(
            f"The task {share.name!r} cannot be read as it is: it is no single file, or columns, "
            "a filter or max_rows say how to read it. Lay it out by `tdro tasks convert` and give "
            "that folder as --data."
        )
    for ending, format_name in _KINDS.items():
        if share.file.endswith(ending):
            return format_name, share.file
    raise InputError(
        f"The file {share.file!r} of the task {share.name!r} is no task file: its name must end "
        f"in {either((*SUFFIXES, *TAR_SUFFIXES))}."
    )


def pattern(path: Path) -> str:
    """Escapes a path for the library datasets, which takes paths for patterns.

    Raises:
        InputError: The path holds ``::``, which that library takes for a chain of paths.
    """
    check_path(path)
    return escape(str(path))


def check_path(path: Path) -> None:
    """Refuses a path that the library datasets cannot open.

    Raises:
        InputError: The path holds ``::``, which that library takes for a chain of paths.
    """
    if "::" in str(path):
        raise InputError(
            f"{str(path)!r} holds '::', which the library datasets takes for a chain of paths: "
            "rename it."
        )
