"""What a run of stage 2 makes of data, settings and models: configuration, network, samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from brainldm.checkpoint import load_into
from brainldm.config import LatentConfig, ModelConfig, Variable
from brainldm.dataset.prepared import PreparedData
from brainldm.errors import BrainLDMError
from brainldm.models.sizes import check_sides
from brainldm.models.unet import DiffusionUNet
from brainldm.train.checkpointing import checkpoint_blocks
from brainldm.train.covariates import Covariates
from brainldm.train.diffusion import NULL_CONTEXT, explained_weight, learn_all_but_idle
from brainldm.train.fidelity import ConditionReader
from brainldm.train.finetune import add_lora, extend_conditions
from brainldm.train.folder import FirstStage, load_first_stage
from brainldm.train.latents import Latents
from brainldm.train.sample import Sampler
from brainldm.train.settings import DiffusionSettings

READ_FROM = 1000
"""Heads that the reading of conditions is learned from, at most."""


def first_stage(autoencoder: str | Path | None, source: str | Path | None) -> FirstStage:
    """The autoencoder to use: a run's or a model's, by default that of `source`."""
    chosen = autoencoder or source
    if chosen is None:
        raise BrainLDMError(
            "Expected an autoencoder: the folder of a finished `brainldm train autoencoder`, or a "
            "model such as demo (--autoencoder), or a model to start from (--from)."
        )
    return load_first_stage(chosen)


def check_voxels(heads: PreparedData, first: FirstStage) -> None:
    """Refuse data in other voxels than the autoencoder's, or of sides that it cannot take."""
    ours, theirs = (torch.tensor(affine)[:3, :3] for affine in (heads.affine, first.affine))
    if not torch.allclose(ours, theirs, atol=1e-3):
        raise BrainLDMError(
            f"{heads.folder} has voxels {_size(ours)}, and the autoencoder was trained on "
            f"{_size(theirs)} along their axes: expected the same. Prepare the data for this "
            "autoencoder, or train another one."
        )
    check_sides(heads.shape, first.config.factor, f"{heads.folder}: each image")


def _size(matrix: Tensor) -> str:
    return " x ".join(f"{value:g}" for value in matrix.norm(dim=0)) + " mm"


def model_config(
    heads: PreparedData,
    first: FirstStage,
    settings: DiffusionSettings,
    covariates: Covariates,
    base: ModelConfig | None,
    name: str,
) -> ModelConfig:
    """What the model will be, but for the latent's scale, which is measured."""
    channels, count = first.config.latent_channels, covariates.context.shape[1]
    if base:
        widths = {"in_channels": channels + count, "context_dim": count}
        unet = base.unet.model_copy(update=widths)
    else:
        unet = settings.network.complete(channels, count)
    x, y, z = (side // first.config.factor for side in heads.shape)
    latent = LatentConfig(shape=(channels, x, y, z), scale=base.latent.scale if base else 1.0)
    check_sides(latent.shape[1:], unet.factor, "The latent of these images")
    provenance = {
        "description": "Latent diffusion model of T1-weighted heads, trained on "
        + heads.folder.name
        + (f", from {base.name}" if base else ""),
        "training_data": f"{len(covariates.index)} heads prepared with brainldm",
        "licence": "not stated: the terms of the training data"
        + (f" and of {base.name} ({base.provenance['licence']})" if base else "")
        + " apply",
        "limitations": "For research; not for diagnosis. Knows only the people and scanners of its "
        "training data.",
    }
    null = NULL_CONTEXT if settings.condition_dropout else None
    try:
        return ModelConfig(
            name=name,
            autoencoder=first.config,
            unet=unet,
            schedule=base.schedule if base else settings.schedule,
            latent=latent,
            conditions=covariates.variables,
            affine=heads.affine,
            shape=heads.shape,
            provenance=provenance,
            null_context=null,
        )
    except ValidationError as error:
        problems = "; ".join(each["msg"] for each in error.errors())
        raise BrainLDMError(
            f"These settings do not make a model: {problems}. Look at --from, --autoencoder and "
            "the data."
        ) from error


def new_unet(
    config: ModelConfig,
    weights: dict[str, Tensor] | None,
    known: Sequence[Variable],
    lora: int | None,
    settings: DiffusionSettings,
) -> nn.Module:
    """The network that learns."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.training.seed)
        network: nn.Module = DiffusionUNet(config.unet)
        if weights:
            channels = config.autoencoder.latent_channels
            names = [[c for v in each for c in v.columns] for each in (known, config.conditions)]
            load_into(network, extend_conditions(weights, channels, *names), "the U-Net")
        learn_all_but_idle(network)
        if lora is not None:
            network = add_lora(network, lora)
    if settings.run.checkpointing:
        checkpoint_blocks(network)
    return network


def new_sampler(
    config: ModelConfig,
    first: FirstStage,
    latents: Latents,
    context: Tensor,
    learn: Sequence[int],
    settings: DiffusionSettings,
) -> Sampler:
    """Heads of the conditions of some that it learns from, evenly among them."""
    read_from = _some(learn, READ_FROM)
    asked = context[_some(learn, settings.run.samples)]
    z = torch.stack([latents[i][0] for i in read_from]) * config.latent.scale
    reader = ConditionReader(z, context[read_from])
    return Sampler(config, first.network, asked, settings.run.sample_steps, reader)


def _some(indices: Sequence[int], count: int) -> list[int]:
    """At most `count` of them, evenly spread."""
    count = min(count, len(indices))
    return [indices[i * len(indices) // count] for i in range(count)]


def voxel_weight(latents: Latents, scale: float, context: Tensor, learn: Sequence[int]) -> Tensor:
    """How much each voxel counts, by the latents learned from: `explained_weight`."""
    values = torch.stack([latents[i] for i in learn]) * scale
    orientations = values.shape[1]
    return explained_weight(
        values.flatten(0, 1), context[list(learn)].repeat_interleave(orientations, 0)
    )
