"""What a loader makes of a folder: benchmarks that are named but not read yet."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tdro.errors import InputError
from tdro.evaluation.benchmark import Benchmark

QUESTION_INSTRUCTION = "Given a question, retrieve Wikipedia passages that answer the question"
"""What the paper puts before the queries of MIRACL and MKQA."""


@dataclass(frozen=True)
class Choice:
    """What is wanted of a folder.

    Attributes:
        languages: Languages of collections that have some; all that are there when empty.
        split: Which judgements; each layout's own when absent.
    """

    languages: tuple[str, ...] = ()
    split: str | None = None


@dataclass(frozen=True)
class Glimpse:
    """What a benchmark is beside its documents.

    Attributes:
        queries: Texts of the judged queries.
        instruction: What they ask for; may be empty.
        corpus: The JSONL file of the documents.
    """

    queries: list[str]
    instruction: str
    corpus: Path


@dataclass(frozen=True)
class Source:
    """A benchmark that can be read.

    Attributes:
        name: Its name.
        files: All files that reading it reads.
        read: Reads it. Takes the folder that keeps memory-mapped corpora; without one, they last
            as long as the process.
        traits: What beside the files its scores depend on, where that is not the usual.
        language: The language, where the collection has several.
        glimpse: Reads all but the documents; None where the layout does not have them in a file.
    """

    name: str
    files: tuple[Path, ...]
    read: Callable[[Path | None], Benchmark]
    traits: tuple[str, ...] = ()
    language: str | None = None
    glimpse: Callable[[], Glimpse] | None = None


class Loader(Protocol):
    """A layout; the modules of this folder have these names.

    Attributes:
        LAYOUT: What it looks for, for a sentence.
        LANGUAGES: The languages it knows; none where the layout has none.
    """

    LAYOUT: str
    LANGUAGES: tuple[str, ...]

    def finds(self, folder: Path) -> bool:
        """Tells whether a folder has this layout."""

    def sources(self, folder: Path, choice: Choice) -> list[Source]:
        """Returns the benchmarks of a folder that has this layout, in the languages it has.

        Raises:
            InputError: Something is incomplete, or the split that is wanted is not there.
        """


def only_split(folder: Path, choice: Choice, *known: str) -> str:
    """Returns the split that is wanted, the first known one by default.

    Raises:
        InputError: The layout has no such split.
    """
    split = choice.split or known[0]
    if split not in known:
        raise InputError(
            f"The benchmark {folder} has no split {split!r}: it has {', '.join(known)}."
        )
    return split
