"""Smooth invertible deformations of a grid: following a stationary velocity (Arsigny et al. 2006).

A displacement is (3, X, Y, Z) in voxels: what lies at x moves to, or is read from, x + d(x).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

STEP_VOXELS = 0.4
"""How far the first of the doubled steps goes at most; below 1, so that no two points meet."""


def exponential(velocity: Tensor) -> Tensor:
    """The displacement after following a velocity for a time of 1, by scaling and squaring.

    Its inverse is `exponential(-velocity)`.

    Args:
        velocity: (3, X, Y, Z), in voxels.
    """
    fastest = float(velocity.abs().max())
    doublings = max(0, math.ceil(math.log2(max(fastest, 1e-9) / STEP_VOXELS)))
    displacement: Tensor = velocity / 2.0**doublings
    for _ in range(doublings):
        displacement = after(displacement, displacement)
    return displacement


def after(second: Tensor, first: Tensor) -> Tensor:
    """The displacement of one deformation after another."""
    return first + pull(second, first)


def pull(maps: Tensor, displacement: Tensor) -> Tensor:
    """Trilinear values of maps at displaced voxels; beyond their edge, that of the edge.

    Args:
        maps: (C, X, Y, Z).
        displacement: (3, X, Y, Z).
    """
    shape = maps.shape[1:]
    unit = torch.empty((*shape, 3))
    for axis, side in enumerate(shape):
        lines = torch.arange(side).view([-1 if a == axis else 1 for a in range(3)])
        # grid_sample wants the fastest axis first.
        unit[..., 2 - axis] = (displacement[axis] + lines) * (2 / (side - 1)) - 1
    return F.grid_sample(maps[None], unit[None], padding_mode="border", align_corners=True)[0]


def jacobian(displacement: Tensor) -> Tensor:
    """How many times as much room each voxel takes after the deformation, (X, Y, Z).

    Args:
        displacement: (3, X, Y, Z).
    """
    x, y, z = torch.gradient(displacement, dim=(1, 2, 3))
    unit = torch.eye(3).view(3, 3, 1, 1, 1)
    x, y, z = x + unit[0], y + unit[1], z + unit[2]
    volume: Tensor = (torch.linalg.cross(x, y, dim=0) * z).sum(dim=0)
    return volume
