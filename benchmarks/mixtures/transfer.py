"""How alike are the mixtures that proxies of different kinds learn from the same tasks?

Reads the learned mixtures of finished or half-finished comparisons, a directory a kind of proxy,
and tells the rank correlation of weights between two seeds of one kind and between kinds. With
--mean it also writes the mean mixture of each kind, for a comparison to train retrievers with.

    python benchmarks/mixtures/transfer.py --method tdro runs/study-static runs/smollm2-2-compare
"""

import argparse
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from tdro.mixture import Mixture

Weights = NDArray[np.float64]


def learned(study: Path, method: str) -> list[Mixture]:
    """Reads the mixture of every seed that has learned one.

    Args:
        study: Directory of a comparison.
        method: Name of the method.
    """
    found = sorted(study.glob(f"seed-*/mixtures/{method}/last.json"))
    if not found:
        raise SystemExit(f"{study} holds no mixture of {method}.")
    return [Mixture.load(path) for path in found]


def correlations(pairs: Iterator[tuple[Weights, Weights]]) -> list[float]:
    """Returns the rank correlation of each pair of weights."""
    return [float(spearmanr(one, other)[0]) for one, other in pairs]


def compare(studies: Sequence[Path], method: str) -> list[dict[str, object]]:
    """Returns one line for each kind of proxy and each pair of kinds.

    Args:
        studies: Directories of comparisons.
        method: Name of the method.
    """
    mixtures = {study.name: learned(study, method) for study in studies}
    names = list(next(iter(mixtures.values()))[0].weights)
    weights = {name: [one.aligned(names) for one in found] for name, found in mixtures.items()}
    lines = []
    for one, other in itertools.combinations_with_replacement(weights, 2):
        same = one == other
        pairs = (
            itertools.combinations(weights[one], 2)
            if same
            else itertools.product(weights[one], weights[other])
        )
        found = correlations(pairs)
        means = [np.mean(weights[name], axis=0) for name in (one, other)]
        lines.append(
            {
                "one": one,
                "other": "another seed" if same else other,
                "pairs": len(found),
                "mean": float(np.mean(found)) if found else None,
                "least": min(found, default=None),
                "greatest": max(found, default=None),
                "of_means": None if same else correlations(iter([(means[0], means[1])]))[0],
            }
        )
    return lines


def write_means(studies: Sequence[Path], method: str, folder: Path) -> None:
    """Writes the mean mixture of each kind of proxy.

    Args:
        studies: Directories of comparisons.
        method: Name of the method.
        folder: Gets ``<study>-<method>.json``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for study in studies:
        mixtures = learned(study, method)
        names = list(mixtures[0].weights)
        mean = np.mean([one.aligned(names) for one in mixtures], axis=0)
        details = {"method": method, "mean_of_seeds": len(mixtures)}
        mixture = Mixture(dict(zip(names, mean.tolist(), strict=True)), details=details)
        mixture.save(folder / f"{study.name}-{method}.json")


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", nargs="+", type=Path, help="directories of comparisons")
    parser.add_argument("--method", default="tdro")
    parser.add_argument("--mean", type=Path, metavar="FOLDER", help="write the mean mixtures here")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args()
    lines = compare(options.studies, options.method)
    print("| weights of | and of | pairs | rank correlation | least | greatest | of the means |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for line in lines:
        numbers = [line[key] for key in ("mean", "least", "greatest", "of_means")]
        shown = ["-" if value is None else f"{value:+.2f}" for value in numbers]
        print(f"| {line['one']} | {line['other']} | {line['pairs']} | {' | '.join(shown)} |")
    if options.mean:
        write_means(options.studies, options.method, options.mean)
    if options.json:
        options.json.write_text(json.dumps(lines, indent=1) + "\n")


if __name__ == "__main__":
    main()
