import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from safetensors.torch import load_file

from tdro.errors import InputError
from tdro.sharded import refuse_sharded

CONFIGS = sorted((Path(__file__).parents[1] / "configs/accelerate").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_accelerate_reads_the_configuration(path):
    config = load_config_from_file(str(path))
    assert config.num_processes == 8
    kind = {"ddp": "MULTI_GPU", "fsdp2": "FSDP"}.get(path.stem, "DEEPSPEED")
    assert config.distributed_type == kind


def test_a_mixture_is_not_learned_with_parts_of_a_proxy():
    refuse_sharded(SimpleNamespace(is_fsdp_enabled=False, is_deepspeed_enabled=False))
    with pytest.raises(InputError, match="launch the same run with it afterwards"):
        refuse_sharded(SimpleNamespace(is_fsdp_enabled=True, is_deepspeed_enabled=False))


SHARDED = {
    "fsdp2": ("--fsdp_transformer_layer_cls_to_wrap=LlamaDecoderLayer",),
    "zero2": (),
    "zero3": (),
}
PARTS = {"fsdp2": "pytorch_model_fsdp_0", "zero2": "global_step2", "zero3": "global_step2"}


@pytest.fixture(scope="module")
def recipe_file(task_folder, tiny_llm, tmp_path_factory):
    recipe = {
        "tasks": {"folder": str(task_folder)},
        "exclude_tasks": ["tiny"],
        "holdout": 10,
        "model": {"name_or_path": str(tiny_llm), "layers": 2, "precision": "fp32"},
        "training": {"steps": 6, "batch_size": 8, "learning_rate": 1e-3, "save_every": 2},
        "retrievers": ["uniform"],
    }
    path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def start(config, recipe_file, output):
    """Starts two processes on CPUs by one of our configurations."""
    path = next(one for one in CONFIGS if one.stem == config)
    options = ["--config_file", str(path), "--num_processes=2", "--mixed_precision=no"]
    driver = str(Path(__file__).with_name("sharded_driver.py"))
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "accelerate.commands.launch", *options),
            *(*SHARDED.get(config, ()), driver, "run", str(recipe_file), "--output", str(output)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"},
    )


@pytest.fixture(scope="module")
def whole(recipe_file, tmp_path_factory):
    """What processes that hold the whole model have trained."""
    output = tmp_path_factory.mktemp("whole") / "run"
    started = start("ddp", recipe_file, output)
    _, errors = started.communicate(timeout=300)
    assert started.returncode == 0, errors[-3000:]
    return trained(output)


def trained(output):
    return load_file(output / "retrievers/uniform/model/model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("config", SHARDED)
def test_killed_and_resumed_in_parts_it_trains_what_whole_models_do(
    config, recipe_file, whole, tmp_path
):
    if config != "fsdp2":
        pytest.importorskip("deepspeed", reason="DeepSpeed is not installed (CONTRIBUTING.md)")
    output = tmp_path / "run"
    started = start(config, recipe_file, output)
    checkpoint = output / "retrievers/.uniform.partial/trainer/checkpoint-2"
    deadline = time.monotonic() + 120
    while not (checkpoint / "complete").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    for process in [*psutil.Process(started.pid).children(recursive=True), started]:
        process.kill()
    _, errors = started.communicate()
    assert (checkpoint / PARTS[config]).is_dir(), errors[-3000:]
    assert not (output / "retrievers/uniform").exists()

    started = start(config, recipe_file, output)
    said, errors = started.communicate(timeout=300)
    assert started.returncode == 0, errors[-3000:]
    assert "going on where it stopped" in said
    found = trained(output)
    assert found.keys() == whole.keys()
    for name, values in whole.items():
        torch.testing.assert_close(found[name], values, rtol=1e-5, atol=1e-6)
