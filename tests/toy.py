"""A model of toy size with random weights: the same code paths in a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from brainldm.checkpoint import load_model, save_model
from brainldm.conditions import Conditions
from brainldm.config import (
    AutoencoderConfig,
    LatentConfig,
    ModelConfig,
    UNetConfig,
    Variable,
    published_config,
)
from brainldm.models.autoencoder import AutoencoderKL
from brainldm.models.unet import DiffusionUNet
from brainldm.train.presets import load_settings
from brainldm.train.settings import DiffusionSettings

PUBLISHED = published_config()
SHAPE = (32, 48, 32)
VOXEL = 5.0
PERSON = Conditions(sex="F", age=65, ventricular_volume_ml=30, brain_volume_ml=1450)


def relative(a: np.ndarray, b: np.ndarray) -> float:
    """How far a is from b, as a part of b."""
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def toy_unet(latent_channels: int, conditions: int) -> UNetConfig:
    """The network of the preset "tiny"."""
    network = load_settings("tiny", DiffusionSettings).network
    return network.complete(latent_channels, conditions)


def lively_unet(latent_channels: int, conditions: int) -> DiffusionUNet:
    """A toy network with no layer of zeros, which would hide what comes before it."""
    network = DiffusionUNet(toy_unet(latent_channels, conditions))
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return network


def toy_config(conditions: tuple[Variable, ...] = PUBLISHED.conditions) -> ModelConfig:
    """5 mm voxels about the origin, a latent of (3, 16, 24, 16)."""
    numbers = sum(len(variable.columns) for variable in conditions)
    return PUBLISHED.model_copy(
        update={
            "name": "toy",
            "conditions": conditions,
            "autoencoder": AutoencoderConfig(channels=(8, 8), num_res_blocks=1, norm_num_groups=4),
            "unet": toy_unet(3, numbers),
            "latent": LatentConfig(shape=(3, *(side // 2 for side in SHAPE)), scale=0.5),
            "shape": SHAPE,
            "affine": (
                (-VOXEL, 0, 0, VOXEL * (SHAPE[0] - 1) / 2),
                (0, VOXEL, 0, -VOXEL * (SHAPE[1] - 1) / 2),
                (0, 0, VOXEL, -VOXEL * (SHAPE[2] - 1) / 2),
                (0, 0, 0, 1),
            ),
            "provenance": {"description": "Random weights, for tests", "licence": "Apache-2.0"},
        }
    )


def write_toy_model(
    directory: Path, conditions: tuple[Variable, ...] = PUBLISHED.conditions
) -> Path:
    """Save a toy model, the same one every time, as a directory of ours."""
    config = toy_config(conditions)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        networks = AutoencoderKL(config.autoencoder), DiffusionUNet(config.unet)
        # Zero-initialised layers would hide whether what is before them works.
        for network in networks:
            for parameter in network.parameters():
                if not parameter.any():
                    torch.nn.init.normal_(parameter, std=0.1)
    save_model(directory, config, networks[0].state_dict(), networks[1].state_dict())
    return directory


def states(model: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights of a saved model."""
    loaded = load_model(model)
    return loaded.autoencoder, loaded.unet
