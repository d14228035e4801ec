"""Code tasks, read from the standard library of the running Python."""

import ast
import os
import re
import sysconfig
import textwrap
import tokenize
from collections.abc import Iterator
from pathlib import Path

from tdro.demo.rows import Pair, one_line

_LEFT_OUT = {
    *("site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"),
    *("pydoc_data", "ensurepip", "lib-dynload"),
}
_FEWEST_WORDS = 5
_SHORTEST_CODE = 60
_MOST_LINES = 12
_BANNER = re.compile(r"[-=#*~_+]{3,}")


def stdlib_folder() -> Path:
    """Returns the folder of the running Python's standard library."""
    return Path(sysconfig.get_paths()["stdlib"])


def py_doc_code(folder: Path) -> Iterator[Pair]:
    """Yields the first docstring paragraph of a function and its code without the docstring."""
    for source in _sources(folder):
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError):
            continue
        lines = source.splitlines()
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                summary = one_line((ast.get_docstring(node) or "").split("\n\n")[0]).split(" >>>")[
                    0
                ]
                code = _without_docstring(node, lines)
                if _is_prose(summary) and len(code) >= _SHORTEST_CODE:
                    yield summary, code


def py_comment_code(folder: Path) -> Iterator[Pair]:
    """Yields block comments and the lines below them: what people wrote, so a noisy task."""
    for source in _sources(folder):
        lines = source.splitlines()
        number = 0
        while number < len(lines):
            start = number
            while number < len(lines) and lines[number].lstrip().startswith("#"):
                number += 1
            if number == start:
                number += 1
                continue
            comment = one_line(" ".join(_uncomment(line) for line in lines[start:number]))
            code = _block(lines[number : number + _MOST_LINES], indentation=_indent(lines[start]))
            if _is_prose(comment) and len(code) >= _SHORTEST_CODE:
                yield comment, code


def _sources(folder: Path) -> Iterator[str]:
    """Yields the text of every module below a folder, in the order of the sorted paths."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _LEFT_OUT)
        for name in sorted(files):
            if name.endswith(".py"):
                try:
                    with tokenize.open(Path(parent) / name) as file:
                        yield file.read()
                except (SyntaxError, UnicodeDecodeError):
                    continue


def _is_prose(text: str) -> bool:
    return (
        text.isascii()
        and text[:1].isalpha()
        and sum(word[:1].isalpha() for word in text.split()) >= _FEWEST_WORDS
    )


def _without_docstring(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> str:
    first = node.body[0]
    if first.lineno == node.lineno or len(node.body) == 1:
        return ""
    kept = lines[node.lineno - 1 : first.lineno - 1] + lines[first.end_lineno : node.end_lineno]
    return textwrap.dedent("\n".join(kept))


def _uncomment(line: str) -> str:
    return _BANNER.sub(" ", line.strip().lstrip("#!:"))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _block(lines: list[str], indentation: int) -> str:
    """Joins the lines up to a blank line, a comment or the end of the enclosing block."""
    kept: list[str] = []
    for line in lines:
        if not line.strip() or line.lstrip().startswith("#") or _indent(line) < indentation:
            break
        kept.append(line)
    return textwrap.dedent("\n".join(kept))
