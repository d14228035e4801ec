"""``tdro`` as accelerate starts it, with FSDP on CPUs, too.

Accelerate starts FSDP where there are accelerators only. PyTorch's own works on CPUs with gloo, so
here the processes are said to have some.
"""

import os

from accelerate import DistributedType, PartialState

from tdro.cli import main

as_it_is = PartialState.__init__


def said_to_have_accelerators(self, *arguments, **options):
    as_it_is(self, *arguments, **options)
    if self.distributed_type == DistributedType.MULTI_CPU:
        self.distributed_type = DistributedType.MULTI_GPU


if "ACCELERATE_USE_FSDP" in os.environ:
    PartialState.__init__ = said_to_have_accelerators

if __name__ == "__main__":
    main()
