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


def launcher(config, *changes):
    """Starts two processes on CPUs by one of our configurations."""
    path = next(one for one in CONFIGS if one.stem == config)
    options = ["--config_file", str(path), "--num_processes=2", "--mixed_precision=no", *changes]
    driver = str(Path(__file__).with_name("fsdp_driver.py"))
    return [sys.executable, "-m", "accelerate.commands.launch", *options, driver]


@pytest.mark.slow
def test_fsdp2_killed_and_resumed_trains_what_whole_processes_do(task_folder, tiny_llm, tmp_path):
    recipe = {
        "tasks": {"folder": str(task_folder)},
        "exclude_tasks": ["tiny"],
        "holdout": 10,
        "model": {"name_or_path": str(tiny_llm), "layers": 2, "precision": "fp32"},
        "training": {"steps": 6, "batch_size": 8, "learning_rate": 1e-3, "save_every": 2},
        "retrievers": ["uniform"],
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    ours = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    ours["env"] = {**os.environ, "OMP_NUM_THREADS": "1"}
    whole = [*launcher("ddp"), "run", str(path), "--output", str(tmp_path / "whole")]
    layers = "--fsdp_transformer_layer_cls_to_wrap=LlamaDecoderLayer"
    parts = [*launcher("fsdp2", layers), "run", str(path), "--output", str(tmp_path / "parts")]

    started = subprocess.Popen(parts, **ours)
    checkpoint = tmp_path / "parts/retrievers/.uniform.partial/trainer/checkpoint-2"
    deadline = time.monotonic() + 120
    while not (checkpoint / "complete").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    for process in [*psutil.Process(started.pid).children(recursive=True), started]:
        process.kill()
    started.wait()
    assert (checkpoint / "pytorch_model_fsdp_0").is_dir(), "each process saved its part"
    assert not (tmp_path / "parts/retrievers/uniform").exists()

    for command in (parts, whole):
        ended = subprocess.run(command, timeout=300, check=False, **ours)
        assert ended.returncode == 0, ended.stderr[-3000:]
        assert ("going on where it stopped" in ended.stdout) == (command is parts)
    of_parts, of_whole = (
        load_file(tmp_path / name / "retrievers/uniform/model/model.safetensors")
        for name in ("parts", "whole")
    )
    assert of_parts.keys() == of_whole.keys()
    for name, values in of_whole.items():
        torch.testing.assert_close(of_parts[name], values)
