"""What a training will take, told before it begins: networks are run without memory (meta)."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from brainldm.checkpoint import load_config
from brainldm.dataset.prepared import PreparedData, read_prepared
from brainldm.models.autoencoder import AutoencoderKL
from brainldm.models.device import pick_device, pick_dtype
from brainldm.models.memory import PROGRAM
from brainldm.models.unet import DiffusionUNet
from brainldm.train.autoencoder import check_sizes
from brainldm.train.checkpointing import BLOCKS
from brainldm.train.covariates import read_covariates
from brainldm.train.folder import load_first_stage
from brainldm.train.model import first_stage, model_config
from brainldm.train.settings import (
    AutoencoderSettings,
    DiffusionSettings,
    Running,
    Training,
    to_yaml,
)

STATE_BYTES = 16
"""A parameter's value, gradient and two moments of Adam, in float32; its average is 4 more."""


def describe_autoencoder(
    data: str | Path, settings: AutoencoderSettings, source: str | None, device: str
) -> str:
    """The settings of stage 1, and what they take; errors as `train_autoencoder`."""
    heads = read_prepared(data)
    if source:
        settings = settings.model_copy(update={"network": load_first_stage(source).config})
    check_sizes(heads.shape, settings, f"{heads.folder}: each image")
    with torch.device("meta"):
        network = AutoencoderKL(settings.network)
        image = torch.empty(1, 1, *(settings.crop or heads.shape))
    note = " (without the discriminator)" if settings.loss.adversarial else ""
    return _describe(heads, settings, network, (image,), device, len(heads), note)


def describe_diffusion(
    data: str | Path,
    settings: DiffusionSettings,
    autoencoder: str | None,
    source: str | None,
    conditions: Sequence[str],
    device: str,
) -> str:
    """The settings of stage 2, and what they take; errors as `train_diffusion`."""
    heads = read_prepared(data)
    first = first_stage(autoencoder, source)
    base = load_config(source) if source else None
    covariates = read_covariates(heads, conditions, base.conditions if base else ())
    config = model_config(heads, first, settings, covariates, base, "dry-run")
    with torch.device("meta"):
        network = DiffusionUNet(config.unet)
        z = torch.empty(1, config.unet.in_channels, *config.latent.shape[1:])
        inputs = (z, torch.empty(1), torch.empty(1, 1, config.unet.context_dim))
    names = ", ".join(
        f"{v.name} ({'/'.join(v.labels) if v.labels else f'{v.low:g} to {v.high:g} {v.unit}'})"
        for v in config.conditions
    )
    count = len(covariates.index) * (2 if settings.flip else 1)
    note = f"\nConditions: {names}; {len(covariates.left_out)} subjects lack one"
    return _describe(heads, settings, network, inputs, device, count, note)


def _describe(
    heads: PreparedData,
    settings: AutoencoderSettings | DiffusionSettings,
    network: nn.Module,
    inputs: tuple[Tensor, ...],
    device_name: str,
    count: int,
    note: str,
) -> str:
    training, run = settings.training, settings.run
    device = pick_device(device_name)
    dtype = pick_dtype(training.precision, device)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    number = sum(p.numel() for p in network.parameters())
    flops, activations = measure(network, inputs, run.checkpointing)
    memory = _memory(number, activations, dtype, training, run, processes)
    peak = _peak(device, dtype)
    # Backward takes twice the forward pass, and checkpointing one more.
    work = flops * (4 if run.checkpointing else 3) * training.batch_size * training.steps
    seen = training.steps * training.batch_size / (count * (1 - training.held_out))
    sides = " x ".join(map(str, heads.shape))
    return (
        f"{to_yaml(settings)}\n"
        f"Parameters: {number:,}{note}\n"
        f"Data: {len(heads)} heads of {sides} voxels, each seen {seen:.3g} times\n"
        f"Memory: about {memory / 1e9:.1f} GB a process, {activations / 1e9:.2f} GB of it for the "
        f"activations of a sample in float32\n"
        f"Time: {_duration(work / peak / processes)} at least, {work / training.steps / 1e12:.3g} "
        f"TFLOP a step at the {peak / 1e12:.2g} TFLOP/s that {device} reaches in {dtype}\n"
        "Nothing was trained or written."
    )


def _memory(
    number: int,
    activations: int,
    dtype: torch.dtype,
    training: Training,
    run: Running,
    processes: int,
) -> float:
    share = max(1, training.batch_size // processes)
    samples = run.micro_batch or share
    kept = number * (STATE_BYTES + (4 if training.ema_decay else 0))
    return PROGRAM + kept + samples * activations * dtype.itemsize / 4


def measure(network: nn.Module, inputs: tuple[Tensor, ...], checkpointing: bool) -> tuple[int, int]:
    """Floating-point operations of a forward pass, and bytes kept for the backward one (float32).

    Args:
        network: on the meta device.
        inputs: likewise.
        checkpointing: blocks keep their inputs alone, and one at a time all else.
    """
    own = {id(p) for p in network.parameters()}
    kept: dict[int, int] = {}
    blocks: list[tuple[int, int]] = []

    def pack(tensor: Tensor) -> Tensor:
        if id(tensor) not in own:
            storage = tensor.untyped_storage()
            kept[storage._cdata] = storage.nbytes()
            alive.append(tensor)  # or its place would be given to another
        return tensor

    def enter(module: nn.Module, arguments: Any) -> None:
        starts.append(sum(kept.values()))

    def leave(module: nn.Module, arguments: Any, result: Any) -> None:
        inside = sum(kept.values()) - starts.pop()
        blocks.append((inside, arguments[0].untyped_storage().nbytes()))

    alive: list[Tensor] = []
    starts: list[int] = []
    handles = []
    for module in network.modules():
        if isinstance(module, BLOCKS):
            handles += [
                module.register_forward_pre_hook(enter),
                module.register_forward_hook(leave),
            ]
    with FlopCounterMode(display=False) as counter, saved_tensors_hooks(pack, lambda t: t):
        network(*inputs)
    for handle in handles:
        handle.remove()
    total = sum(kept.values())
    if checkpointing and blocks:
        insides, entries = zip(*blocks, strict=True)
        total += sum(entries) + max(insides) - sum(insides)
    return counter.get_total_flops(), total


def _peak(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second in the best of a few products of matrices."""
    size = 1024 if device.type == "cpu" else 8192
    a = torch.randn(size, size, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(4):
        start = time.perf_counter()
        (a @ a).sum().item()
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def _duration(seconds: float) -> str:
    for length, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= length:
            return f"{seconds / length:.1f} {name}"
    return f"{seconds:.1f} seconds"
