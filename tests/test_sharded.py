from pathlib import Path
from types import SimpleNamespace

import pytest
from accelerate.commands.config.config_args import load_config_from_file

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
