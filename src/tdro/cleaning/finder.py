"""Finding the texts of benchmarks in training rows, and the rows that are left without them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from tdro.cleaning.judged import Judged
from tdro.tasks.duplicates import Match, TextIndex
from tdro.tasks.layouts import Row

Kind = Literal["query", "positive", "negative"]
KINDS: tuple[Kind, ...] = ("query", "positive", "negative")

EXAMPLES_KEPT = 5
_LONGEST_EXAMPLE = 500
# Passages that were looked up lately; the negatives of a task come again and again.
_MOST_REMEMBERED = 1 << 15


@dataclass(frozen=True)
class Placed:
    """A row, and the file and line (or row of a table) it stands in."""

    file: str
    line: int
    row: Row


@dataclass(frozen=True)
class Example:
    """A text of a training row beside the text of a benchmark it equals or nearly equals."""

    text: str
    benchmark_text: str
    benchmark_id: str
    similarity: float
    file: str
    line: int


@dataclass
class Findings:
    """What was found in one task.

    Attributes:
        counts: Texts found, by benchmark, kind and whether they are equal (or only nearly).
        examples: The first ones of each.
        rows: What became of rows: ``query`` (removed for their query), ``no positive left``.
        passages: Positives and negatives taken out, whatever the number of benchmarks they are in.
    """

    counts: Counter[tuple[str, Kind, bool]] = field(default_factory=Counter)
    examples: dict[tuple[str, Kind, bool], list[Example]] = field(default_factory=dict)
    rows: Counter[str] = field(default_factory=Counter)
    passages: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        """Returns plain values."""
        found = [
            {
                "benchmark": benchmark,
                "kind": kind,
                "match": "equal" if equal else "near",
                "count": count,
                "examples": [asdict(one) for one in self.examples[benchmark, kind, equal]],
            }
            for (benchmark, kind, equal), count in sorted(
                self.counts.items(), key=lambda item: (item[0][0], KINDS.index(item[0][1]))
            )
        ]
        return {
            "rows_removed": {"query": self.rows["query"], "no positive left": self.rows["lost"]},
            "passages_removed": {kind: self.passages[kind] for kind in KINDS[1:]},
            "found": found,
        }


class Finder:
    """Looks training rows up in benchmarks.

    Args:
        benchmarks: Their texts; held in memory, the rows are not.
        threshold: Jaccard similarity from which two texts are nearly equal.
    """

    def __init__(self, benchmarks: Sequence[Judged], threshold: float) -> None:
        self._queries = _Side([(one.name, one.queries) for one in benchmarks], threshold)
        self._passages = _Side([(one.name, one.passages) for one in benchmarks], threshold)

    def cleaned(self, rows: Sequence[Placed], findings: Findings) -> Iterator[Placed]:
        """Yields the rows that are left, without what benchmarks hold.

        A row goes with its query, or with its last positive. The passages of a row that goes with
        its query are not looked at.

        Args:
            rows: Some rows of a task.
            findings: Receives what was found.
        """
        found = self._queries.found(placed.row.query for placed in rows)
        left = [placed for placed in rows if not found[placed.row.query]]
        for placed in rows:
            if found[placed.row.query]:
                findings.rows["query"] += 1
                self._queries.note(findings, "query", placed, placed.row.query)
        self._passages.found(
            text for placed in left for text in (*placed.row.positives, *placed.row.negatives)
        )
        for placed in left:
            row = placed.row
            positives = self._kept(findings, "positive", placed, row.positives)
            negatives = self._kept(findings, "negative", placed, row.negatives)
            if positives:
                yield replace(placed, row=Row(row.query, positives, negatives))
            else:
                findings.rows["lost"] += 1

    def _kept(
        self, findings: Findings, kind: Kind, placed: Placed, texts: tuple[str, ...]
    ) -> tuple[str, ...]:
        kept = []
        for text in texts:
            if self._passages.note(findings, kind, placed, text):
                findings.passages[kind] += 1
            else:
                kept.append(text)
        return tuple(kept)


class _Side:
    """The queries of all benchmarks, or their passages."""

    def __init__(
        self, benchmarks: Iterable[tuple[str, Sequence[tuple[str, str]]]], threshold: float
    ) -> None:
        self._items = [(name, *item) for name, items in benchmarks for item in items]
        self._index = TextIndex([text for _, _, text in self._items], threshold)
        self._known: dict[str, list[Match]] = {}

    def found(self, texts: Iterable[str]) -> dict[str, list[Match]]:
        """Looks texts up and remembers the outcome, the best match of each benchmark."""
        if len(self._known) > _MOST_REMEMBERED:
            self._known.clear()
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        for text, matches in zip(new, self._index.matches(new), strict=True):
            best: dict[str, Match] = {}
            for match in matches:
                best.setdefault(self._items[match.number][0], match)
            self._known[text] = list(best.values())
        return self._known

    def note(self, findings: Findings, kind: Kind, placed: Placed, text: str) -> bool:
        """Notes where a text is found that was looked up, and tells whether it is anywhere."""
        matches = self._known[text]
        for match in matches:
            benchmark, identifier, other = self._items[match.number]
            key = (benchmark, kind, match.exact)
            findings.counts[key] += 1
            examples = findings.examples.setdefault(key, [])
            if len(examples) < EXAMPLES_KEPT:
                similarity = round(match.similarity, 4)
                where = (placed.file, placed.line)
                examples.append(Example(_cut(text), _cut(other), identifier, similarity, *where))
        return bool(matches)


def _cut(text: str) -> str:
    cut = text if len(text) <= _LONGEST_EXAMPLE else f"{text[: _LONGEST_EXAMPLE - 1]}…"
    # Half a surrogate pair in a benchmark could not be written.
    return cut.encode("utf-8", "replace").decode()
