"""The errors a user can mend, each one sentence: what is wrong, where, and what to do."""

import errno
import importlib
import os
from types import ModuleType


class InputError(ValueError):
    """Bad input from the user: a file, a recipe value or an option.

    The command line prints the sentence without a traceback and ends with exit code 2.
    """


_FAULTS = {
    errno.EEXIST: "is there already and in the way: remove it or give another path",
    errno.ENOTDIR: "is or lies under a file where a folder is needed: give another path",
    errno.EISDIR: "is a folder where a file is needed: give another path",
    errno.EACCES: "may not be read or written by you: change its rights or give another path",
    errno.EPERM: "may not be changed by you: change its rights or give another path",
    errno.EROFS: "is where nothing can be written: give another path",
    errno.ENAMETOOLONG: "is too long for a file name: give a shorter one",
}
_FULL = (errno.ENOSPC, errno.EDQUOT)


def fault_of_place(error: OSError) -> str | None:
    """Returns the sentence for a path or a disk that the user can mend; None for other faults."""
    place = error.filename2 or error.filename
    if error.errno in _FULL:
        return f"No space is left{f' for {place}' if place else ''}: make room and start again."
    if error.errno not in _FAULTS or not isinstance(place, str | bytes):
        return None
    return f"{os.fsdecode(place)} {_FAULTS[error.errno]}."


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
            f"This needs the package {missing.name!r}: pip install -e '.[{extra}]' in the clone."
        ) from missing
