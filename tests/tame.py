"""A toy model that can be walked up and down, and a head for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from brainldm import BrainLDM, Volume
from tests.toy import write_toy_model


def tame_model(toy_directory: Path) -> BrainLDM:
    """A toy model whose network says little: the walk up of a wild one has no end."""
    networks = BrainLDM.from_pretrained(toy_directory, device="cpu", dtype="float32").networks
    for parameter in networks.unet.out.parameters():
        parameter *= 0.1
    schedule = networks.config.schedule.model_copy(update={"prediction": "v"})
    networks.config = networks.config.model_copy(update={"schedule": schedule})
    return BrainLDM(networks)


def write_tame_model(directory: Path) -> Path:
    """Save such a model."""
    write_toy_model(directory / "wild")
    tame_model(directory / "wild").save_pretrained(directory / "tame")
    return directory / "tame"


def head(model: BrainLDM, size: float = 60.0) -> Volume:
    """A ball in the middle of the model's grid, of a radius in mm."""
    x, y, z = model.grid.points()
    far = np.sqrt(x**2 + (y / 1.2) ** 2 + z**2)
    return Volume((0.9 / (1 + np.exp((far - size) / 4))).astype(np.float32), model.affine)
