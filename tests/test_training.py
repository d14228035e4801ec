import json
from collections import Counter

import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from transformers.models.llama.modeling_llama import LlamaMLP

from tdro import training
from tdro.encoder import build_encoder
from tdro.mixture import Mixture
from tdro.settings import EncoderSettings, TrainingSettings
from tdro.tasks.prepare import prepare_tasks
from tdro.tasks.training import hold_out, texts
from tdro.training import train
from tests.conftest import write_task


@pytest.fixture
def trained(training_tasks, tiny_llm, tmp_path):
    """Trains a static bag, or two layers, by a mixture and returns the folder it was left in."""

    def run(weights, name="run", tick=lambda *told: None, kind="static", **options):
        layers = {"layers": 2} if kind == "transformer" else {}
        encoder = EncoderSettings(name_or_path=str(tiny_llm), kind=kind, **layers)
        build_encoder(encoder).save(str(tmp_path / "start"))
        given = {"steps": 8, "batch_size": 8, "learning_rate": 0.05, "save_every": 3, **options}
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        facts = train(
            name,
            tmp_path / "start",
            training_tasks,
            Mixture(weights),
            TrainingSettings(**given),
            folder,
            precision="fp32",
            seed=0,
            tick=tick,
        )
        return folder, facts

    return run


def test_training_lowers_the_loss_and_leaves_a_model_and_its_shares(trained):
    losses = []
    weights = {"alpha": 0.5, "beta": 0.5}
    folder, facts = trained(weights, tick=lambda *told: losses.append(told[2]), steps=40)
    assert (facts["steps"], facts["rows"]) == (40, 320)
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    SentenceTransformer(str(folder / "model"))
    record = json.loads((folder / "sampling.json").read_text())
    assert record["batches"] == [20, 20, 0, 0]
    assert record["tasks"] == ["alpha", "beta", "gamma", "tiny"]


def test_tasks_in_another_order_are_dealt_the_same_batches(trained, training_tasks):
    weights = {"alpha": 0.4, "beta": 0.35, "gamma": 0.25}
    one, _ = trained(weights, "one")
    training_tasks.reverse()
    other, _ = trained(weights, "other")
    models = [folder / "model" / "model.safetensors" for folder in (one, other)]
    assert models[0].read_bytes() == models[1].read_bytes()


def test_the_model_card_names_the_tasks_and_shows_no_text(trained, training_tasks):
    folder, _ = trained({"alpha": 0.5, "beta": 0.5}, steps=2)
    card = (folder / "model" / "README.md").read_text()
    assert "* Size: 8 training samples" in card
    for task in training_tasks[:2]:
        assert task.name in card
        for text in [*task.task.queries["text"], *task.task.passages["text"]]:
            assert text not in card


def test_the_batches_on_record_are_those_that_were_trained_on(trained, monkeypatch):
    real, batches = training.BlockBatchSampler.__iter__, []

    def deal(sampler):
        for batch in real(sampler):
            batches.append((id(sampler), tuple(batch)))
            yield batch

    monkeypatch.setattr(training.BlockBatchSampler, "__iter__", deal)
    folder, _ = trained({"alpha": 0.55, "beta": 0.3, "tiny": 0.15}, steps=21)
    record = json.loads((folder / "sampling.json").read_text())
    had = Counter(sampler for sampler, _ in batches)
    assert len(set(batches)) == len(batches) == 21, "a batch was dealt twice"
    assert sorted(had.values()) == sorted(filter(None, record["batches"]))
    assert record["batches"] == [12, 6, 0, 3]


def test_without_hard_negatives_the_batch_alone_is_the_contrast(trained):
    losses = []
    _, facts = trained(
        {"alpha": 1.0}, tick=lambda *told: losses.append(told[2]), steps=20, negatives=0
    )
    assert facts["rows"] == 160
    assert sum(losses[-5:]) < sum(losses[:5])


def test_a_task_too_light_for_a_batch_is_not_counted_as_trained_on(trained):
    folder, facts = trained({"alpha": 0.99, "beta": 0.01}, steps=5)
    record = json.loads((folder / "sampling.json").read_text())
    assert record["batches"] == [5, 0, 0, 0]
    assert record["rows"] == [40, 0, 0, 0]
    assert facts["rows"] == 40


class StopError(Exception):
    pass


