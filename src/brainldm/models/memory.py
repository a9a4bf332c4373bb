"""How much memory a head needs, told before minutes are spent on it."""

from __future__ import annotations

from typing import Literal

import psutil
import torch

from brainldm.config import ModelConfig
from brainldm.errors import UsageError
from brainldm.models.autoencoder import AutoencoderKL
from brainldm.models.unet import DiffusionUNet

Memory = Literal["normal", "low"]
MODES = ("auto", "normal", "low")
PROGRAM = 450e6
"""Bytes of Python with PyTorch before anything is loaded, measured on Linux."""
SLABS = 500e6
"""Bytes of the slabs in work, with the convolutions' own copies, about (`models.slabs`)."""
ACTIVATIONS = 12
"""Activations of its finest level that the U-Net holds for a sample at a time, about."""
BATCHES = {"cpu": 4, "mps": 4, "cuda": 64}
"""Samples denoised at a time where memory allows: a CPU gains nothing from more."""


def estimate(config: ModelConfig, dtype: torch.dtype, memory: Memory, batch: int = 1) -> int:
    """The most bytes that generating takes at any time, to about a fifth.

    Args:
        config: what the model is.
        dtype: that it computes in.
        memory: "normal", or "low", where the U-Net is let go before decoding.
        batch: samples denoised at a time.
    """
    with torch.device("meta"):  # shapes without memory
        autoencoder = AutoencoderKL(config.autoencoder)
        unet = DiffusionUNet(config.unet)
    each = dtype.itemsize
    first, second = (*config.autoencoder.channels, config.autoencoder.channels[0])[:2]
    x, y, z = config.shape
    held = 2 * first + (second if memory == "normal" else 0)
    decode = x * y * z * (held * each + 8) + SLABS
    denoise = batch * _sample(config, dtype)
    weights = sum(p.numel() for p in unet.parameters()) * each
    kept = sum(p.numel() for p in autoencoder.parameters()) * 4 + PROGRAM
    if memory == "low":
        return int(kept + max(weights + denoise, decode))
    return int(kept + weights + max(denoise, decode))


def _sample(config: ModelConfig, dtype: torch.dtype) -> int:
    """Bytes for a sample in the U-Net."""
    x, y, z = config.latent.shape[1:]
    return x * y * z * config.unet.channels[0] * ACTIVATIONS * dtype.itemsize


def batch_size(config: ModelConfig, device: torch.device, dtype: torch.dtype) -> int:
    """How many samples to denoise at a time: half of the free memory, within `BATCHES`."""
    free = available(device)
    most = BATCHES[device.type]
    return most if free is None else max(1, min(most, free // 2 // _sample(config, dtype)))


def available(device: torch.device) -> int | None:
    """Bytes that can still be had on a device; None where nobody can tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return int(psutil.virtual_memory().available) if device.type == "cpu" else None


def pick_memory(name: str, config: ModelConfig, device: torch.device, dtype: torch.dtype) -> Memory:
    """The mode called "auto" (normal where that fits, else low), "normal" or "low".

    Raises:
        UsageError: another name.
    """
    if name not in MODES:
        raise UsageError(f"Unknown memory {name!r}: expected one of {', '.join(MODES)}.")
    if name == "low":
        return "low"
    free = available(device)
    fits = name == "normal" or free is None or estimate(config, dtype, "normal") <= free
    return "normal" if fits else "low"


def shortage(
    config: ModelConfig, device: torch.device, dtype: torch.dtype, memory: Memory
) -> str | None:
    """A warning if the memory will probably not suffice, else None."""
    free, needed = available(device), estimate(config, dtype, memory)
    if free is None or needed <= free:
        return None
    advice = "Close other programs" if memory == "low" else "Choose memory low"
    return (
        f"Generating needs about {needed / 1e9:.1f} GB of memory and {device} has "
        f"{free / 1e9:.1f} GB left: it may be stopped for lack of memory. {advice}, or use a "
        "machine with more."
    )
