"""A look at a latent before it is decoded: a linear map from its channels to intensities.

The map is fitted to one head that the decoder made, on the latent's own coarse grid. It costs
nothing, and shows where the head is and how much noise is left.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from brainldm.image.grid import Grid
from brainldm.image.slices import preview_png

RIDGE = 1e-3


class Preview:
    """From a latent (C, X, Y, Z) to a picture.

    Args:
        latent: of a head.
        image: what the decoder makes of it, (X', Y', Z').
        grid: of the image.
    """

    def __init__(
        self, latent: Float[Tensor, "c x y z"], image: Float[Tensor, "i j k"], grid: Grid
    ) -> None:
        self._shape: tuple[int, int, int] = (latent.shape[1], latent.shape[2], latent.shape[3])
        coarse = F.adaptive_avg_pool3d(image[None, None].float(), self._shape)[0, 0]
        x, y = _columns(latent), coarse.flatten()
        gram = x.T @ x + RIDGE * len(x) * torch.eye(x.shape[1])
        self._weights = torch.linalg.solve(gram, x.T @ y)
        self._grid = grid

    @torch.inference_mode()
    def draw(self, latent: Float[Tensor, "c x y z"]) -> bytes:
        """Three slices (PNG) of a latent, noisy or not."""
        coarse = (_columns(latent) @ self._weights).reshape(self._shape)
        fine = F.interpolate(coarse[None, None], self._grid.shape, mode="trilinear")[0, 0]
        return preview_png(np.clip(fine.numpy(), 0, 1), self._grid.matrix)


def _columns(latent: Tensor) -> Tensor:
    """Voxels in rows, channels and a one in columns."""
    flat = latent.detach().float().cpu().flatten(1).T
    return torch.cat([flat, torch.ones(len(flat), 1)], 1)
