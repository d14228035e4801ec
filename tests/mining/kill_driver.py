"""Mines tasks and is killed with SIGKILL when a stage's progress has reached a number of units.

Usage: python kill_driver.py SOURCE OUTPUT MODEL LABEL UNITS PHASE. Of a stage that counts twice
(passages encoded, rows done), PHASE is 1 or 2.
"""

import contextlib
import os
import signal
import sys
from pathlib import Path

from rich.console import Console

from tdro import stages
from tdro.mining import dense, task
from tdro.mining.command import mine_tasks
from tdro.mining.settings import MiningSettings
from tdro.tasks.sources import find_sources

source, output, model, label, units, phase = sys.argv[1:]
dense._PASSAGES_PER_FILE, task._ROWS_PER_FILE, dense._MOST_ROWS = 16, 8, 16


@contextlib.contextmanager
def progress(console, name):
    seen = [0, 1]

    def tick(done, total, loss):
        if done < seen[0]:
            seen[1] += 1
        seen[0] = done
        if name == label and seen[1] == int(phase) and done >= int(units):
            os.kill(os.getpid(), signal.SIGKILL)

    yield tick


stages.stage_progress = progress
settings = MiningSettings(
    model=model, count=4, ranks=(2, 40), relative_margin=0.02, sampling="random", batch_size=8
)
mine_tasks(find_sources(Path(source)), Path(output), settings, Console(quiet=True))
