"""Accelerate for one run: device, precision, processes, trackers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from brainldm.errors import UsageError, require
from brainldm.models.device import pick_device, pick_dtype
from brainldm.train.loop_settings import Training

if TYPE_CHECKING:
    from accelerate import Accelerator


@contextlib.contextmanager
def accelerated(
    training: Training, device: str = "auto", tracker: str | None = None, folder: Path | None = None
) -> Iterator[Accelerator]:
    """Accelerate for one run; torchrun, Slurm or `accelerate launch` say how many processes.

    Args:
        training: its precision is used, and its optimiser looked at.
        device: "auto", "cpu" or "cuda".
        tracker: "tensorboard", "wandb" or another of Accelerate's; "none" or None for none.
        folder: where the tracker writes, once `init_trackers` is called.

    Raises:
        UsageError: a device that is not there, a precision that it lacks, a tracker that
            Accelerate cannot start, or Muon where processes share the weights.
        MissingExtraError: Accelerate or TensorBoard is not installed.
    """
    require("train", "Training", "accelerate")
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
    from accelerate.utils import DistributedType, ProjectConfiguration

    place = pick_device(device)
    dtype = pick_dtype(training.precision, place)
    precision = {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(dtype, "no")
    log_with = None if tracker in (None, "none") else tracker
    if log_with == "tensorboard":
        require("train", "Logging to TensorBoard", "tensorboard")
    installed = {tracker.value for tracker in get_available_trackers()}
    if log_with in LOGGER_TYPE_TO_CLASS and log_with not in installed:
        raise UsageError(
            f"run.tracker is {log_with}, which is not installed: install its package, or choose "
            "another one, or none."
        )
    # What stays in float32 need not be more exact than the rest.
    torch.backends.cuda.matmul.allow_tf32 = precision != "no"
    torch.backends.cudnn.benchmark = True  # shapes stay the same for thousands of steps
    AcceleratorState._reset_state()  # of an earlier run in this program
    try:
        accelerator = Accelerator(
            mixed_precision=precision,
            cpu=place.type == "cpu",
            log_with=log_with,
            project_config=ProjectConfiguration(project_dir=str(folder) if folder else None),
        )
    except ValueError as error:
        raise UsageError(
            f"Accelerate cannot start: {error}. Expected settings that suit this machine; look at "
            "run.tracker and training.precision."
        ) from error
    try:
        if training.optimiser == "muon" and accelerator.distributed_type is DistributedType.FSDP:
            raise UsageError(
                "training.optimiser is muon, which needs whole matrices, and processes share the "
                "weights (FSDP): expected adamw, or processes that each have all weights."
            )
        yield accelerator
    finally:
        accelerator.end_training()
