"""What is asked of mining, checked."""

import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tdro.errors import InputError
from tdro.tasks.convert import Format, LayoutName
from tdro.tasks.duplicates import THRESHOLD

Sampling = Literal["top", "random"]


@dataclass(frozen=True)
class MiningSettings:
    """How hard negatives are mined. Ranks, margins and scores are those of ``mine_hard_negatives``.

    A candidate is a passage of the task that was found for a row's query and is not one of the
    row's answers.

    Attributes:
        model: Folder or hub id of a SentenceTransformer; BM25 without.
        judge: Folder or hub id of a cross-encoder with one output.
        count: Negatives wanted for each row.
        ranks: Candidates skipped, the closest ones; and the last that may be taken.
        margin: A candidate's score is at most the lowest of the row's positives less this.
        relative_margin: Likewise, less this share of that score's size.
        min_score: Lowest score of a candidate.
        max_score: Highest score of a candidate.
        judge_margin: The judge's score of a candidate is at most its lowest of the row's positives
            less this.
        sampling: Take the closest candidates, or any at random.
        near: Similarity to a positive or to the query from which a text counts as equal to it.
        append: Keep the negatives that a row has, and add to them.
        instructed: Put the task's instruction before its queries; None where the model takes them.
        seed: Seed of what is random.
        batch_size: Texts, or pairs for the judge, of a forward pass.
        layout: Layout of the rows that are written.
        form: Kind of file that is written.

    Raises:
        InputError: A value has no meaning.
    """

    model: str | None = None
    judge: str | None = None
    count: int = 16
    ranks: tuple[int, int] = (0, 100)
    margin: float | None = None
    relative_margin: float | None = None
    min_score: float | None = None
    max_score: float | None = None
    judge_margin: float = 0.0
    sampling: Sampling = "top"
    near: float = THRESHOLD
    append: bool = False
    instructed: bool | None = None
    seed: int = 0
    batch_size: int = 32
    layout: LayoutName = "flagembedding"
    form: Format = "jsonl"

    def __post_init__(self) -> None:
        first, last = self.ranks
        if self.count < 1:
            raise InputError(f"--count {self.count} mines nothing: give 1 or more.")
        if self.count > last - first:
            raise InputError(
                f"--count {self.count} is more than the {last - first} candidates that "
                f"--ranks {first}-{last} leave: lower the one or widen the other."
            )
        if not 0 < self.near <= 1:
            raise InputError(f"--near {self.near} is no similarity: give more than 0, at most 1.")
        least, most = self.min_score, self.max_score
        if least is not None and most is not None and least > most:
            raise InputError(
                f"--min-score {least} is more than --max-score {most}: "
                "no candidate has such a score."
            )
        if self.judge is None and self.judge_margin:
            raise InputError("--judge-margin is only read with --judge: name a cross-encoder.")
        if self.model is None and self.instructed is not None:
            raise InputError("--instructions is only read with --model: BM25 takes none.")

    def inputs(self) -> dict[str, Any]:
        """Returns what the result depends on but for rounding, as JSON values."""
        values = {**asdict(self), "ranks": "-".join(map(str, self.ranks))}
        # Whoever ran out of memory goes on with smaller batches.
        del values["batch_size"]
        return values


def parse_ranks(text: str) -> tuple[int, int]:
    """Reads ``FIRST-LAST``: so many candidates are skipped, and the last that may be taken.

    Raises:
        InputError: The text is not of this form, or leaves no candidate.
    """
    found = re.fullmatch(r"(\d+)-(\d+)", text.strip(), re.ASCII)
    if not found or int(found[1]) >= int(found[2]):
        raise InputError(
            f"--ranks {text!r} is no range of ranks: write FIRST-LAST with the smaller number "
            "first, such as 10-100."
        )
    return int(found[1]), int(found[2])
