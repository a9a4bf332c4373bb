"""Heads a little changed, so that the autoencoder sees more of them than there are."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from brainldm.train.settings import Augment


def augment(
    image: Float[Tensor, "1 x y z"], settings: Augment, generator: torch.Generator
) -> Float[Tensor, "1 x y z"]:
    """Mirror, move and re-expose a head.

    Args:
        image: (1, X, Y, Z) in [0, 1], x to the left or right.
        settings: how much of each.
        generator: what is drawn.

    Returns:
        The same shape, in [0, 1].
    """
    drawn = (2 * torch.rand(10, generator=generator) - 1).tolist()  # always as many
    if settings.flip and drawn[0] < 0:
        image = image.flip(1)
    if settings.rotate or settings.shift or settings.scale:
        image = _move(image, settings, drawn[1:8])
    if settings.intensity:
        image = image.clamp(0, 1) ** (1 + settings.intensity * drawn[8])
        image = (image * (1 + settings.intensity * drawn[9])).clamp(0, 1)
    return image.contiguous()


def _move(image: Tensor, settings: Augment, drawn: list[float]) -> Tensor:
    """Rotate about the three axes, scale and shift (trilinear); what comes in is air."""
    sides = torch.tensor(image.shape[:0:-1], dtype=torch.float32)  # z, y, x as grid_sample has it
    angles = [math.radians(settings.rotate) * value for value in drawn[:3]]
    matrix = torch.eye(3) * (1 + settings.scale * drawn[3])
    for axis, angle in enumerate(angles):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn = torch.eye(3)
        turn[i, i] = turn[j, j] = math.cos(angle)
        turn[i, j], turn[j, i] = -math.sin(angle), math.sin(angle)
        matrix = turn @ matrix
    # Coordinates go from -1 to 1 whatever the side: rotate in voxels.
    matrix = matrix * sides[None] / sides[:, None]
    shift = 2 * settings.shift * torch.tensor(drawn[4:7]) / sides
    theta = torch.cat([matrix, shift[:, None]], dim=1)[None]
    grid = F.affine_grid(theta, [1, *image.shape], align_corners=False)
    moved: Tensor = F.grid_sample(image[None], grid, align_corners=False)[0]
    return moved


def random_crop(
    image: Float[Tensor, "1 x y z"], size: tuple[int, int, int], generator: torch.Generator
) -> Float[Tensor, "1 u v w"]:
    """A part of (1, X, Y, Z), anywhere in it."""
    for axis, side in enumerate(size, start=1):
        start = int(torch.randint(image.shape[axis] - side + 1, (), generator=generator))
        image = image.narrow(axis, start, side)
    return image
