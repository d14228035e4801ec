"""Exact search: the arithmetic that judges retrievers against faiss.

Compares ``tdro.evaluation.search.Nearest``, fed chunk by chunk as in a run, with faiss-cpu's
``IndexFlatIP`` on the same random unit vectors in float32 with the same number of threads. Both
must find the same documents, but for scores that differ by rounding. Goal: at most 1.2 times the
time of faiss, in memory that does not grow with the corpus. Seconds of processor time, over all
threads, stand beside those of the clock: on a busy machine they are the steadier of the two.
"""

import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from timing import arguments, interleaved, ratios, report, shown, spread

from tdro.evaluation.search import Nearest

CHUNK = 4096
ROUNDING = 1e-5

Found = tuple[np.ndarray, np.ndarray]


def main() -> None:
    """Times both sides in turn, compares what they find and prints the figures."""
    parser = arguments(__doc__, runs=5)
    parser.add_argument("--queries", type=int, default=5_000)
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--top-k", type=int, default=100)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    draw = torch.Generator().manual_seed(0)
    queries = unit_rows(options.queries, options.width, draw)
    documents = unit_rows(options.documents, options.width, draw)

    before = peak_bytes()
    found: dict[str, Found] = {"tdro": ours(queries, documents, options.top_k)}
    growth = peak_bytes() - before
    faiss_search = with_faiss(documents, options.threads)
    processor: dict[str, list[float]] = {"tdro": [], "faiss": []}

    def clocked(name: str, search: Callable[[torch.Tensor, int], Found]) -> None:
        start = time.process_time()
        found[name] = search(queries, options.top_k)
        processor[name].append(time.process_time() - start)

    sides: dict[str, Callable[[], Any]] = {
        "tdro": lambda: clocked("tdro", lambda texts, k: ours(texts, documents, k)),
        "faiss": lambda: clocked("faiss", faiss_search),
    }
    seconds = interleaved(sides, options.runs)
    # The first run of each was the warm-up.
    processor = {name: values[1:] for name, values in processor.items()}
    odd = disagreements(found["tdro"], found["faiss"], queries, documents)
    times = ratios(seconds["tdro"], seconds["faiss"])
    lines = [(f"{name}, seconds", shown(spread(values))) for name, values in seconds.items()]
    work = ratios(processor["tdro"], processor["faiss"])
    lines += [
        ("tdro over faiss (goal: 1.2)", shown(times)),
        ("the same in processor time", shown(work)),
        ("peak memory added by tdro, MB", f"{growth / 1e6:.0f}"),
        ("scores further apart than rounding", str(odd)),
    ]
    content = {
        "seconds": seconds,
        "processor_seconds": processor,
        "ratio": times,
        "processor_ratio": work,
        "peak_bytes_added": growth,
        "disagreements": odd,
        **{name: getattr(options, name) for name in ("queries", "documents", "width", "top_k")},
    }
    report("Exact search", lines, content, options.json)
    if odd:
        raise SystemExit(f"{odd} of the documents found differ by more than rounding.")


def unit_rows(count: int, width: int, draw: torch.Generator) -> torch.Tensor:
    """Returns random rows of length 1."""
    rows = torch.randn(count, width, generator=draw)
    # In place: a copy would raise the peak that our side's memory is told from.
    return rows.div_(rows.norm(dim=1, keepdim=True))


def ours(queries: torch.Tensor, documents: torch.Tensor, top_k: int) -> Found:
    """Searches as a run does, documents chunk by chunk."""
    nearest = Nearest(queries, top_k)
    for start in range(0, len(documents), CHUNK):
        nearest.add(documents[start : start + CHUNK], start)
    scores, numbers = nearest.found()
    return scores.numpy(), numbers.numpy()


def with_faiss(documents: torch.Tensor, threads: int) -> Callable[[torch.Tensor, int], Found]:
    """Returns the search of faiss over an index that is built already."""
    try:
        import faiss
    except ImportError:
        raise SystemExit("This script needs faiss: pip install faiss-cpu.") from None
    faiss.omp_set_num_threads(threads)
    index = faiss.IndexFlatIP(documents.shape[1])
    index.add(documents.numpy())
    return lambda queries, top_k: index.search(queries.numpy(), top_k)


def disagreements(one: Found, other: Found, queries: torch.Tensor, documents: torch.Tensor) -> int:
    """Counts ranks at which the two name documents whose true scores differ beyond rounding."""
    rows, ranks = np.nonzero(one[1] != other[1])
    query = queries[rows].double()
    scores = [
        (query * documents[found[1][rows, ranks]].double()).sum(dim=1) for found in (one, other)
    ]
    return int(((scores[0] - scores[1]).abs() > ROUNDING).sum())


def peak_bytes() -> int:
    """Returns the largest resident memory of this process so far, in bytes (Linux)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
