"""Samples of a model in training: a picture, and whether they follow their conditions.

All conditions are read off latents; those that are volumes are measured in images as well.
"""

from __future__ import annotations

from itertools import chain

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from brainldm.config import ModelConfig
from brainldm.image.slices import draw_slices
from brainldm.image.volume import Volume
from brainldm.models.autoencoder import AutoencoderKL
from brainldm.models.unet import with_context
from brainldm.sampling.loop import sample
from brainldm.sampling.noise import NoiseSource
from brainldm.sampling.schedules import Schedule
from brainldm.sampling.solvers import pick_solver
from brainldm.segment.segmenter import Segmenter
from brainldm.train.fidelity import ConditionReader, volume_figures
from brainldm.train.stage import Findings

BATCH = 4
"""Samples at a time."""


class Sampler:
    """Generates the same heads, as far as training has come.

    Args:
        config: of the model.
        autoencoder: that decodes.
        context: the conditions of the heads, (S, V).
        steps: of denoising.
        reader: of conditions.
        segmenter: measures volumes; None measures none.
    """

    def __init__(
        self,
        config: ModelConfig,
        autoencoder: AutoencoderKL,
        context: Float[Tensor, "s v"],
        steps: int,
        reader: ConditionReader,
        segmenter: Segmenter | None,
    ) -> None:
        self.config, self.autoencoder = config, autoencoder
        self.context, self.steps = context, steps
        self.reader, self.segmenter = reader, segmenter

    @torch.no_grad()
    def __call__(self, network: nn.Module) -> Findings:
        """Three slices of the first head, and the agreement of all with what was asked for."""
        device = next(network.parameters()).device
        starts = range(0, len(self.context), BATCH)
        z = torch.cat([self._generate(network, start, device) for start in starts])
        figures = dict(self.reader.figures(self.config.columns, self.context, z))
        self.autoencoder.to(device)
        images = (self._decode(latent, device) for latent in z)
        first = next(images)
        if self.segmenter:
            every = chain([first], images)
            figures |= volume_figures(self.config, self.context, every, self.segmenter)
        return Findings(figures, {"sample": draw_slices(first.array, first.affine)})

    def _decode(self, latent: Float[Tensor, "c i j k"], device: torch.device) -> Volume:
        image = self.autoencoder.decode(latent[None].to(device) / self.config.latent.scale)
        array = image[0, 0].float().clamp(0, 1).cpu().numpy()
        return Volume(array, np.array(self.config.affine), scaled=True)

    def _generate(
        self, network: nn.Module, start: int, device: torch.device
    ) -> Float[Tensor, "b c x y z"]:
        context = self.context[start : start + BATCH].to(device)
        seeds = NoiseSource(range(start, start + len(context)))

        def denoise(z: Tensor, t: float) -> Tensor:
            x, token = with_context(z, context)
            output: Tensor = network(x, torch.full((len(z),), t, device=device), token)
            return output.float()

        return sample(
            denoise,
            seeds.draw(self.config.latent.shape).to(device),
            schedule=Schedule.of(self.config.schedule),
            solver=pick_solver(self.config.sampler),
            steps=self.steps,
            prediction=self.config.schedule.prediction,
            noise=seeds,
        ).cpu()
