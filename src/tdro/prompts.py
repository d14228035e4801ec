"""What stands before a query."""

from collections.abc import Mapping

_OPENING = "Instruct: "


def query_prompt(instruction: str) -> str:
    """Returns what stands before a query of a task (paper, appendix); empty for no instruction."""
    return f"{_OPENING}{instruction}\nQuery: " if instruction else ""


def takes_instructions(prompts: Mapping[str, str | None]) -> bool:
    """Tells from the prompts a model keeps whether it was trained with instructions."""
    return any(prompt and prompt.startswith(_OPENING) for prompt in prompts.values())
