"""Low-rank adapters: what is trained, what is saved, and resuming."""

import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from tdro.encoder import build_encoder
from tdro.errors import InputError
from tdro.learning.trainer import learn_weights, mixture_trainer
from tdro.mixture import Mixture
from tdro.plan import make_plan
from tdro.settings import EncoderSettings, LearningSettings, LoraSettings, TrainingSettings
from tdro.training import train

TEXTS = ["alpha beta gamma", "a line of some other words"]
LORA = {"rank": 4, "alpha": 8.0}


@pytest.fixture
def start(tiny_llm, tmp_path):
    folder = tmp_path / "start"
    build_encoder(EncoderSettings(name_or_path=str(tiny_llm), layers=2)).save(str(folder))
    return folder


@pytest.fixture
def trained(training_tasks, start, tmp_path):
    def run(name, tick=lambda *told: None, encoder=start, **options):
        given = {"steps": 6, "batch_size": 8, "learning_rate": 0.01, "save_every": 2, **options}
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        train(
            name,
            encoder,
            training_tasks,
            Mixture({"alpha": 0.5, "beta": 0.5}),
            TrainingSettings(lora=LoraSettings(**LORA), **given),
            folder,
            precision="fp32",
            seed=0,
            tick=tick,
        )
        return folder / "model"

    return run


def test_the_adapters_kept_apart_and_added_to_the_weights_are_one_model(trained, start):
    whole, apart = trained("whole"), trained("apart", save_adapter=True)
    embeddings = [SentenceTransformer(str(one)).encode(TEXTS) for one in (start, whole, apart)]
    assert np.allclose(embeddings[1], embeddings[2], atol=1e-5)
    assert not np.allclose(embeddings[0], embeddings[1], atol=1e-3)
    adapters = load_file(apart / "adapter_model.safetensors")
    assert adapters
    assert all("lora" in name for name in adapters)
    merged, before = (load_file(folder / "model.safetensors") for folder in (whole, start))
    assert merged.keys() == before.keys()
    linear = {name for name in merged if not merged[name].equal(before[name])}
    assert linear == {name for name in merged if "_proj" in name}


def test_adapters_are_found_from_any_folder(trained, start, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    apart = trained("apart", encoder=start.relative_to(tmp_path), save_adapter=True)
    monkeypatch.chdir("/")
    assert SentenceTransformer(str(apart)).encode(TEXTS).shape == (2, 32)


class StopError(Exception):
    pass


def test_stopped_and_resumed_they_are_the_same_bit_for_bit(trained):
    whole = trained("whole")

    def stop(done, total, loss):
        if done == 5:
            raise StopError

    with pytest.raises(StopError):
        trained("broken", tick=stop)
    told = []
    resumed = trained("broken", tick=lambda done, *rest: told.append(done))
    assert told[0] == 5
    files = [folder / "model.safetensors" for folder in (whole, resumed)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_proxy_learns_by_its_adapters_alone(training_tasks, start, tmp_path):
    tasks = [item.task for item in training_tasks]
    plan = make_plan(training_tasks, steps=4, batch_size=8, negatives=2, seed=0)
    settings = LearningSettings(
        steps=4,
        batch_size=8,
        negatives=2,
        learning_rate=0.01,
        temperature=0.05,
        eta=0.5,
        lora=LoraSettings(**LORA),
    )
    proxy = SentenceTransformer(str(start))
    before = {name: value.clone() for name, value in proxy.state_dict().items()}
    reference = np.random.default_rng(0).uniform(0.5, 2, len(plan.task_of))
    trainer = mixture_trainer(
        proxy,
        plan,
        tasks,
        reference,
        settings,
        tmp_path / "learning",
        precision="fp32",
        tick=lambda *told: None,
    )
    learned = learn_weights(trainer, tmp_path / "learning")
    losses = np.stack([step.proxy_loss for step in learned.trajectory.steps])
    assert np.isfinite(losses).all()
    after = proxy.state_dict()
    ups = [value for name, value in after.items() if "lora_B" in name]
    assert ups
    assert all(bool((value != 0).any()) for value in ups)
    for name, value in before.items():
        kept = after.get(name, after.get(name.replace(".weight", ".base_layer.weight")))
        assert torch.equal(kept, value), name


def test_without_peft_the_extra_is_named(trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(InputError, match=r"-e '\.\[lora\]'"):
        trained("missing")
