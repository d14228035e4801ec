"""The libraries a mixture can be exported to."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tdro.errors import InputError
from tdro.exports import (
    to_datasets,
    to_flagembedding,
    to_ms_swift,
    to_sentence_transformers,
    to_tevatron,
    to_trl,
)
from tdro.exports.value import Export, Rendered, collect
from tdro.files import write_text


@dataclass(frozen=True)
class Target:
    """A library.

    Attributes:
        render: Writes the text of an export.
        counts: Whether it takes rows of each task, having no weights of its own.
    """

    render: Callable[[Export], Rendered]
    counts: bool


TARGETS = {
    "sentence-transformers": Target(to_sentence_transformers.render, counts=False),
    "datasets": Target(to_datasets.render, counts=False),
    "trl": Target(to_trl.render, counts=False),
    "flagembedding": Target(to_flagembedding.render, counts=True),
    "ms-swift": Target(to_ms_swift.render, counts=True),
    "tevatron": Target(to_tevatron.render, counts=True),
}


def export_mixture(
    mixture: Path,
    target: str,
    *,
    data: Path | None = None,
    folder: Path = Path(),
    rows: int | None = None,
) -> Rendered:
    """Renders a mixture for another library; nothing is written.

    Args:
        mixture: The mixture file, ours or the authors'.
        target: One of ``TARGETS``.
        data: The folder of task files.
        folder: Where the text will be.
        rows: Rows to share out, for a target that takes rows of each task.

    Raises:
        InputError: The target is unknown or takes no rows, or the mixture and the task files do
            not go together (see :func:`~tdro.exports.value.collect`).
    """
    if target not in TARGETS:
        near = difflib.get_close_matches(target, TARGETS, 1, 0.0)[0]
        raise InputError(f"--to {target!r} is no target; the nearest is {near!r}.")
    if rows is not None and not TARGETS[target].counts:
        takers = ", ".join(name for name, one in TARGETS.items() if one.counts)
        raise InputError(f"--rows is for {takers}: {target} is given weights, so leave it out.")
    return TARGETS[target].render(collect(mixture, data, folder, rows))


def write_rendered(rendered: Rendered, folder: Path) -> list[Path]:
    """Writes the files of an export.

    Returns:
        The paths written.

    Raises:
        InputError: A file of that name is there and holds something else; nothing is written.
    """
    paths = {folder / name: text for name, text in rendered.files.items()}
    for path, text in paths.items():
        if path.exists() and path.read_bytes() != text.encode():
            raise InputError(
                f"{path} is there already and holds something else: remove it or give another "
                "--output."
            )
    for path, text in paths.items():
        write_text(path, text)
    return list(paths)
