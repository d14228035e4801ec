"""``tdro mixture replay``: what another method would have made of recorded losses."""

from pathlib import Path

from rich.console import Console

from tdro.errors import InputError
from tdro.files import write_json
from tdro.learning.diagnosis import diagnose
from tdro.learning.method import method_of
from tdro.learning.record import LossRecord
from tdro.learning.replay import CAVEAT, replay
from tdro.settings import LearningSettings
from tdro.tables import mixture_table


def replay_file(losses: Path, settings: LearningSettings, output: Path, console: Console) -> None:
    """Replays recorded row losses and writes every update.

    Args:
        losses: The record (see ``LossRecord.load``).
        settings: The method, and its eta, cut, smoothing and ema_decay.
        output: Gets ``{"tasks": [...], "updates": [...], "micro": [...]}``.
        console: Where the mixture is shown.

    Raises:
        InputError: The record is wrong or empty.
    """
    record = LossRecord.load(losses)
    if not record.micro_batches:
        raise InputError(f"{losses} holds no losses.")
    method = method_of(settings, record.means())
    replayed = replay(record, method, settings.ema_decay)
    content = {"tasks": record.tasks, "updates": replayed.updates, "micro": replayed.micro}
    write_json(output, content)
    console.print(mixture_table(replayed.trajectory.mixture(settings.keeps, {}, {})))
    diagnosis = diagnose(replayed.trajectory.table())
    least, median, greatest = diagnosis.norm
    console.print(
        f"{len(replayed.updates)} updates; norm of the signal before clipping "
        f"{least:.4g} / {median:.4g} / {greatest:.4g} (least / median / greatest).",
        highlight=False,
    )
    for warning in diagnosis.warnings:
        console.print(f"[yellow]warning:[/yellow] {warning}", highlight=False)
    console.print(CAVEAT, highlight=False)
