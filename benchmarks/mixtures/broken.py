"""Puts four collections without worth among the study's tasks.

Two are copies whose positives were dealt at random, as after a join by the wrong key: nothing can
be learned from them. Two have queries that are their passages less one word, as after a harvest of
near-duplicates: nothing is left to learn.

Usage: python benchmarks/mixtures/broken.py DATA OUTPUT [--json FILE], DATA the folder of the
study's tasks; FILE gets the rows of each new collection. Then
`tdro compare benchmarks/mixtures/static-broken.yaml`, and table.py with `--without` for the sound
tasks alone.
"""

import argparse
import gzip
import json
import random
import shutil
from pathlib import Path

import yaml

from tdro.mixture import Mixture

SHUFFLED = ("gh_tldr_command", "icd10_synonym")
COPIED = ("foldoc_term", "debian_title_body")
Rows = list[dict]


def shuffled(rows: Rows) -> Rows:
    """Deals the positives to other queries."""
    positives = [row["pos"] for row in rows]
    random.Random(0).shuffle(positives)
    return [
        {"query": row["query"], "pos": pos, "neg": []}
        for row, pos in zip(rows, positives, strict=True)
    ]


def copied(rows: Rows) -> Rows:
    """Makes each query of its passage, less the word in the middle."""
    found = []
    for row in rows:
        words = row["pos"][0].split()
        del words[len(words) // 2]
        found.append({"query": " ".join(words), "pos": row["pos"][:1], "neg": []})
    return found


def main() -> None:
    """Writes all tasks, the sound ones as they are, and the mixture of the sound ones alone."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--json", type=Path, help="write how many rows each collection has")
    arguments = parser.parse_args()
    shutil.copytree(arguments.data / "tasks", arguments.output / "tasks", dirs_exist_ok=True)
    told = json.loads((arguments.data / "tasks.json").read_text())
    works = {f"shuffled_{name}": (name, shuffled) for name in SHUFFLED}
    works |= {f"copied_{name}": (name, copied) for name in COPIED}
    written: dict[str, int] = {}
    for new, (name, change) in works.items():
        with gzip.open(
            arguments.data / "tasks" / f"{name}.jsonl.gz", "rt", encoding="utf-8"
        ) as file:
            rows = change([json.loads(line) for line in file])
        target = arguments.output / "tasks" / f"{new}.jsonl.gz"
        with gzip.open(target, "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        told[new] = told[name]
        written[new] = len(rows)
        print(f"{new}: {len(rows):,} rows")
    if arguments.json:
        arguments.json.write_text(json.dumps(written, indent=1) + "\n")
    (arguments.output / "tasks.json").write_text(json.dumps(told, indent=1))
    # What one who knows would train on.
    study = yaml.safe_load(Path(__file__).with_name("static.yaml").read_text())
    sound = set(told) - set(works) - set(study["exclude_tasks"])
    Mixture(dict.fromkeys(sorted(sound), 1 / len(sound))).save(arguments.output / "sound.json")


if __name__ == "__main__":
    main()
