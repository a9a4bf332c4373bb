"""What of a run is kept: networks, averages and optimisers in one file that appears whole."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from brainldm.errors import BrainLDMError
from brainldm.files import make_folder

if TYPE_CHECKING:
    from accelerate import Accelerator

# Whole tensors on the CPU of the first process, however they are shared among processes: a run can
# go on with another number of them.
WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


class Learner:
    """A network as Accelerate wrapped it, its optimiser, and the average of its weights.

    Args:
        network: wrapped.
        optimiser: wrapped.
        averages: keep an average of the weights.
    """

    def __init__(self, network: nn.Module, optimiser: Any, averages: bool) -> None:
        self.network = network
        self.optimiser = optimiser
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        # Clones keep the way in which weights are shared among processes (FSDP).
        self.mean = [p.detach().clone() for p in self.parameters] if averages else []

    def set_rate(self, rate: float) -> None:
        """The learning rate of the next step."""
        for group in self.optimiser.param_groups:
            group["lr"] = group["pace"] * rate

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
        """Let the last step into the average."""
        for mean, parameter in zip(self.mean, self.parameters, strict=bool(self.mean)):
            mean.lerp_(parameter, 1 - decay)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """The network has the averaged weights in here."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def weights(self) -> dict[str, Tensor]:
        """A copy of all of them on the CPU; nothing on all processes but the first."""
        whole: dict[str, Any] = get_model_state_dict(self.network, options=WHOLE)
        # Of a network on the CPU those are the parameters themselves, which change with it.
        return {
            name: tensor.clone() if self.parameters[0].device.type == "cpu" else tensor
            for name, tensor in whole.items()
        }

    @torch.no_grad()
    def _swap(self) -> None:
        for module in self.network.modules():
            if isinstance(module, FSDPModule):
                # After a forward pass without a backward one it would keep the gathered weights
                # of before, and use them again.
                module.reshard()
        for mean, parameter in zip(self.mean, self.parameters, strict=bool(self.mean)):
            kept = parameter.clone()
            parameter.copy_(mean)
            mean.copy_(kept)


def save_state(
    path: Path, step: int, learners: Mapping[str, Learner], accelerator: Accelerator
) -> None:
    """Write the state after a step, in place of an earlier one.

    Raises:
        BrainLDMError: it cannot be written; the earlier one is kept.
    """
    content: dict[str, Any] = {"step": step}
    if accelerator.scaler is not None:
        content["scaler"] = accelerator.scaler.state_dict()
    for name, learner in learners.items():
        content[f"{name} weights"] = learner.weights()
        if learner.mean:
            with learner.averaged():
                content[f"{name} average"] = learner.weights()
        if learner.optimiser.state:  # asked for a state, an optimiser that has none makes one
            content[f"{name} optimiser"] = get_optimizer_state_dict(
                learner.network, learner.optimiser.optimizer, options=WHOLE
            )
    if accelerator.is_main_process:
        _write(path, content)
    accelerator.wait_for_everyone()


def load_state(path: Path, learners: Mapping[str, Learner], accelerator: Accelerator) -> int:
    """Read a state into networks and optimisers.

    Returns:
        The number of steps that were done, 0 without a file.

    Raises:
        BrainLDMError: the file is damaged or of other networks.
    """
    if not path.exists():
        return 0
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        for name, learner in learners.items():
            if learner.mean:
                set_model_state_dict(learner.network, content[f"{name} average"], options=WHOLE)
                learner._swap()
            set_model_state_dict(learner.network, content[f"{name} weights"], options=WHOLE)
            if f"{name} optimiser" in content:
                set_optimizer_state_dict(
                    learner.network,
                    learner.optimiser.optimizer,
                    content[f"{name} optimiser"],
                    options=WHOLE,
                )
        if accelerator.scaler is not None:
            accelerator.scaler.load_state_dict(content["scaler"])
        return int(content["step"])
    except Exception as error:  # damaged bytes can fail anywhere, with almost any exception
        raise BrainLDMError(
            f"Cannot go on from {path}: {str(error).splitlines()[0] if str(error) else error!r}. "
            "Expected the state of a run with these settings. Remove the file to start again from "
            "nothing."
        ) from error


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """Write aside and rename, as `files.write_together`, without a copy in memory."""
    make_folder(path.parent)
    aside = path.with_name(f".{path.name}.partial")
    try:
        with aside.open("wb") as file:
            torch.save(dict(content), file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except (OSError, RuntimeError) as error:  # the two ways in which torch.save says "disk full"
        earlier = "The earlier one is kept. " if path.exists() else ""
        raise BrainLDMError(
            f"Cannot write the state of training {path}: {error}. {earlier}Free some space and "
            "start the same command again."
        ) from error
    finally:
        aside.unlink(missing_ok=True)
