"""What of a run is kept: networks, averages and optimisers in one file that appears whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.distributed.checkpoint.state_dict import (
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from brainldm.checkpoint.archive import check_archive
from brainldm.errors import ModelError, StorageError
from brainldm.files import write_aside
from brainldm.train.learner import WHOLE, Learner

if TYPE_CHECKING:
    from accelerate import Accelerator


def save_state(
    path: Path, step: int, learners: Mapping[str, Learner], accelerator: Accelerator
) -> None:
    """Write the state after a step, in place of an earlier one.

    Raises:
        StorageError: it cannot be written; the earlier one is kept.
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
        ModelError: the file is damaged or of other networks.
    """
    if not path.exists():
        return 0
    try:
        check_archive(path)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        for name, learner in learners.items():
            if learner.mean:
                set_model_state_dict(learner.network, content[f"{name} average"], options=WHOLE)
                learner.swap()
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
        raise ModelError(
            f"Cannot resume from {path}: {str(error).splitlines()[0] if str(error) else error!r}. "
            "Expected the state of a run with these settings. Remove the file to start again from "
            "nothing."
        ) from error


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """Write it bit by bit, without a copy in memory."""
    try:
        with write_aside(path) as file:
            torch.save(dict(content), file)
    except (StorageError, RuntimeError) as error:  # torch.save's other way to say "disk full"
        earlier = "The earlier one is kept. " if path.exists() else ""
        raise StorageError(
            f"Cannot write the state of training {path}: {error.__cause__ or error}. {earlier}Free "
            "some space and start the same command again."
        ) from error
