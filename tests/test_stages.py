import pytest
from rich.console import Console

from tdro.stages import RunDirectory, Stage, fingerprint_of


@pytest.fixture
def complete(tmp_path):
    """Completes a stage with some inputs and returns its fingerprint and what is said."""

    def call(inputs):
        console = Console(record=True, width=200, file=(tmp_path / "said").open("w"))
        stage = Stage("losses", "losses", inputs, lambda directory, tick: {})
        found = RunDirectory(tmp_path, console).complete(stage)
        return fingerprint_of(found), console.export_text()

    return call


def test_what_was_an_input_once_and_is_none_now_leaves_a_stage_finished(complete):
    before, _ = complete({"plan": "p", "settings": [{"eta": 0.1, "chunk_tokens": 16384}]})
    after, said = complete({"plan": "p", "settings": [{"eta": 0.1}]})
    assert "done before" in said
    # What was made from it hangs on its fingerprint.
    assert after == before

    _, said = complete({"plan": "p", "settings": [{"eta": 0.2}]})
    assert "to be done again, settings.0.eta was 0.1, is 0.2\n" in said


def test_an_input_that_is_gone_makes_a_stage_stale(complete):
    complete({"plan": "p", "eta": 0.1})
    assert "eta was 0.1, is None" in complete({"plan": "p"})[1]
