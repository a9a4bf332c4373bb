"""The demo model from nothing: `python -m brainldm.demo.model --out build/demo-model`.

Simulates a cohort, trains both networks on the CPU and writes the model to OUT/model. Every stage
resumes where an interrupted run stopped.
"""

from __future__ import annotations

import argparse
import datetime
import os
import time
from collections.abc import Callable, Mapping
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
from brainldm.image.grid import Grid
from brainldm.models.autoencoder import AutoencoderKL
from brainldm.models.unet import DiffusionUNet
from brainldm.simulate.cohort import load_cohort, make_cohort
from brainldm.train.autoencoder import AutoencoderStage, new_autoencoder
from brainldm.train.diffusion import DiffusionStage, explained_weight, learn_all_but_idle
from brainldm.train.fit import accelerated, fit
from brainldm.train.latents import encode_all
from brainldm.train.monitor import Monitor
from brainldm.train.settings import (
    AutoencoderSettings,
    DiffusionSettings,
    Training,
    load_settings,
)
from brainldm.train.stage import Stage

SUBJECTS = range(600)
WHOLE_HEADS = (
    "loss.kl=6.7e-10",  # 3e-5 a latent number
    "training.steps=1800",
    "training.learning_rate=4e-4",
    "training.warmup=50",
    "training.fall=0.5",
    "training.beta2=0.999",
    "training.seed=1",
    "training.held_out=0",
    "training.precision=bfloat16",
)
CROPS = (
    *WHOLE_HEADS,
    "crop=[48, 56, 48]",
    "loss.kl=3.7e-9",
    "training.steps=6000",
    "training.learning_rate=6e-4",
    "training.warmup=200",
    "training.fall=0",
    "training.beta2=0.99",
    "training.seed=0",
)
DIFFUSION = (
    "timestep_power=2",
    "training.batch_size=2",  # subjects with their twins
    "training.held_out=0",
    "training.precision=bfloat16",
)
# Goes on from there, the rate falling to nothing: the brain's slope rises (docs/lab-book.md).
SHARPEN = (
    *DIFFUSION,
    "training.steps=7000",
    "training.learning_rate=4e-4",
    "training.fall=1",
    "training.seed=1",
)


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
GRID = Grid.of(CONFIG.shape, CONFIG.affine)


def build(out: Path) -> None:
    """Run every stage that OUT does not have yet, and write OUT/model."""
    _log(f"Simulating {2 * len(SUBJECTS)} heads")
    make_cohort(out / "cohort", SUBJECTS, GRID, _count, os.cpu_count() or 1)
    images, conditions = load_cohort(out / "cohort", SUBJECTS)
    context = torch.from_numpy(
        ConditionRanges(CONFIG.conditions).normalise(conditions, extrapolate=True)
    )

    def load(head: int) -> Tensor:
        return images[head].float() / 255

    heads = range(len(images))
    names = [f"head {head // 2}{' (twin)' * (head % 2)}" for head in heads]
    autoencoder = new_autoencoder(CONFIG.autoencoder, seed=0)
    # Crops are much quicker, but group norms average over all that they see: whole heads come last.
    for changes, state in ((CROPS, "autoencoder-crops.pt"), (WHOLE_HEADS, "autoencoder.pt")):
        settings1 = load_settings("demo-2mm", AutoencoderSettings, changes)
        stage1 = AutoencoderStage(autoencoder, load, heads, (), names, settings1, CONFIG.affine)
        autoencoder.load_state_dict(_trained(stage1, settings1.training, out / state))

    first, sharpen = (
        load_settings("demo-2mm", DiffusionSettings, changes) for changes in (DIFFUSION, SHARPEN)
    )
    with accelerated(first.training, "cpu") as accelerator:
        latents = encode_all(
            autoencoder, load, len(images), first.flip, out / "latents", accelerator
        )
    scale = 1 / latents.deviation(heads)
    values = torch.stack([latents[head] for head in heads]) * scale
    both = values.shape[1]  # a mirrored head keeps its conditions
    weight = explained_weight(values.flatten(0, 1), context.repeat_interleave(both, 0))
    torch.manual_seed(first.training.seed)
    unet = DiffusionUNet(CONFIG.unet)
    learn_all_but_idle(unet)
    for settings2, state in ((first, "diffusion.pt"), (sharpen, "diffusion-sharp.pt")):
        stage2 = DiffusionStage(
            unet, latents, scale, context, heads, (), names, settings2, twins=2, weight=weight
        )
        unet.load_state_dict(_trained(stage2, settings2.training, out / state))
    save(out / "model", autoencoder, unet, scale)
    _log(f"The model is in {out / 'model'}")


def _trained(stage: Stage, training: Training, state: Path) -> Mapping[str, Tensor]:
    with accelerated(training, "cpu") as accelerator:
        return fit(stage, accelerator, state, Monitor(accelerator, _every(30))).weights


def save(folder: Path, autoencoder: AutoencoderKL, unet: DiffusionUNet, scale: float) -> None:
    """Write the model in half precision, which halves its size and costs nothing visible."""
    latent = LatentConfig(shape=CONFIG.latent.shape, scale=scale)
    config = CONFIG.model_copy(update={"latent": latent})
    states = [
        {name: tensor.half() for name, tensor in network.state_dict().items()}
        for network in (autoencoder, unet)
    ]
    save_model(folder, config, *states, overwrite=True)


def _every(seconds: float) -> Callable[[int, int, Mapping[str, float]], None]:
    """Log a step now and then."""
    last = time.monotonic()

    def progress(done: int, total: int, losses: Mapping[str, float]) -> None:
        nonlocal last
        if done == total or time.monotonic() - last > seconds:
            last = time.monotonic()
            _log(f"step {done}/{total}  " + "  ".join(f"{k} {v:.5f}" for k, v in losses.items()))

    return progress


def _count(heads: int) -> None:
    if heads % 50 == 0:
        _log(f"{heads} heads")


def _log(line: str) -> None:
    print(f"{datetime.datetime.now():%H:%M:%S}  {line}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/demo-model"))
    build(parser.parse_args().out)
