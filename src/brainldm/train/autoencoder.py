"""Stage 1: the autoencoder, with an L1 loss on intensities and on their gradients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from brainldm.config import AutoencoderConfig
from brainldm.models.autoencoder import AutoencoderKL
from brainldm.train.fit import Recipe, fit

GRADIENT_WEIGHT = 0.5
BETA = 0.05
"""Below this an error counts by its square, so that large smooth regions come to rest."""
KL_WEIGHT = 3e-5
LOG_VARIANCE_START = -4.0


def train_autoencoder(
    model: AutoencoderKL,
    images: Tensor,
    recipe: Recipe,
    *,
    crop: tuple[int, int, int] | None,
    state: Path,
    log: Callable[[str], None],
) -> AutoencoderKL:
    """Train on heads and their mirror images, one at a step.

    Args:
        model: to start from; its weights are changed.
        images: (N, 1, X, Y, Z), bytes.
        recipe: how long and how fast.
        crop: the size of a random part of a head to see at a step, multiples of the model's factor.
            Much quicker than whole heads, but the group norms average over all that they see, so
            whole heads (None) must have the last word.
        state: where an interrupted run resumes from.
        log: takes a line now and then.

    Returns:
        The trained model.
    """

    def loss(network: AutoencoderKL, step: int) -> Tensor:
        image = images[int(torch.randint(len(images), ()))][None].float() / 255
        if crop:
            image = _random_crop(image, crop)
        if torch.rand(()) < 0.5:
            image = image.flip(2)
        with torch.autocast(image.device.type, torch.bfloat16):
            reconstruction, mean, sigma = network(image)
        return autoencoder_loss(image, reconstruction.float(), mean.float(), sigma.float())

    # No norm follows the last convolution: at the rate of the others it makes the grey of air
    # swing, and its gradient is many times theirs.
    last = model.decoder.blocks[-1].parameters()
    return fit(model, loss, recipe, state, log, gentle=last)


def new_autoencoder(config: AutoencoderConfig, seed: int) -> AutoencoderKL:
    """An untrained autoencoder with a narrow posterior: at unit variance the noise would hide the
    mean, and training would stall.
    """
    torch.manual_seed(seed)
    model = AutoencoderKL(config)
    with torch.no_grad():
        model.quant_conv_log_sigma.get_parameter("conv.bias").fill_(LOG_VARIANCE_START)
    return model


def autoencoder_loss(image: Tensor, reconstruction: Tensor, mean: Tensor, sigma: Tensor) -> Tensor:
    """L1 of intensities and gradients, and the KL divergence to N(0, 1) a latent number.

    Args:
        image: (B, 1, X, Y, Z).
        reconstruction: the same shape.
        mean: of the posterior, (B, C, x, y, z).
        sigma: its standard deviation, the same shape.
    """
    error = reconstruction - image
    total = _smooth_l1(error)
    for axis in (2, 3, 4):
        total = total + GRADIENT_WEIGHT / 3 * _smooth_l1(error.diff(dim=axis))
    kl = 0.5 * (mean**2 + sigma**2 - 2 * sigma.log() - 1).mean()
    return total + KL_WEIGHT * kl


def _smooth_l1(error: Tensor) -> Tensor:
    return nn.functional.smooth_l1_loss(error, torch.zeros_like(error), beta=BETA)


def _random_crop(image: Tensor, size: tuple[int, int, int]) -> Tensor:
    for axis, side in enumerate(size, start=2):
        start = int(torch.randint(image.shape[axis] - side + 1, ()))
        image = image.narrow(axis, start, side)
    return image
