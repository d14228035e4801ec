import pytest
import yaml

from tdro.evaluation.benchmark import write_benchmark

TRAINING = {"steps": 3, "batch_size": 8, "learning_rate": 1e-3}


@pytest.fixture(scope="session")
def outside(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmarks") / "outside"
    write_benchmark(
        folder,
        name="outside",
        instruction="Find the line",
        group="external",
        queries=[("q1", "badle fesin"), ("q2", "goran")],
        documents=[("d1", "badle fesin lan"), ("d2", "goran tonis"), ("d3", "mulet")],
        qrels=[("q1", "d1", 1), ("q2", "d2", 1)],
    )
    return folder


@pytest.fixture
def recipe(task_folder, tiny_llm, outside, tmp_path):
    """Writes a recipe, its keys changed or added as given, and returns its path."""

    def write(**changes):
        content = {
            "tasks": {"folder": str(task_folder)},
            "holdout": 10,
            "model": {"name_or_path": str(tiny_llm), "layers": 3, "max_query_length": 32},
            "proxy": {"layers": 2},
            "reference": TRAINING,
            "learning": {"steps": 3, "batch_size": 8, "negatives": 2},
            "training": TRAINING,
            "retrievers": ["uniform", "learned"],
            "benchmarks": [str(outside)],
            **changes,
        }
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write
