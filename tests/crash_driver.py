"""Runs a recipe several times, each but the last killed with SIGKILL at a given point.

Usage: python crash_driver.py RECIPE OUTPUT POINT... where a point is LABEL:UNITS (killed when the
stage's progress reaches so many units) or LABEL:end (killed just before its result is published).
Prints the exit code of each run. Each run is a forked child, so the imports are paid once.
"""

import contextlib
import os
import signal
import sys
from pathlib import Path

from rich.console import Console

import tdro.run.execute
import tdro.run.work
from tdro import stages
from tdro.recipe_file import load_recipe

real_progress, real_publish = stages.stage_progress, stages.publish


def arm(point):
    label, _, when = point.rpartition(":")
    current = []

    @contextlib.contextmanager
    def progress(console, name):
        current[:] = [name]

        def tick(done, total, loss):
            if name == label and when != "end" and done >= int(when):
                os.kill(os.getpid(), signal.SIGKILL)

        yield tick

    def publish(partial, target):
        if when == "end" and current == [label]:
            os.kill(os.getpid(), signal.SIGKILL)
        real_publish(partial, target)

    stages.stage_progress, stages.publish = progress, publish


def main():
    recipe = load_recipe(Path(sys.argv[1]))
    output = Path(sys.argv[2])
    for point in [*sys.argv[3:], None]:
        child = os.fork()
        if child == 0:
            if point is not None:
                arm(point)
            with (output.parent / "log.txt").open("a") as log:
                tdro.run.execute.execute(recipe, output, Console(file=log, width=200))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(point, os.waitstatus_to_exitcode(status), flush=True)


main()
