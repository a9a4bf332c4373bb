"""A network that learns: its optimiser, and the average of its weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.optim import AdamW

from brainldm.train.loop_settings import Optimiser, Training
from brainldm.train.muon import Muon

if TYPE_CHECKING:
    from accelerate import Accelerator

BETA1 = 0.9
GENTLE = 0.1
"""The pace of parameters that learn more slowly than others."""
# Whole tensors on the CPU of the first process, however they are shared among processes: a run can
# be resumed with another number of them.
WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


class Learner:
    """A network as Accelerate wrapped it, its optimiser, and the average of its weights.

    Args:
        network: wrapped.
        optimiser: wrapped.
        averages: keep an average of the weights.
        blend: how far from the first weights to the average lies what comes of it.
    """

    def __init__(
        self, network: nn.Module, optimiser: Any, averages: bool, blend: float = 1.0
    ) -> None:
        self.network = network
        self.optimiser = optimiser
        self.parameters: list[Tensor] = [p for p in network.parameters() if p.requires_grad]
        # Clones keep the way in which weights are shared among processes (FSDP).
        self.mean = [p.detach().clone() for p in self.parameters] if averages else []
        self.first = [p.detach().clone() for p in self.parameters] if blend < 1 else []
        self.blend = blend

    @classmethod
    def of(
        cls,
        network: nn.Module,
        optimiser: Optimiser,
        gentle: Iterable[nn.Parameter],
        averages: bool,
        accelerator: Accelerator,
        blend: float = 1.0,
    ) -> Self:
        """Wrap a network, with AdamW (Loshchilov and Hutter 2017, 1711.05101) or Muon.

        Args:
            network: whose parameters learn that have a gradient.
            optimiser: which of the two.
            gentle: those that learn at a tenth of the rate.
            averages: keep an average of the weights.
            accelerator: wraps them.
            blend: how far from the first weights to the average lies what comes of it.
        """
        slow = {id(p) for p in gentle}
        learning = [p for p in network.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in learning if id(p) not in slow], "pace": 1.0},
            {"params": [p for p in learning if id(p) in slow], "pace": GENTLE},
        ]
        groups = [group for group in groups if group["params"]]
        made = Muon(groups, lr=0.0) if optimiser == "muon" else AdamW(groups, lr=0.0, fused=True)
        prepared, wrapped = accelerator.prepare(network, made)
        return cls(prepared, wrapped, averages, blend)

    def prepare(self, rate: float, training: Training) -> None:
        """Set the learning rate of the next step, and what else of AdamW a phase may change."""
        for group in self.optimiser.param_groups:
            group["lr"] = group["pace"] * rate
            group["betas"] = (BETA1, training.beta2)
            group["weight_decay"] = training.weight_decay

    def clip(self, norm: float, accelerator: Accelerator) -> float:
        """Clip the gradients of the first group to a norm, and return what it was."""
        accelerator.unscale_gradients(self.optimiser)
        got = nn.utils.clip_grad_norm_(self.optimiser.param_groups[0]["params"], norm)
        return float(got.full_tensor() if isinstance(got, DTensor) else got)

    def step(self) -> None:
        """Take a step, and forget the gradients."""
        self.optimiser.step()
        self.optimiser.zero_grad()

    @torch.no_grad()
    def average(self, decay: float) -> None:
        """Let the last step into the average (Ho et al. 2020, 2006.11239)."""
        if self.mean:
            torch._foreach_lerp_(self.mean, self.parameters, 1 - decay)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """The network has the averaged weights in here, or what lies between the first and them."""
        self.swap()
        kept = [p.detach().clone() for p in self.parameters] if self.first else []
        with torch.no_grad():
            for parameter, first in zip(self.parameters, self.first, strict=bool(self.first)):
                parameter.lerp_(first, 1 - self.blend)
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, before in zip(self.parameters, kept, strict=bool(kept)):
                    parameter.copy_(before)
            self.swap()

    def weights(self) -> dict[str, Tensor]:
        """A copy of all of them on the CPU; nothing on all processes but the first."""
        whole: dict[str, Any] = get_model_state_dict(self.network, options=WHOLE)
        # Of a network on the CPU those are the parameters themselves, which change with it.
        return {
            name: tensor.clone() if self.parameters[0].device.type == "cpu" else tensor
            for name, tensor in whole.items()
        }

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the weights and their average."""
        for module in self.network.modules():
            if isinstance(module, FSDPModule):
                # After a forward pass without a backward one it would keep the gathered weights
                # of before, and use them again.
                module.reshard()
        for mean, parameter in zip(self.mean, self.parameters, strict=bool(self.mean)):
            kept = parameter.clone()
            parameter.copy_(mean)
            mean.copy_(kept)
