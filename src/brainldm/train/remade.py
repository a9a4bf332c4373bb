"""Latents as a model makes them: those of heads under noise, and without it again.

What the diffusion gets wrong in its last steps is in them, and the image that they should have
given is known.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from brainldm.pipeline.brain import BrainLDM
from brainldm.sampling.guidance import denoiser
from brainldm.sampling.loop import sample
from brainldm.sampling.noise import NoiseSource
from brainldm.sampling.solvers import UniPC
from brainldm.train.draws import Draw

SKIPPED = (0.5, 0.75)
"""Of the sampler's steps, those from the least to the most that are left out. With more noise the
head that comes back is another one, and with less it has the encoder's details still."""


@torch.inference_mode()
def remade(
    model: BrainLDM, z0: Float[Tensor, "o c x y z"], context: Float[Tensor, " v"], draw: Draw
) -> Float[Tensor, "o c x y z"]:
    """Each orientation of a head, made anew with UniPC at its usual steps.

    Args:
        model: whose U-Net takes the noise away.
        z0: the head's latents, at the diffusion's scale.
        context: its conditions in [0, 1].
        draw: says how much noise, and which.
    """
    solver = UniPC()  # noise on the way would lead to another head
    steps = solver.usual_steps
    timesteps = model.schedule.timesteps(steps, solver.spacing)
    least, most = (round(share * steps) for share in SKIPPED)
    made = []
    for orientation, latent in enumerate(z0):
        generator = draw.generator(f"skip {orientation}")
        skip = int(torch.randint(least, most + 1, (), generator=generator))
        level = model.schedule.level(timesteps[skip])
        noise = NoiseSource([draw.number(f"noise {orientation}")]).draw(latent.shape)
        z = sample(
            denoiser(model.networks.predict, context[None].to(model.device)),
            (level.alpha * latent[None] + level.sigma * noise).to(model.device),
            schedule=model.schedule,
            solver=solver,
            steps=steps,
            prediction=model.config.schedule.prediction,
            skip=skip,
        )
        made.append(z[0].float().cpu())
    return torch.stack(made)
