"""What a run of stage 2 makes of data, settings and models: configuration, network, samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from brainldm.checkpoint import LoadedModel, load_into
from brainldm.config import USUAL_SAMPLER, LatentConfig, ModelConfig, Variable
from brainldm.dataset.prepared import PreparedData
from brainldm.errors import UsageError
from brainldm.models.sizes import check_sides
from brainldm.models.unet import DiffusionUNet
from brainldm.segment.segmenter import segmenter
from brainldm.train.checkpointing import checkpoint_blocks
from brainldm.train.covariates import Covariates
from brainldm.train.diffusion import Teacher, learn_all_but_idle
from brainldm.train.fidelity import ConditionReader
from brainldm.train.finetune import add_lora, extend_conditions
from brainldm.train.first_stage import Description, FirstStage
from brainldm.train.latent_samples import NULL_CONTEXT
from brainldm.train.latents import Encoded
from brainldm.train.phases import Course
from brainldm.train.sample import Sampler
from brainldm.train.settings import About, DiffusionSettings

READ_FROM = 1000
"""Heads that the reading of conditions is learned from, at most."""


def pick_autoencoder(autoencoder: str | Path | None, source: str | Path | None) -> str | Path:
    """The autoencoder to use: a run or a model, by default that to start from.

    Raises:
        UsageError: none was named.
    """
    chosen = autoencoder or source
    if chosen is None:
        raise UsageError(
            "Expected an autoencoder: the folder of a finished `brainldm train autoencoder`, or a "
            "model such as demo (--autoencoder), or a model to start from (--from)."
        )
    return chosen


def check_voxels(heads: PreparedData, first: Description) -> None:
    """Refuse data in other voxels than the autoencoder's, or of sides that it cannot take.

    Raises:
        UsageError: they are.
    """
    ours, theirs = (torch.tensor(affine)[:3, :3] for affine in (heads.grid.affine, first.affine))
    if not torch.allclose(ours, theirs, atol=1e-3):
        raise UsageError(
            f"{heads.folder} has voxels {_size(ours)}, and the autoencoder was trained on "
            f"{_size(theirs)} along their axes: expected the same. Prepare the data for this "
            "autoencoder, or train another one."
        )
    check_sides(heads.grid.shape, first.autoencoder.factor, f"{heads.folder}: each image")


def _size(matrix: Tensor) -> str:
    return " x ".join(f"{value:g}" for value in matrix.norm(dim=0)) + " mm"


def model_config(
    heads: PreparedData,
    first: Description,
    settings: DiffusionSettings,
    covariates: Covariates,
    base: ModelConfig | None,
    name: str,
) -> ModelConfig:
    """What the model will be, but for the latent's scale, which is measured.

    Args:
        heads: to learn from.
        first: the autoencoder.
        settings: of the stage.
        covariates: of the heads.
        base: the model to start from.
        name: of the model, if the settings have none.

    Raises:
        UsageError: these do not make a model.
    """
    channels, count = first.autoencoder.latent_channels, covariates.context.shape[1]
    if base:
        widths = {"in_channels": channels + count, "context_dim": count}
        unet = base.unet.model_copy(update=widths)
    else:
        unet = settings.network.complete(channels, count)
    x, y, z = (side // first.autoencoder.factor for side in heads.grid.shape)
    latent = LatentConfig(shape=(channels, x, y, z), scale=base.latent.scale if base else 1.0)
    check_sides(latent.shape[1:], unet.factor, "The latent of these images")
    dropped = any(span.settings.condition_dropout for span in Course(settings).spans)
    try:
        return ModelConfig(
            name=settings.about.name or name,
            autoencoder=first.autoencoder,
            unet=unet,
            schedule=base.schedule if base else settings.schedule,
            latent=latent,
            conditions=covariates.variables,
            affine=heads.grid.affine,
            shape=heads.grid.shape,
            provenance=_provenance(heads, settings.about, len(covariates.index), base),
            null_context=NULL_CONTEXT if dropped else None,
            sampler=settings.sampler or (base.sampler if base else USUAL_SAMPLER),
        )
    except ValidationError as error:
        problems = "; ".join(each["msg"] for each in error.errors())
        raise UsageError(
            f"These settings do not make a model: {problems}. Look at --from, --autoencoder and "
            "the data."
        ) from error


def _provenance(
    heads: PreparedData, about: About, count: int, base: ModelConfig | None
) -> dict[str, str]:
    """What the settings say of the model, and where they are silent what is known."""
    known = {
        "description": "Latent diffusion model of T1-weighted heads, trained on "
        + heads.folder.resolve().name
        + (f", from {base.name}" if base else ""),
        "training_data": f"{count} heads prepared with brainldm",
        "licence": "not stated: the terms of the training data"
        + (f" and of {base.name} ({base.provenance['licence']})" if base else "")
        + " apply",
        "limitations": "For research; not for diagnosis. Knows only the people and scanners of its "
        "training data.",
    }
    return known | about.model_dump(exclude={"name"}, exclude_none=True)


def taught(settings: DiffusionSettings) -> bool:
    """Whether a phase learns from the model that training starts from."""
    return any(span.settings.taught for span in Course(settings).spans)


def check_teacher(
    settings: DiffusionSettings,
    config: ModelConfig,
    base: ModelConfig | None,
    same_latents: bool,
) -> None:
    """Refuse to learn from a model what it cannot teach.

    Raises:
        UsageError: there is none, its conditions or latents are others, guidance by one that was
            trained without condition dropout, or emphasis on what is no condition with a unit.
    """
    if not taught(settings):
        return
    phases = [span.settings for span in Course(settings).spans]
    guided = any(each.guidance is not None for each in phases)
    if base is None or (guided and base.null_context is None):
        raise UsageError(
            "guidance is learned from the model to start from: expected one (--from) that was "
            "trained with condition_dropout."
            if guided
            else "emphasis and centre are learned from the model to start from: expected one "
            "(--from)."
        )
    if config.conditions != base.conditions or not same_latents:
        raise UsageError(
            "guidance, emphasis and centre are learned from the model to start from: expected its "
            "conditions, in its order, and its autoencoder. Leave out --condition and "
            "--autoencoder."
        )
    known = {each.name: each for each in base.conditions if each.labels is None}
    for name, emphasis in ((k, v) for each in phases for k, v in each.emphasis.items()):
        for each in (name, *emphasis.along):
            if each not in known:
                raise UsageError(
                    f"emphasis has {each}: expected conditions of {base.name} that are numbers: "
                    f"{', '.join(known)}."
                )
        low, high = known[name].low, known[name].high
        if not low <= emphasis.against <= high:
            raise UsageError(
                f"emphasis.{name}.against is {emphasis.against:g}: expected a value of its range, "
                f"{low:g} to {high:g} {known[name].unit}."
            )


def new_teacher(model: LoadedModel) -> Teacher:
    """A finished model, to be learned from."""
    network = DiffusionUNet(model.config.unet)
    load_into(network, model.unet, "the U-Net")
    null = model.config.null_context
    network.requires_grad_(False)
    conditions = model.config.conditions
    return Teacher(network, conditions, float("nan") if null is None else null)


def new_unet(
    config: ModelConfig,
    weights: dict[str, Tensor] | None,
    known: Sequence[Variable],
    lora: int | None,
    settings: DiffusionSettings,
) -> nn.Module:
    """The network that learns.

    Args:
        config: of the model.
        weights: of the U-Net to start from, if any.
        known: its conditions.
        lora: the rank of low-rank changes, None to learn all weights.
        settings: of the stage.
    """
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
    encoded: Encoded,
    learn: Sequence[int],
    settings: DiffusionSettings,
) -> Sampler:
    """Heads of the conditions of some that it learns from, evenly among them."""
    read_from = _some(learn, READ_FROM)
    asked = encoded.context[_some(learn, settings.run.samples)]
    z0 = torch.stack([encoded.z0(head) for head in read_from])
    reader = ConditionReader(z0, encoded.context[read_from])
    run = settings.run
    measures = segmenter(run.segmenter)
    return Sampler(config, first.network, asked, run.sample_steps, reader, measures)


def _some(indices: Sequence[int], count: int) -> list[int]:
    """At most `count` of them, evenly spread."""
    count = min(count, len(indices))
    return [indices[i * len(indices) // count] for i in range(count)]
