"""What an autoencoder and a decoder minimise.

L1 and the KL divergence to N(0, 1), with what makes edges sharp: a perceptual loss where the user
has weights for one, else the L1 of gradients; and a patch-adversarial loss (Pinaya et al. 2022,
2209.07162, section 2.1).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from brainldm.checkpoint.archive import check_archive
from brainldm.errors import ModelError, StorageError, require
from brainldm.train.settings import Adversarial, AutoencoderLoss, ImageLoss, Perceptual

SLICES = 0.25
"""Of all, seen by the perceptual loss."""


def image_losses(
    image: Float[Tensor, "b 1 x y z"],
    reconstruction: Float[Tensor, "b 1 x y z"],
    weights: ImageLoss,
) -> dict[str, Tensor]:
    """L1 of intensities and of gradients, weighted.

    Args:
        image: (B, 1, X, Y, Z).
        reconstruction: the same shape.
        weights: of the parts.
    """
    error = reconstruction.float() - image
    parts = {"l1": _l1(error, weights.beta)}
    if weights.gradient_weight:
        differences = [_l1(error.diff(dim=axis), weights.beta) for axis in (2, 3, 4)]
        parts["gradient"] = weights.gradient_weight / 3 * torch.stack(differences).sum()
    return parts


def autoencoder_losses(
    image: Float[Tensor, "b 1 x y z"],
    reconstruction: Float[Tensor, "b 1 x y z"],
    mean: Float[Tensor, "b c u v w"],
    sigma: Float[Tensor, "b c u v w"],
    weights: AutoencoderLoss,
) -> dict[str, Tensor]:
    """Those of `image_losses`, and the KL divergence to N(0, 1), weighted.

    Args:
        image: (B, 1, X, Y, Z).
        reconstruction: the same shape.
        mean: of the posterior, (B, C, x, y, z).
        sigma: its standard deviation, the same shape.
        weights: of the parts.
    """
    parts = image_losses(image, reconstruction, weights)
    mean, sigma = mean.float(), sigma.float()
    kl = 0.5 * (mean**2 + sigma**2 - 2 * sigma.log() - 1).sum() / len(image)
    return {**parts, "kl": weights.kl * kl}


def _l1(error: Tensor, beta: float) -> Tensor:
    return nn.functional.smooth_l1_loss(error, torch.zeros_like(error), beta=beta)


def new_discriminator(settings: Adversarial, seed: int) -> nn.Module:
    """An untrained discriminator of patches; its last output is their scores."""
    require("train", "The adversarial loss", "monai")
    from monai.networks.nets.patchgan_discriminator import PatchDiscriminator

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        network: nn.Module = PatchDiscriminator(
            spatial_dims=3,
            channels=settings.channels,
            in_channels=1,
            num_layers_d=settings.layers,
            # Not batch norm: a sample's verdict must not depend on who is with it on a process.
            norm=("INSTANCE", {"affine": True}),
        )
    return network


def new_judge() -> Any:
    """The least-squares loss of such scores: judge(scores, real?, of the discriminator?)."""
    from monai.losses.adversarial_loss import PatchAdversarialLoss

    return PatchAdversarialLoss(criterion="least_squares")


def load_perceptual(settings: Perceptual) -> nn.Module:
    """The network that compares slices.

    Raises:
        StorageError: there is no such file of weights.
        ModelError: it holds others.
        MissingExtraError: MONAI or torchvision is not installed.
    """
    require("train", "The perceptual loss", "monai")
    require("perceptual", "The perceptual loss", "torchvision")
    from monai.losses.perceptual import PerceptualLoss

    path = Path(settings.file or "")
    if not os.path.isfile(path):
        raise StorageError(
            f"There is no file {path} of weights for the perceptual loss: expected a state dict of "
            "torchvision's ResNet-50. Correct loss.perceptual.file, or leave it out."
        )
    check_archive(path)
    try:
        network: nn.Module = PerceptualLoss(
            3, "resnet50", fake_3d_ratio=SLICES, pretrained_path=str(path)
        )
    except Exception as error:  # damaged bytes can fail anywhere in the reader
        raise ModelError(
            f"Cannot use {path} for the perceptual loss: {str(error).splitlines()[0]}. Expected a "
            "state dict of torchvision's ResNet-50."
        ) from error
    return network.requires_grad_(False)


def perceptual_loss(
    perceptual: nn.Module,
    image: Float[Tensor, "b 1 x y z"],
    reconstruction: Float[Tensor, "b 1 x y z"],
    seeds: Int[Tensor, " b"],
) -> Float[Tensor, ""]:
    """The mean over samples, each with slices of its own: MONAI draws them from the global seed."""
    perceptual.to(image.device)
    losses = []
    for x, y, seed in zip(image, reconstruction.float(), seeds.tolist(), strict=True):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            losses.append(perceptual(y[None], x[None]))
    return torch.stack(losses).mean()
