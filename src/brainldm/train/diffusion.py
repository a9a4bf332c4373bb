"""Stage 2: the diffusion U-Net on the latents of stage 1 (Pinaya et al. 2022, 2209.07162).

It predicts the velocity v (Salimans and Ho 2022, 2202.00512) under a mean squared error. What the
conditions explain of it is a thousandth, which two things bring out of the noise of training:
subjects come with their twins, under the same noise, so that what does not follow from the
conditions cancels between the two; and voxels that the conditions explain count more (the best
prediction of a voxel does not depend on its weight).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from brainldm.models.autoencoder import AutoencoderKL
from brainldm.models.unet import DiffusionUNet, with_context
from brainldm.sampling.schedules import Schedule
from brainldm.train.fit import Recipe, fit


@torch.inference_mode()
def encode_all(model: AutoencoderKL, images: Tensor, log: Callable[[str], None]) -> Tensor:
    """The posterior means of heads and of their mirror images.

    Args:
        model: trained.
        images: (N, 1, X, Y, Z), bytes.
        log: takes a line now and then.

    Returns:
        (2N, C, x, y, z): the heads, then the mirrored ones.
    """
    latents = []
    for mirrored in (False, True):
        for i, image in enumerate(images):
            x = image[None].float() / 255
            with torch.autocast(x.device.type, torch.bfloat16):
                mean, _ = model.encode(x.flip(2) if mirrored else x)
            latents.append(mean.float())
            if (i + 1) % 200 == 0:
                log(f"encoded {i + 1} of {len(images)} heads{' (mirrored)' if mirrored else ''}")
    return torch.cat(latents)


def explained_weight(latents: Tensor, context: Tensor) -> Tensor:
    """How much each voxel counts: half evenly, half by the variance that the conditions explain.

    Args:
        latents: (N, C, X, Y, Z).
        context: (N, V).

    Returns:
        (X, Y, Z), of mean 1.
    """
    factors = context - context.mean(0)
    values = (latents - latents.mean(0)).flatten(1)
    fit: Tensor = factors @ torch.linalg.lstsq(factors, values).solution
    explained = fit.var(0).view(latents.shape[1:]).sum(0)
    return (1 + explained / explained.mean()) / 2


def train_diffusion(
    model: DiffusionUNet,
    latents: Tensor,
    context: Tensor,
    schedule: Schedule,
    recipe: Recipe,
    *,
    pairs: int,
    state: Path,
    log: Callable[[str], None],
) -> DiffusionUNet:
    """Train on scaled latents and their conditions.

    Args:
        model: new.
        latents: (2N, C, X, Y, Z), of about unit variance: a subject, its twin, the next subject...
        context: each one's conditions in [0, 1], (2N, 4).
        schedule: the noise.
        recipe: how long and how fast.
        pairs: subjects with their twins at a step.
        state: where an interrupted run resumes from.
        log: takes a line now and then.

    Returns:
        The trained model.
    """

    weight = explained_weight(latents, context)
    log(f"weights of voxels: {weight.min():.2f} to {weight.max():.2f}")

    def loss(network: DiffusionUNet, step: int) -> Tensor:
        subject = torch.randint(len(latents) // 2, (pairs,))
        index = torch.stack([2 * subject, 2 * subject + 1], 1).flatten()
        # Evenly over the schedule within a step, so that the loss varies less.
        offsets = (torch.arange(pairs) + torch.rand(pairs)) / pairs
        t = (offsets * schedule.num_train_timesteps).long().repeat_interleave(2)
        z0, noise = latents[index], torch.randn(pairs, *latents.shape[1:]).repeat_interleave(2, 0)
        z = schedule.add_noise(z0, noise, t)
        x, token = with_context(z, context[index])
        with torch.autocast(z.device.type, torch.bfloat16):
            v: Tensor = network(x, t, token)
        return (weight * (v.float() - schedule.v_target(z0, noise, t)) ** 2).mean()

    return fit(model, loss, recipe, state, log)