def test_the_tokens_of_a_bag_are_those_of_its_steps(trained, monkeypatch):
    real, tokens = StaticEmbedding.forward, []

    def forward(bag, features, **options):
        if torch.is_grad_enabled():
            tokens.append(len(features["input_ids"]))
        return real(bag, features, **options)

    monkeypatch.setattr(StaticEmbedding, "forward", forward)
    _, facts = trained({"alpha": 0.5, "tiny": 0.5})
    assert facts["tokens"] == sum(tokens) > 8 * 8


def test_options_of_memory_change_nothing_but_rounding(trained, monkeypatch):
    real, texts = LlamaMLP.forward, []

    def forward(block, states):
        if block.training and torch.is_grad_enabled():
            texts.append(len(states))
        return real(block, states)

    monkeypatch.setattr(LlamaMLP, "forward", forward)
    found, passes, tokens = {}, {}, {}
    for name, options in {
        "plain": {},
        "cached": {"mini_batch_size": 3},
        "checkpointed": {"gradient_checkpointing": True},
    }.items():
        texts.clear()
        given = {"kind": "transformer", "learning_rate": 1e-3, "steps": 4, **options}
        folder, facts = trained({"alpha": 1.0}, name, **given)
        tokens[name] = facts["tokens"]
        found[name] = load_file(folder / "model" / "model.safetensors")
        passes[name] = (max(texts), sum(texts))
    # A step has 8 queries and 16 passages; each goes through two layers.
    once = 4 * 24 * 2
    assert passes == {"plain": (16, once), "cached": (3, once), "checkpointed": (16, 2 * once)}
    assert len(set(tokens.values())) == 1, "what is computed again is not counted again"
    for name in ("cached", "checkpointed"):
        for key, value in found["plain"].items():
            assert torch.allclose(found[name][key], value, atol=2e-5), (name, key)


@pytest.mark.parametrize("at", [2, 7])
def test_stopped_and_resumed_the_model_is_the_same_bit_for_bit(trained, at):
    weights = {"alpha": 0.4, "gamma": 0.3, "tiny": 0.3}
    whole, facts = trained(weights, "whole")

    def stop(done, total, loss):
        if done == at:
            raise StopError

    with pytest.raises(StopError):
        trained(weights, "broken", tick=stop)
    told = []
    resumed, again = trained(weights, "broken", tick=lambda done, *rest: told.append(done))
    assert again == facts
    assert told[0] == at // 3 * 3 + 1
    files = [folder / "model" / "model.safetensors" for folder in (whole, resumed)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_killed_before_its_model_is_written_a_training_has_nothing_to_train_again(
    trained, monkeypatch
):
    whole, facts = trained({"alpha": 1.0}, "whole")

    def full(*given, **options):
        raise StopError

    with monkeypatch.context() as patch:
        patch.setattr(training, "whole_model", full)
        with pytest.raises(StopError):
            trained({"alpha": 1.0}, "broken")
    told = []
    resumed, again = trained({"alpha": 1.0}, "broken", tick=lambda done, *rest: told.append(done))
    assert (again, told) == (facts, [])
    files = [folder / "model" / "model.safetensors" for folder in (whole, resumed)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_run_that_diverges_ends_with_the_remedy(trained):
    with pytest.raises(FloatingPointError, match=r"not finite at step \d+: lower"):
        trained({"alpha": 1.0}, learning_rate=1e38, steps=8, warmup=0)


def test_what_a_held_out_query_asks_is_not_trained_on_however_it_is_written(tmp_path):
    rows = [{"query": f"Ask {n // 2}" + "?" * (n % 2), "pos": [f"answer {n}"]} for n in range(60)]
    rows += [{"query": f"other {n}", "pos": [f"answer {n}"]} for n in range(40)]
    write_task(tmp_path / "task.jsonl.gz", rows)
    (task,) = prepare_tasks(tmp_path / "task.jsonl.gz", tmp_path / "prepared")
    split = hold_out(task, 20, seed=1)
    asked, judged = (
        {query.rstrip("?") for query in texts(task.queries, numbers)}
        for numbers in (split.rows, split.held_out)
    )
    assert not asked & judged
    assert asked | judged == {one["query"].rstrip("?") for one in rows}
    assert len(split.held_out) == 20
    # A development set comes out of what is left.
    later = hold_out(task, 10, 1, "development", split.rows)
    assert set(later.rows) | set(later.held_out) <= set(split.rows)


def test_a_hold_out_is_at_most_a_fifth_and_never_trained_on(training_tasks):
    for item in training_tasks:
        split = hold_out(item.task, 30, seed=1)
        assert len(split.held_out) == min(30, int(0.2 * len(item.task)))
        assert sorted([*split.rows, *split.held_out]) == list(range(len(item.task)))
