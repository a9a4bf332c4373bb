"""`python -m brainldm` with FSDP2 on the CPU, where Accelerate knows it on GPUs alone."""

from __future__ import annotations

from typing import Any

from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType
from torch import nn
from torch.distributed.fsdp import FSDPModule

from brainldm.cli import main
from brainldm.train.state import Learner

start_state, start_learner = AcceleratorState.__init__, Learner.__init__


def share(
    self: AcceleratorState, *arguments: Any, fsdp_plugin: Any = None, **settings: Any
) -> None:
    start_state(self, *arguments, fsdp_plugin=fsdp_plugin, **settings)
    if fsdp_plugin is not None:
        self.fsdp_plugin = fsdp_plugin
        self.distributed_type = DistributedType.FSDP
        PartialState._shared_state["distributed_type"] = DistributedType.FSDP


def check(self: Learner, network: nn.Module, *arguments: Any, **settings: Any) -> None:
    assert isinstance(network, FSDPModule)
    start_learner(self, network, *arguments, **settings)


if __name__ == "__main__":
    AcceleratorState.__init__ = share
    Learner.__init__ = check
    main()
