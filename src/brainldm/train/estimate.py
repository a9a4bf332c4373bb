"""What a training will take, told before it begins: networks are run without memory (meta)."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from brainldm.dataset.prepared import PreparedData
from brainldm.errors import UsageError
from brainldm.models.device import pick_device, pick_dtype
from brainldm.models.memory import PROGRAM
from brainldm.train.checkpointing import BLOCKS
from brainldm.train.loop_settings import Running, Training
from brainldm.train.phases import Course
from brainldm.train.presets import explained
from brainldm.train.segmenter_settings import SegmenterSettings
from brainldm.train.settings import AutoencoderSettings, DecoderSettings, DiffusionSettings

HeadSettings = TypeVar("HeadSettings", AutoencoderSettings, DiffusionSettings, DecoderSettings)
Settings = TypeVar(
    "Settings", AutoencoderSettings, DiffusionSettings, DecoderSettings, SegmenterSettings
)

LONG = 14 * 86400.0
"""Seconds of a run beyond which a warning is due."""
STATE_BYTES = 16
"""A parameter's value, gradient and two moments of Adam, in float32; its average is 4 more."""


def describe(
    heads: PreparedData,
    course: Course[HeadSettings],
    network: nn.Module,
    inputs: Sequence[tuple[Tensor, ...]],
    device_name: str,
    count: int,
    note: str,
) -> str:
    """The settings of a stage that learns from prepared heads, and what they take.

    Args:
        heads: to learn from.
        course: as of `describe_run`; `network`, `inputs`, `device_name` and `note` too.
        count: how many samples there are, held-out ones too.
    """
    data = f"{len(heads)} heads of {' x '.join(map(str, heads.grid.shape))} voxels"
    learned = count * (1 - course.settings.training.held_out)
    return describe_run(data, course, network, inputs, device_name, learned, note)


def describe_run(
    data: str,
    course: Course[Settings],
    network: nn.Module,
    inputs: Sequence[tuple[Tensor, ...]],
    device_name: str,
    count: float,
    note: str = "",
) -> str:
    """The settings of a stage, and what they take.

    Args:
        data: what is learned from, in words.
        course: the settings.
        network: on the meta device.
        inputs: of the network for one sample, likewise, in each phase.
        device_name: where it is to run.
        count: how many heads there are to learn from.
        note: stands after the number of parameters.
    """
    training, run = course.settings.training, course.settings.run
    device = pick_device(device_name)
    dtype = pick_dtype(training.precision, device)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    number = sum(p.numel() for p in network.parameters())
    work, drawn, memory, largest = 0.0, 0, 0.0, 0
    for span, each in zip(course.spans, inputs, strict=True):
        own = span.settings.training
        flops, activations = measure(network, each, run.checkpointing)
        samples = span.steps * own.batch_size
        # Backward takes twice the forward pass, and checkpointing one more.
        work += flops * (4 if run.checkpointing else 3) * samples
        drawn += samples * len(each[0])
        memory = max(memory, _memory(number, activations, dtype, own, run, processes))
        largest = max(largest, activations)
    peak = _peak(device, dtype)
    return (
        f"{explained(course.settings)}\n\n"
        f"Parameters: {number:,}{note}\n"
        f"Data: {data}, each seen {drawn / count:.3g} times\n"
        f"Memory: about {memory / 1e9:.1f} GB a process, {largest / 1e9:.2f} GB of it for the "
        f"activations of a sample in float32\n"
        f"Time: {_duration(work / peak / processes)} at least, {work / training.steps / 1e12:.3g} "
        f"TFLOP a step at the {peak / 1e12:.2g} TFLOP/s that {device} reaches in {dtype}\n"
        "Nothing was trained or written."
    )


def warn_of_length(
    course: Course[Settings], network: nn.Module, inputs: Sequence[tuple[Tensor, ...]], device: str
) -> None:
    """Say before it begins that a run takes longer than anybody waits.

    Args:
        course: the settings.
        network: on the meta device.
        inputs: of the network for one sample, likewise, in each phase.
        device: where it is to run.

    Warns:
        UserWarning: it takes more than `LONG`.
    """
    place = pick_device(device)
    dtype = pick_dtype(course.settings.training.precision, place)
    passes = 4 if course.settings.run.checkpointing else 3
    work = sum(
        measure(network, each, False)[0] * passes * span.steps * span.settings.training.batch_size
        for span, each in zip(course.spans, inputs, strict=True)
    )
    seconds = work / _peak(place, dtype) / int(os.environ.get("WORLD_SIZE", "1"))
    if seconds > LONG:
        warnings.warn(
            f"This run takes {_duration(seconds)} at least on {place}, from its first step to its "
            "last. Choose fewer steps (--set training.steps=N), a smaller preset or a GPU; "
            "--dry-run shows what it takes.",
            stacklevel=2,
        )


def check_preset(heads: PreparedData, run: Running) -> None:
    """Refuse settings that are for voxels of another size than the data's.

    Raises:
        UsageError: they are.
    """
    sizes = [f"{side:.3g}" for side in heads.grid.spacing]
    if run.voxel_mm and any(abs(side / run.voxel_mm - 1) > 0.1 for side in heads.grid.spacing):
        raise UsageError(
            f"The settings are for voxels of {run.voxel_mm:g} mm, and {heads.folder} has "
            f"{' x '.join(sizes)} mm: expected the same. Choose another preset, prepare the data "
            "for another model, or take them as they are with --set run.voxel_mm=null."
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
