"""A bag of token embeddings with and without the memory of its tokens.

Trains the same bag on the same rows and encodes the same documents with it, as the second and
later retrievers of a comparison do: once with ``tdro.token_memory`` and once with each text cut
into tokens again. Both sides must leave the same parameters. No goal was set.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from timing import arguments, interleaved, ratios, report, shown, spread

import tdro.training
from tdro.encoder import build_encoder
from tdro.files import MODEL_FOLDER
from tdro.mixture import Mixture
from tdro.settings import EncoderSettings, TrainingSettings
from tdro.tasks.prepare import prepare_task
from tdro.tasks.sources import find_sources
from tdro.tasks.task import Task
from tdro.tasks.training import TrainingTask, hold_out
from tdro.token_memory import remember_tokens

Loaded = Callable[[SentenceTransformer], SentenceTransformer]


def main() -> None:
    """Prepares rows, trains and encodes with both in turn and prints the figures."""
    parser = arguments(__doc__, runs=5)
    parser.add_argument("data", type=Path, help="a folder of tasks")
    parser.add_argument("model", help="a GGUF file or a folder of a model")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--steps", type=int, default=100, help="steps of a training")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--tasks", type=int, default=4, help="how many of the tasks are read")
    parser.add_argument("--rows", type=int, default=5_000, help="rows of a task at most")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tdro.training.quiet_libraries()
    sides: dict[str, Loaded] = {"remembered": remember_tokens, "cut again": lambda model: model}
    seconds: dict[str, dict[str, list[float]]] = {
        side: {"training": [], "encoding": []} for side in sides
    }
    left: dict[str, torch.Tensor] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        settings = EncoderSettings(
            name_or_path=options.model,
            kind="static",
            dimensions=options.width,
            max_passage_length=128,
        )
        build_encoder(settings).save(str(folder / "encoder"))
        tasks = prepared(options, folder)
        documents = [
            text
            for item in tasks
            for text in item.task.passages[: options.documents // len(tasks)]["text"]
        ]

        def run(side: str) -> None:
            tdro.training.remember_tokens = sides[side]
            place = Path(tempfile.mkdtemp(dir=folder))
            started = time.perf_counter()
            train(folder / "encoder", tasks, options, place)
            seconds[side]["training"].append(time.perf_counter() - started)
            model = sides[side](SentenceTransformer(str(place / MODEL_FOLDER)))
            started = time.perf_counter()
            model.encode_document(documents, batch_size=256)
            seconds[side]["encoding"].append(time.perf_counter() - started)
            left[side] = model[0].embedding.weight

        interleaved({side: lambda side=side: run(side) for side in sides}, options.runs)
    # The first run of each side was the warm-up.
    counted = {
        side: {name: runs[1:] for name, runs in each.items()} for side, each in seconds.items()
    }
    ratio = {
        name: ratios(counted["remembered"][name], counted["cut again"][name])
        for name in ("training", "encoding")
    }
    lines = [
        (f"{name}, {side}, seconds", shown(spread(counted[side][name])))
        for name in ratio
        for side in sides
    ]
    lines += [(f"{name}, remembered over cut again", shown(ratio[name])) for name in ratio]
    report("A bag's tokens", lines, {"seconds": counted, "ratio": ratio}, options.json)
    if not torch.equal(*left.values()):
        raise SystemExit("The two sides left different parameters.")


def prepared(options: Any, folder: Path) -> list[TrainingTask]:
    """Prepares the first rows of tasks."""
    tasks = []
    for source in find_sources(options.data)[: options.tasks]:
        place = folder / source.name
        place.mkdir()
        prepare_task(source, place, max_rows=options.rows)
        tasks.append(hold_out(Task.open(place), 0, seed=0))
    return tasks


def train(encoder: Path, tasks: list[TrainingTask], options: Any, place: Path) -> None:
    """Trains by the uniform mixture, as a run does."""
    tdro.training.train(
        "bag",
        encoder,
        tasks,
        Mixture.uniform([item.name for item in tasks]),
        TrainingSettings(steps=options.steps, batch_size=options.batch_size, learning_rate=0.05),
        place,
        precision="fp32",
        seed=0,
        tick=lambda done, total, loss: None,
    )


if __name__ == "__main__":
    main()
