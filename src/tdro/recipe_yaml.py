"""YAML as recipes are written in it: every key once, and what is wrong in a few words."""

from typing import Any

import yaml
from yaml.constructor import ConstructorError

_MERGE = "tag:yaml.org,2002:merge"


class NotYamlError(ValueError):
    """A text that is no YAML value, or holds a key twice.

    Attributes:
        line: Where in the text, from 1; None where that is not known.
    """

    def __init__(self, problem: str, line: int | None) -> None:
        super().__init__(problem)
        self.line = line


def parse_yaml(text: str) -> Any:
    """Reads a YAML value.

    Raises:
        NotYamlError: It is not valid, a mapping holds a key twice, or a value looks like a date or
            a number and is none.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "not YAML"
        raise NotYamlError(problem, mark.line + 1 if mark else None) from None


class _Loader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: Any) -> Any:
        # PyYAML keeps the last of equal keys. Told here, since later on the keys that ``<<`` takes
        # from another mapping stand among those that are written.
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            name = (key.tag, key.value)
            if name in lines:
                problem = f"the key {key.value!r} is there already, in line {lines[name]}: keep one"
                raise ConstructorError(None, None, problem, key.start_mark)
            lines[name] = key.start_mark.line + 1
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError, AttributeError):
            # What PyYAML lets through from Python, such as of the date 2024-13-45.
            problem = f"{node.value!r} looks like a date or a number and is none: put it in quotes"
            raise ConstructorError(None, None, problem, node.start_mark) from None
