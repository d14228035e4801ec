"""What looking for benchmarks in tasks costs, on made-up texts.

Keys are what `tdro run` makes of queries and positives to warn of overlaps; looking up is what
`tdro tasks decontaminate` does with every query and passage. One core.
"""

import random
import resource
import time
from collections.abc import Callable

from tdro.cleaning.finder import Finder, Findings, Placed
from tdro.cleaning.judged import Judged
from tdro.tasks.layouts import Row
from tdro.tasks.overlap import keys_of

QUERY_WORDS, PASSAGE_WORDS = 10, 100
BATCH = 1000
_ENDS = ("", "an", "is", "el", "ot", "um")
WORDS = [f"{a}{b}{c}{d}" for a in "bdfgk" for b in "aeiou" for c in "lnrst" for d in _ENDS]


def made_up(draw: random.Random, count: int, words: int) -> list[str]:
    """Returns texts of random words."""
    return [" ".join(draw.choices(WORDS, k=words)) for _ in range(count)]


def timed(what: str, count: int, work: Callable[[], object]) -> None:
    """Prints how many texts a second a piece of work does."""
    started = time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    print(f"{what}: {count:,} in {seconds:.2f} s, {count / seconds:,.0f}/s")


def main() -> None:
    """Prints speeds, and the memory at the end."""
    draw = random.Random(0)
    queries = made_up(draw, 100_000, QUERY_WORDS)
    passages = made_up(draw, 20_000, PASSAGE_WORDS)
    timed("keys of queries", len(queries), lambda: keys_of(queries))
    timed("keys of passages", len(passages), lambda: keys_of(passages))
    held = Judged(
        "held",
        tuple((str(place), text) for place, text in enumerate(made_up(draw, 5000, QUERY_WORDS))),
        tuple(
            (str(place), text) for place, text in enumerate(made_up(draw, 20_000, PASSAGE_WORDS))
        ),
    )
    finder: list[Finder] = []
    timed("index of a benchmark", 25_000, lambda: finder.append(Finder([held], 0.8)))
    rows = [
        Placed("made up", line, Row(query, (passage,), ()))
        for line, (query, passage) in enumerate(zip(queries, passages, strict=False), start=1)
    ]

    def look_up() -> None:
        for start in range(0, len(rows), BATCH):
            list(finder[0].cleaned(rows[start : start + BATCH], Findings()))

    timed("rows of a query and a passage looked up", len(rows), look_up)
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
