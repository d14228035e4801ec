import os
import socket

import pytest
import torch

from tdro.processes import FirstFailed, Processes, joined


def test_one_process_does_everything_itself():
    with joined() as processes:
        assert processes == Processes()
        assert processes.first
        assert processes.once(lambda: 3) == 3
        assert processes.gathered("mine") == ["mine"]


def one_of_two(rank, port, folder):
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
    os.environ.update(MASTER_ADDR="localhost", MASTER_PORT=str(port))
    with joined() as processes:
        told = processes.once(lambda: f"said by {processes.rank}")
        found = processes.gathered(rank * 10)
        try:
            processes.once(lambda: 1 / 0)
        except (ZeroDivisionError, FirstFailed) as error:
            failed = type(error).__name__
        (folder / str(rank)).write_text(f"{told}, {found}, {failed}")


@pytest.mark.slow
def test_what_the_first_one_has_or_suffers_reaches_the_others(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(one_of_two, (port, tmp_path), nprocs=2)
    assert (tmp_path / "0").read_text() == "said by 0, [0, 10], ZeroDivisionError"
    assert (tmp_path / "1").read_text() == "said by 0, [], FirstFailed"
