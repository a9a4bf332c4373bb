"""The demo model from nothing: `python -m brainldm.train.demo --out build/demo-model`.

Simulates a cohort, trains both networks on the CPU and writes the model to OUT/model. Every stage
resumes where an interrupted run stopped.
"""

from __future__ import annotations

import argparse
import datetime
import io
from pathlib import Path

import torch
from torch import Tensor

from brainldm.checkpoint import save_model
from brainldm.conditions import ConditionRanges
from brainldm.config import (
    AutoencoderConfig,
    Bernoulli,
    LatentConfig,
    ModelConfig,
    ScheduleConfig,
    UNetConfig,
    Uniform,
    Variable,
)
from brainldm.data.simulated import load_cohort, make_cohort
from brainldm.data.simulation import Grid
from brainldm.files import write_together
from brainldm.models.autoencoder import AutoencoderKL
from brainldm.models.unet import DiffusionUNet
from brainldm.sampling.schedules import Schedule
from brainldm.train.autoencoder import new_autoencoder, train_autoencoder
from brainldm.train.diffusion import encode_all, train_diffusion
from brainldm.train.fit import Recipe

SUBJECTS = range(600)
CROP = (48, 56, 48)
ON_CROPS = Recipe(steps=2395, learning_rate=6e-4, fall=0, ema_decay=0.998, beta2=0.99)
ON_WHOLE = Recipe(steps=2200, learning_rate=4e-4, warmup=50, ema_decay=0.998, seed=1)
DIFFUSION = Recipe(steps=11000, learning_rate=8e-4, fall=0.25)
PAIRS = 2


def _uniform(name: str, unit: str, low: float, high: float) -> Variable:
    source = "uniform over the range, as the simulated cohort aims at"
    return Variable(name=name, unit=unit, low=low, high=high, distribution=Uniform(source=source))


CONFIG = ModelConfig(
    name="demo",
    autoencoder=AutoencoderConfig(
        channels=(16, 32, 64), latent_channels=4, num_res_blocks=1, norm_num_groups=16
    ),
    unet=UNetConfig(
        in_channels=8,
        out_channels=4,
        channels=(48, 80, 112),
        num_res_blocks=1,
        attention_levels=(False, True, True),
        num_head_channels=(0, 80, 112),
        norm_num_groups=16,
    ),
    # Ends in nearly pure noise (alpha 0.002): conditions act on the whole image, and an image that
    # shows through at the last timestep teaches the network to read it instead of them.
    schedule=ScheduleConfig(beta_end=0.03, prediction="v"),
    latent=LatentConfig(shape=(4, 20, 28, 20)),
    conditions=(
        Variable(
            name="sex",
            kind="category",
            labels=("F", "M"),
            distribution=Bernoulli(probability=0.5, source="the simulated cohort"),
        ),
        _uniform("age", "years", 44, 82),
        _uniform("ventricular_volume_ml", "mL", 10, 75),
        _uniform("brain_volume_ml", "mL", 1270, 1620),
    ),
    # The published model's field of view in 2 mm voxels.
    affine=(
        (-2, 0, 0, 79.98149872),
        (0, 2, 0, -124.97715759),
        (0, 0, 2, -60.05375671),
        (0, 0, 0, 1),
    ),
    shape=(80, 112, 80),
    provenance={
        "description": "Demo model of simulated heads at 2 mm, for trying the software: simulated, "
        "not for research",
        "training_data": f"{2 * len(SUBJECTS)} heads simulated from the MNI152 2009a template and "
        "tissue maps that nilearn ships; no scan of a person",
        "licence": "Apache-2.0",
        "limitations": "Not for research, nor for anything about real people. Every cortex is a "
        "deformed MNI152 template; sex and age act only through the size of the head, volumes and "
        "contrast, by assumption.",
    },
)
GRID = Grid(CONFIG.shape, CONFIG.affine)


def build(out: Path) -> None:
    """Run every stage that OUT does not have yet, and write OUT/model."""
    _log(f"Simulating {2 * len(SUBJECTS)} heads")
    make_cohort(out / "cohort", SUBJECTS, GRID, _count)
    images, conditions = load_cohort(out / "cohort", SUBJECTS)
    context = torch.from_numpy(
        ConditionRanges(CONFIG.conditions).normalise(conditions, extrapolate=True)
    )

    autoencoder = new_autoencoder(CONFIG.autoencoder, ON_CROPS.seed)
    for recipe, crop, state in (
        (ON_CROPS, CROP, "autoencoder-crops.state"),
        (ON_WHOLE, None, "autoencoder.state"),
    ):
        autoencoder = train_autoencoder(
            autoencoder, images, recipe, crop=crop, state=out / state, log=_log
        )
    latents = _encoded(out / "latents.pt", autoencoder, images)
    scale = 1 / latents.std().item()

    torch.manual_seed(DIFFUSION.seed)
    schedule = CONFIG.schedule
    unet = train_diffusion(
        DiffusionUNet(CONFIG.unet),
        latents * scale,
        context.repeat(2, 1),  # a mirrored head keeps its conditions
        Schedule.scaled_linear(
            schedule.num_train_timesteps, schedule.beta_start, schedule.beta_end
        ),
        DIFFUSION,
        pairs=PAIRS,
        state=out / "diffusion.state",
        log=_log,
    )
    save(out / "model", autoencoder, unet, scale)
    _log(f"The model is in {out / 'model'}")


def save(folder: Path, autoencoder: AutoencoderKL, unet: DiffusionUNet, scale: float) -> None:
    """Write the model in half precision, which halves its size and costs nothing visible."""
    latent = LatentConfig(shape=CONFIG.latent.shape, scale=scale)
    config = CONFIG.model_copy(update={"latent": latent})
    states = [
        {name: tensor.half() for name, tensor in network.state_dict().items()}
        for network in (autoencoder, unet)
    ]
    save_model(folder, config, *states)


def _encoded(path: Path, autoencoder: AutoencoderKL, images: Tensor) -> Tensor:
    """The latents of `encode_all`, kept in a file."""
    if not path.exists():
        content = io.BytesIO()
        torch.save(encode_all(autoencoder, images, _log), content)
        write_together({path: content.getvalue()})
    latents: Tensor = torch.load(path, weights_only=True)
    return latents


def _count(heads: int) -> None:
    if heads % 50 == 0:
        _log(f"{heads} heads")


def _log(line: str) -> None:
    print(f"{datetime.datetime.now():%H:%M:%S}  {line}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/demo-model"))
    build(parser.parse_args().out)
