"""Runs a recipe several times, each but the last killed with SIGKILL at a given point.

Usage: python crash_driver.py RECIPE OUTPUT POINT... where a point is LABEL:UNITS (killed when the
stage's progress reaches so many units), LABEL:FOLDER (killed while a folder of this name in it is
removed) or LABEL:end (killed just before its result is published).
Prints the exit code of each run. Each run is a forked child, so the imports are paid once.
"""

import contextlib
import os
import shutil
import signal
import sys
from pathlib import Path

from rich.console import Console

import tdro.run.execute
import tdro.run.work
from tdro import stages
from tdro.recipe_file import load_recipe

real_publish, real_rmtree = stages.publish, shutil.rmtree


def arm(point):
    label, _, when = point.rpartition(":")
    current = []

    @contextlib.contextmanager
    def progress(console, name):
        current[:] = [name]

        def tick(done, total, loss):
            if name == label and when.isdigit() and done >= int(when):
                os.kill(os.getpid(), signal.SIGKILL)

        yield tick

    def publish(partial, target):
        if when == "end" and current == [label]:
            os.kill(os.getpid(), signal.SIGKILL)
        real_publish(partial, target)

    def rmtree(path, *given, **options):
        if when == Path(path).name and current == [label]:
            # Its mark, where it has one, is still there.
            (Path(path) / "model.safetensors").unlink(missing_ok=True)
            os.kill(os.getpid(), signal.SIGKILL)
        real_rmtree(path, *given, **options)

    stages.stage_progress, stages.publish, shutil.rmtree = progress, publish, rmtree


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
