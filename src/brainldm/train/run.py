"""Both stages from a prepared data set to a model, each in a folder that a run goes on in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from brainldm.checkpoint import load_model, save_model
from brainldm.config import LatentConfig
from brainldm.dataset.prepared import read_prepared
from brainldm.errors import BrainLDMError
from brainldm.train.autoencoder import AutoencoderStage, check_sizes, new_autoencoder
from brainldm.train.card import autoencoder_card, model_card
from brainldm.train.checkpointing import checkpoint_blocks
from brainldm.train.covariates import read_covariates
from brainldm.train.diffusion import (
    DiffusionStage,
)
from brainldm.train.finetune import merge_lora
from brainldm.train.fit import accelerated, fit
from brainldm.train.folder import (
    DESCRIPTION,
    STATE,
    load_first_stage,
    open_run,
    save_first_stage,
)
from brainldm.train.latents import encode_all
from brainldm.train.model import (
    check_voxels,
    first_stage,
    model_config,
    new_sampler,
    new_unet,
    voxel_weight,
)
from brainldm.train.monitor import Monitor, Progress
from brainldm.train.settings import AutoencoderSettings, DiffusionSettings

Say = Callable[[str], None]


def _quiet(line: str) -> None:
    """Say nothing."""


def split(subjects: Sequence[str], share: float) -> frozenset[str]:
    """The subjects held out: a share of them, one at least if it is above 0.

    Which ones depends on their labels alone, so that both stages hold out the same.
    """
    count = min(max(1, round(share * len(subjects))), len(subjects) - 1) if share else 0
    order = sorted(subjects, key=lambda subject: hashlib.sha256(subject.encode()).digest())
    return frozenset(order[:count])


def train_autoencoder(
    data: str | Path,
    settings: AutoencoderSettings,
    out: str | Path,
    *,
    source: str | Path | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Path:
    """Stage 1: train an autoencoder, or go on with the run that is in `out`.

    Args:
        data: what `brainldm prepare` wrote.
        settings: of the stage; the architecture is that of `source` if there is one.
        out: the run's folder.
        source: a model, or a run of stage 1, to start from.
        device: "auto", "cpu" or "cuda".
        progress: called after each step.

    Returns:
        `out`, which now holds the autoencoder and its card.

    Raises:
        BrainLDMError: anything wrong with the data, the folder or the settings, or a training that
            diverged.
    """
    out, heads = Path(out), read_prepared(data)
    start = load_first_stage(source) if source else None
    if start:
        settings = settings.model_copy(update={"network": start.config})
    check_sizes(heads.shape, settings, f"{heads.folder}: each image")
    heads.check_images()
    configuration = {
        "stage": "autoencoder",
        "settings": settings.model_dump(mode="json", exclude={"run"}),
        "data": heads.digest(),
        "from": start.hash if start else None,
    }
    with accelerated(settings.training, device, settings.run.tracker, out / "logs") as accelerator:
        with accelerator.main_process_first():
            open_run(out, configuration)
        if (out / DESCRIPTION).is_file():
            return out  # it is finished
        accelerator.init_trackers("run")
        network = (
            start.network if start else new_autoencoder(settings.network, settings.training.seed)
        )
        if settings.run.checkpointing:
            checkpoint_blocks(network)
        held_out = split(heads.subjects, settings.training.held_out)
        stage = AutoencoderStage(
            network,
            heads.image,
            [i for i, subject in enumerate(heads.subjects) if subject not in held_out],
            [i for i, subject in enumerate(heads.subjects) if subject in held_out],
            [f"sub-{subject}" for subject in heads.subjects],
            settings,
            heads.affine,
        )
        trained = fit(stage, accelerator, out / STATE, Monitor(accelerator, progress))
        if accelerator.is_main_process:
            card = autoencoder_card(
                heads, held_out, settings, configuration, trained.findings.figures
            )
            save_first_stage(
                out, trained.weights, settings.network, heads.shape, heads.affine, card
            )
        accelerator.wait_for_everyone()
        return out


def train_diffusion(
    data: str | Path,
    settings: DiffusionSettings,
    out: str | Path,
    *,
    autoencoder: str | Path | None = None,
    source: str | Path | None = None,
    conditions: Sequence[str] = (),
    lora: int | None = None,
    device: str = "auto",
    progress: Progress | None = None,
    say: Say = _quiet,
) -> Path:
    """Stage 2: train a diffusion model, or go on with the run that is in `out`.

    Args:
        data: what `brainldm prepare` wrote.
        settings: of the stage; architecture and noise are those of `source` if there is one.
        out: the run's folder.
        autoencoder: a finished run of stage 1, or a model; that of `source` if None.
        source: a model to start from.
        conditions: columns as in `read_covariates`; those of `source`, or the standard four, if
            empty.
        lora: the rank of low-rank changes to learn in place of all weights (Hu et al. 2021,
            2106.09685); None learns them all.
        device: "auto", "cpu" or "cuda".
        progress: called after each step.
        say: takes a line now and then.

    Returns:
        The folder of the finished model, `out`/models.

    Raises:
        BrainLDMError: anything wrong with the data, the folder, the settings or the models, or a
            training that diverged.
    """
    out, heads = Path(out), read_prepared(data)
    first = first_stage(autoencoder, source)
    base = load_model(source, dtype=torch.float32) if source else None
    if lora is not None and not base:
        raise BrainLDMError(
            "LoRA changes a model: expected one to start from (--from) with --lora."
        )
    check_voxels(heads, first)
    known = base.config.conditions if base else ()
    covariates = read_covariates(heads, conditions, known)
    config = model_config(
        heads, first, settings, covariates, base.config if base else None, out.resolve().name
    )
    settings = settings.model_copy(update={"schedule": config.schedule})
    if covariates.left_out:
        say(f"{len(covariates.left_out)} subjects lack a condition and are left out.")
    heads.check_images()

    digest = heads.digest()
    configuration = {
        "stage": "diffusion",
        "settings": settings.model_dump(mode="json", exclude={"run", "network"}),
        "network": config.unet.model_dump(mode="json"),
        "conditions": [variable.model_dump(mode="json") for variable in config.conditions],
        "context": hashlib.sha256(covariates.context.numpy().tobytes()).hexdigest(),
        "data": digest,
        "autoencoder": first.hash,
        "from": base.hash if base else None,
        "lora": lora,
    }
    with accelerated(settings.training, device, settings.run.tracker, out / "logs") as accelerator:
        with accelerator.main_process_first():
            open_run(out, configuration)
        if (out / "models" / "config.json").is_file():
            return out / "models"  # it is finished
        accelerator.init_trackers("run")

        held_out = split(heads.subjects, settings.training.held_out)
        learn = [i for i in covariates.index if heads.subjects[i] not in held_out]
        if not learn:
            raise BrainLDMError(
                f"{heads.folder}: all subjects that have the conditions are held out for "
                "validation, and none is left to learn from. Prepare more scans, choose other "
                "conditions, or change training.held_out."
            )
        precision = accelerator.mixed_precision
        key = f"{first.hash} {digest} {settings.flip} {precision}"
        folder = out / f"latents-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
        say = say if accelerator.is_main_process else _quiet
        say("Encoding heads")
        latents = encode_all(
            first.network, heads.image, len(heads), settings.flip, folder, accelerator
        )
        same = base is not None and autoencoder is None
        scale = config.latent.scale if same else 1 / latents.deviation(learn)
        say(f"Latent scale {scale:g}")
        latent = LatentConfig(shape=config.latent.shape, scale=scale)
        config = config.model_copy(update={"latent": latent})

        context = torch.full((len(heads), config.unet.context_dim), float("nan"))
        context[list(covariates.index)] = covariates.context
        weight = None
        if settings.explained_weight:
            weight = voxel_weight(latents, scale, context, learn)
        stage = DiffusionStage(
            new_unet(config, base.unet if base else None, known, lora, settings),
            latents,
            scale,
            context,
            learn,
            [i for i in covariates.index if heads.subjects[i] in held_out],
            [f"sub-{subject}" for subject in heads.subjects],
            settings,
            weight=weight,
            look=new_sampler(config, first, latents, context, learn, settings),
        )
        trained = fit(stage, accelerator, out / STATE, Monitor(accelerator, progress))
        if accelerator.is_main_process:
            weights = trained.weights
            if lora is not None:
                network = new_unet(config, base.unet if base else None, known, lora, settings)
                network.load_state_dict(weights)
                weights = merge_lora(network).state_dict()
            card = model_card(
                heads,
                covariates,
                held_out,
                settings,
                configuration,
                config,
                trained.findings.figures,
            )
            save_model(out / "models", config, first.network.state_dict(), weights, card=card)
        accelerator.wait_for_everyone()
        return out / "models"
