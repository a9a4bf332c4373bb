"""The Gaussian of images that are tensors, on any device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

REACH = 3
"""Of the Gaussian, in its deviations."""


def smooth(maps: Float[Tensor, "c x y z"], deviations: Sequence[float]) -> Float[Tensor, "c x y z"]:
    """Convolve each with a Gaussian; beyond the edge, the value of the edge.

    Args:
        maps: (C, X, Y, Z).
        deviations: along each of the three axes, in voxels.
    """
    for axis, deviation in enumerate(deviations):
        reach = int(REACH * deviation + 0.5)
        line = torch.arange(-reach, reach + 1, device=maps.device) / deviation
        weights = torch.exp(-line.square() / 2)
        weights /= weights.sum()
        sides = [0] * 6
        sides[4 - 2 * axis : 6 - 2 * axis] = [reach, reach]
        shape = [-1 if a == axis else 1 for a in range(3)]
        padded = F.pad(maps[:, None], sides, mode="replicate")
        maps = F.conv3d(padded, weights.view(1, 1, *shape))[:, 0]
    return maps
