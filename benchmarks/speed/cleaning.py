"""What looking for benchmarks in tasks costs, on made-up texts: texts a second.

Keys are what `tdro run` makes of queries and positives to warn of overlaps; looking up is what
`tdro tasks decontaminate` does with every query and passage. One core.

Usage: python benchmarks/speed/cleaning.py [--texts N] [--runs N] [--json FILE]
"""

import random
import resource
from collections.abc import Callable

from timing import arguments, interleaved, report, shown, spread

from tdro.cleaning.finder import Finder, Findings, Placed
from tdro.cleaning.judged import Judged
from tdro.tasks.layouts import Row
from tdro.tasks.overlap import keys_of

QUERY_WORDS, PASSAGE_WORDS = 10, 100
BATCH = 1000
_ENDS = ("", "an", "is", "el", "ot", "um")
WORDS = [f"{a}{b}{c}{d}" for a in "bdfgk" for b in "aeiou" for c in "lnrst" for d in _ENDS]


def made_up(draw: random.Random, count: int, words: int) -> list[tuple[str, str]]:
    """Returns texts of random words, with identifiers."""
    return [(str(place), " ".join(draw.choices(WORDS, k=words))) for place in range(count)]


def made_up_rows(draw: random.Random, count: int) -> list[Placed]:
    """Returns rows of a query and a positive, in lines of one file."""
    queries, passages = made_up(draw, count, QUERY_WORDS), made_up(draw, count, PASSAGE_WORDS)
    return [
        Placed("made up", line, Row(query, (passage,), ()))
        for line, ((_, query), (_, passage)) in enumerate(
            zip(queries, passages, strict=True), start=1
        )
    ]


def main() -> None:
    """Prints speeds, and the memory at the end."""
    parser = arguments(__doc__, runs=5)
    parser.add_argument("--texts", type=int, default=20_000, help="passages; as many rows")
    options = parser.parse_args()
    draw = random.Random(0)
    queries = made_up(draw, options.texts, QUERY_WORDS)
    passages = made_up(draw, options.texts, PASSAGE_WORDS)
    asked = made_up(draw, options.texts // 4, QUERY_WORDS)
    held = Judged("held", tuple(asked), tuple(made_up(draw, options.texts, PASSAGE_WORDS)))
    finder = Finder([held], 0.8)
    # Others in each run, since a text that comes again is remembered; the first is the warm-up.
    drawn = iter([made_up_rows(draw, options.texts) for _ in range(1 + options.runs)])

    def look_up() -> None:
        rows = next(drawn)
        for start in range(0, len(rows), BATCH):
            list(finder.cleaned(rows[start : start + BATCH], Findings()))

    sides: dict[str, tuple[int, Callable[[], object]]] = {
        "keys of queries": (options.texts, lambda: keys_of([text for _, text in queries])),
        "keys of passages": (options.texts, lambda: keys_of([text for _, text in passages])),
        "texts of a benchmark": (len(asked) + options.texts, lambda: Finder([held], 0.8)),
        "rows of a query and a passage": (options.texts, look_up),
    }
    seconds = interleaved({name: work for name, (_, work) in sides.items()}, options.runs)
    rates = {
        name: spread([count / one for one in seconds[name]]) for name, (count, _) in sides.items()
    }
    lines = [(f"{name} a second", shown(rate)) for name, rate in rates.items()]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    lines.append(("peak memory, MiB", f"{peak:.0f}"))
    content = {"seconds": seconds, "a second": rates, "peak_mib": peak}
    report("Looking for benchmarks in tasks", lines, content, options.json)


if __name__ == "__main__":
    main()
