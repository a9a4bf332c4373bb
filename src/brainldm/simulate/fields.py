"""Smooth random fields, and reading maps at arbitrary points of space."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def smooth_field(
    channels: int,
    shape: tuple[int, int, int],
    spacing: float,
    correlation: float,
    generator: torch.Generator,
) -> Tensor:
    """Stationary noise of about unit variance that is smooth over `correlation` millimetres.

    Args:
        channels: how many independent fields.
        shape: (X, Y, Z).
        spacing: millimetres a voxel.
        correlation: the distance over which the field changes, in millimetres.
        generator: where the randomness comes from.

    Returns:
        (channels, X, Y, Z).
    """
    coarse = [math.ceil(side * spacing / correlation) + 6 for side in shape]
    knots = torch.randn(1, channels, *coarse, generator=generator)
    # Cubic B-splines over the knots: smooth to the second derivative.
    field = knots
    for axis, side in enumerate(shape):
        field = _spline(field, axis + 2, side, spacing / correlation, generator)
    # numpy's sum does not depend on the number of threads.
    return field[0] / float(field.numpy().std(dtype=np.float64))


def _spline(x: Tensor, axis: int, side: int, step: float, generator: torch.Generator) -> Tensor:
    """Evaluate cubic B-splines along one axis at `side` points, `step` knots apart."""
    offset = float(torch.rand((), generator=generator)) + 1
    position = offset + step * torch.arange(side)
    knot = position.floor().long()
    t = position - knot
    weights = (
        (1 - t) ** 3 / 6,
        (3 * t**3 - 6 * t**2 + 4) / 6,
        (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6,
        t**3 / 6,
    )
    shape = [1] * x.ndim
    shape[axis] = side
    terms = (
        x.index_select(axis, knot + k - 1) * weight.view(shape) for k, weight in enumerate(weights)
    )
    y: Tensor = sum(terms, start=torch.zeros(()))
    return y


def read_maps(maps: Tensor, points: Tensor, origin: Tensor) -> Tensor:
    """Trilinear values of maps at points; beyond their edge, that of the edge.

    Args:
        maps: (C, X, Y, Z), on a 1 mm grid.
        points: millimetres, (3, ...).
        origin: the position of voxel (0, 0, 0), in millimetres, (3,).

    Returns:
        (C, ...).
    """
    sides = torch.tensor(maps.shape[1:], dtype=points.dtype)
    voxels = points - _column(origin, points)
    unit = 2 * voxels / _column(sides - 1, points) - 1
    # grid_sample wants the fastest axis first.
    grid = unit.flip(0).movedim(0, -1).reshape(1, 1, 1, -1, 3)
    values = F.grid_sample(maps[None], grid, padding_mode="border", align_corners=True)
    return values.reshape(len(maps), *points.shape[1:])


def _column(vector: Tensor, like: Tensor) -> Tensor:
    return vector.view(3, *[1] * (like.ndim - 1))
