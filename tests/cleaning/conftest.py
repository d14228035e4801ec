import json

import pytest

from tests.evaluation import published
from tests.tasks.helpers import row, write_jsonl

LONG = "the quick brown fox jumps over the lazy dog near the old river bank at dawn today"
JUDGED = f"{LONG} while nobody is looking at it"
OTHER = "an entirely different passage about the weather in spring and its many clouds"


@pytest.fixture
def benchmark(tmp_path):
    """A benchmark as BEIR publishes them: d1 is relevant, d2 is judged not to be, d3 not judged."""
    published.beir(
        tmp_path / "held",
        documents=[("d1", "", JUDGED), ("d2", "Spring", OTHER), ("d3", "", "never judged")],
        queries=[("q1", "Where does the fox jump?"), ("q2", f"{LONG} you think")],
        test=[("q1", "d1", 1), ("q1", "d2", 0), ("q2", "d1", 2)],
    )
    return tmp_path / "held"


@pytest.fixture
def data(tmp_path):
    """Two tasks: one that leaks in every way there is, one that does not."""
    folder = tmp_path / "data"
    (folder / "tasks").mkdir(parents=True)
    leaky = [
        row("where does the FOX jump", "one", neg=["two"]),
        row(f"{LONG} they think", "three"),
        row("a fox", JUDGED.upper(), neg=["four"]),
        row("some fox", f"{JUDGED} again", "five", neg=[JUDGED, f"Spring {OTHER}", "never judged"]),
        row("", "six"),
        row("a cat", "seven", neg=["eight"]),
    ]
    write_jsonl(folder / "tasks" / "leaky.jsonl", leaky)
    write_jsonl(folder / "tasks" / "clean.jsonl", [row("a dog", "nine"), row("a cow", "ten")])
    said = {"leaky": {"instruction": "Find the fox"}, "clean": {}}
    (folder / "tasks.json").write_text(json.dumps(said))
    return folder
