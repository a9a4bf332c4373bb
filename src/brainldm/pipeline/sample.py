"""A denoised latent, and the volume that it becomes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from brainldm.dataset.sidecar import synthetic_sidecar
from brainldm.image.grid import Grid
from brainldm.image.volume import Volume
from brainldm.pipeline.choice import Sampling
from brainldm.pipeline.loading import Networks
from brainldm.pipeline.request import Request


@dataclass(frozen=True, eq=False)
class Sample:
    """A latent that waits for its decoder, which may be asked at any time.

    Args:
        latent: (C, X, Y, Z).
        request: what it was made for.
        sampling: how it was made.
        networks: that made it, and will decode it.
    """

    latent: Float[Tensor, "c x y z"]
    request: Request
    sampling: Sampling
    networks: Networks

    @torch.inference_mode()
    def develop(self, clip: bool = True) -> Volume:
        """Decode it.

        Args:
            clip: bring intensities outside the model's scale, [0, 1], to its ends; `metadata` says
                how many there were.

        Raises:
            NotFiniteError: the image has values that are NaN or infinite.
            ModelError: a GPU has too little memory.
        """
        config = self.networks.config
        x = self.networks.decode(self.latent[None])[0, 0].cpu()  # (160, 224, 160)
        outside = float(((x < 0) | (x > 1)).float().mean())
        metadata = synthetic_sidecar(
            config,
            self.networks.hash,
            conditions=self.request.conditions,
            drawn=self.request.drawn,
            seed=self.request.seed,
            sampler=self.sampling.describe(config),
            clipped=outside if clip else None,
        )
        grid = Grid.of(config.shape, config.affine).resized(x.shape)
        image = (x.clamp(0, 1) if clip else x).numpy()
        return Volume(image, grid.matrix, metadata, scaled=clip)
