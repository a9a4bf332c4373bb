"""The smooth deformation between two images of one head: log-demons (Vercauteren et al. 2008).

A stationary velocity is found whose flow (`simulate.deform.exponential`) carries one image into the
other, from coarse to fine: at each iteration it grows by the force of the demons, symmetric in the
two images, and both the growth and the whole are smoothed.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from brainldm.image.smoothing import smooth
from brainldm.simulate.deform import exponential, pull

LEVELS = ((4, 40), (2, 40), (1, 20))
"""By how much images are shrunk, and the iterations there at most."""
GROWTH, WHOLE = 1.0, 0.7
"""Over how many voxels of a level the growth and the whole velocity are smoothed."""
GAIN = 1e-3
"""The part of the error that an iteration has to take away, or the level is done."""
LASTING = 0.97
"""What is left of a velocity after an iteration: where nothing pulls, nothing moves in the end."""
FARTHEST = 1.0
"""Voxels of a level that an iteration goes at most."""
FAINT = 0.02
"""The difference of intensities that counts for nothing: images that a model decodes differ by as
much in air."""


def velocity_between(
    before: Float[Tensor, "x y z"], after: Float[Tensor, "x y z"]
) -> Float[Tensor, "3 x y z"]:
    """The velocity in voxels for which `pull(before, exponential(velocity))` is like `after`.

    Args:
        before: intensities in [0, 1].
        after: the same head, changed.
    """
    shape = before.shape
    velocity = torch.zeros(3, 1, 1, 1)
    for factor, iterations in LEVELS:
        sides = [max(2, side // factor) for side in shape]
        moving, fixed = (_resized(image[None], sides) for image in (before, after))
        last = torch.tensor(velocity.shape[1:], dtype=torch.float32)
        velocity = _resized(velocity, sides)
        velocity *= (torch.tensor(sides) / last).view(3, 1, 1, 1)
        best, kept = math.inf, velocity
        for _ in range(iterations):
            moved = pull(moving, exponential(velocity))
            error = float((fixed - moved).square().mean())
            if error >= best * (1 - GAIN):
                break
            best, kept = error, velocity
            growth = smooth(_force(moved, fixed), [GROWTH] * 3)
            velocity = LASTING * smooth(velocity + growth, [WHOLE] * 3)
        velocity = kept
    return velocity


def _force(moved: Float[Tensor, "1 x y z"], fixed: Float[Tensor, "1 x y z"]) -> Tensor:
    """Where every voxel should look, in voxels, (3, X, Y, Z): a step of Gauss and Newton."""
    slope = torch.stack(torch.gradient((moved[0] + fixed[0]) / 2))
    difference = F.softshrink(fixed - moved, FAINT)
    size = slope.square().sum(dim=0) + difference.square() / (2 * FARTHEST) ** 2 + FAINT**2
    force: Tensor = difference * slope / size
    return force


def _resized(maps: Float[Tensor, "c x y z"], sides: list[int]) -> Float[Tensor, "c i j k"]:
    if list(maps.shape[1:]) == sides:
        return maps.clone()
    shrinks = sides[0] < maps.shape[1]
    mode = "area" if shrinks else "trilinear"
    return F.interpolate(maps[None], sides, mode=mode, align_corners=None if shrinks else False)[0]
