"""``tdro`` as accelerate starts it, with FSDP and DeepSpeed on CPUs, too.

Accelerate starts them where there are accelerators only. PyTorch's FSDP2 and DeepSpeed themselves
work on CPUs with gloo, so here the processes are said to have accelerators.
"""

import os

from accelerate import DistributedType, PartialState

from tdro.cli import main

as_it_is = PartialState.__init__


def said_to_have_accelerators(self, *arguments, **options):
    as_it_is(self, *arguments, **options)
    if self.distributed_type == DistributedType.MULTI_CPU:
        self.distributed_type = DistributedType.MULTI_GPU


if {"ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"} & set(os.environ):
    PartialState.__init__ = said_to_have_accelerators

if __name__ == "__main__":
    main()
