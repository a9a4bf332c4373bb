"""Forward differences, as total variation has them, and their adjoint.

No difference leads out of the volume (Neumann's boundary): nothing pulls its border to 0.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

Spacing = tuple[float, float, float]


def gradient(
    volume: Float[Tensor, "x y z"], spacing: Spacing, scale: float = 1.0
) -> Float[Tensor, "3 x y z"]:
    """`scale` times D y: differences to the next voxel over its distance in mm, 0 at the end."""
    result = volume.new_zeros((3, *volume.shape))
    for axis, size in enumerate(spacing):
        sides = volume.shape[axis] - 1
        there, here = volume.narrow(axis, 1, sides), volume.narrow(axis, 0, sides)
        torch.sub(there, here, out=result[axis].narrow(axis, 0, sides)).mul_(scale / size)
    return result


def divergence(
    field: Float[Tensor, "3 x y z"], spacing: Spacing, scale: float = 1.0
) -> Float[Tensor, "x y z"]:
    """`scale` times D' p, the adjoint of `gradient`."""
    result = torch.zeros_like(field[0])
    for axis, size in enumerate(spacing):
        sides = result.shape[axis] - 1
        part = field[axis].narrow(axis, 0, sides)
        result.narrow(axis, 1, sides).add_(part, alpha=scale / size)
        result.narrow(axis, 0, sides).sub_(part, alpha=scale / size)
    return result


def add_laplacian(
    result: Float[Tensor, "x y z"], volume: Float[Tensor, "x y z"], spacing: Spacing, scale: float
) -> None:
    """Add `scale` times D'D y to a result."""
    for axis, size in enumerate(spacing):
        sides = volume.shape[axis] - 1
        step = volume.narrow(axis, 1, sides) - volume.narrow(axis, 0, sides)
        result.narrow(axis, 1, sides).add_(step, alpha=scale / size**2)
        result.narrow(axis, 0, sides).sub_(step, alpha=scale / size**2)
