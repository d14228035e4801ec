"""Kills at any one change of the file system, for tests that go on from what is left then."""

import contextlib
import os
from unittest.mock import patch

CHANGES = ("mkdir", "rename", "replace", "rmdir", "unlink")


class KilledError(BaseException):
    """In place of SIGKILL: nothing catches it, and nothing on the disk changes afterwards."""


@contextlib.contextmanager
def killed_before(change):
    """Lets the changes before the one of this number, from 1, happen; yields whether it came."""
    made, came = 0, []

    def counted(real):
        def call(*given, **options):
            nonlocal made
            made += 1
            if made >= change:
                came.append(True)
                raise KilledError
            return real(*given, **options)

        return call

    with contextlib.ExitStack() as patches:
        for name in CHANGES:
            patches.enter_context(patch.object(os, name, counted(getattr(os, name))))
        with contextlib.suppress(KilledError):
            yield came
