import itertools

from rich.console import Console

from tdro import progress


def test_a_stage_that_counts_a_second_thing_tells_no_negative_speed(monkeypatch):
    clock = itertools.count(step=20.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    console = Console(record=True, width=100)
    with progress.stage_progress(console, "reference losses") as tick:
        for done in (512, 1024, 1500):
            tick(done, 1500, 1.0)
        for done in (200, 384):
            tick(done, 384, 1.0)
    lines = console.export_text().splitlines()
    assert len(lines) == 5
    assert not any("-" in line for line in lines)
    assert lines[3].split(", ")[-2:] == ["10.0/s", "18 s left"]


def test_a_resumed_stage_counts_what_it_did_itself(monkeypatch):
    clock = itertools.count(step=20.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    console = Console(record=True, width=100)
    with progress.stage_progress(console, "reference") as tick:
        tick(41, 61, 2.0)
        tick(43, 61, 1.0)
    assert [line.strip() for line in console.export_text().splitlines()] == [
        "reference: 41/61, loss 2.0000",
        "reference: 43/61, loss 1.0000, 0.1/s, 180 s left",
    ]
