"""The errors a user can mend, each one sentence: what is wrong, where, and what to do."""

import importlib
from types import ModuleType


class InputError(ValueError):
    """Bad input from the user: a file, a recipe value or an option.

    The command line prints the sentence without a traceback and ends with exit code 2.
    """


def require(module: str, extra: str) -> ModuleType:
    """Imports a module that belongs to an optional extra.

    Args:
        module: Name of the module, for example ``bm25s``.
        extra: The extra of this package that installs it.

    Raises:
        InputError: The module is not installed; the sentence names the extra.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as missing:
        if missing.name is None or not module.startswith(missing.name.split(".")[0]):
            raise
        raise InputError(
            f"This needs the package {missing.name!r}: pip install 'tdro[{extra}]'."
        ) from missing
