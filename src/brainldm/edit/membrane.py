"""The smoothest surface across a hole: what around it goes on into it without a seam."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray as Array
from scipy import ndimage, sparse
from scipy.sparse.linalg import cg

TOLERANCE = 1e-4
"""Of the residual, relative."""
MOST = 2000
"""Iterations."""


def membrane(image: Float[Array, "x y z"], hole: Bool[Array, "x y z"]) -> Float[Array, "x y z"]:
    """The image with the solution of Laplace's equation in the hole.

    Nothing flows through the edge of the image. Without a hole, the image is as it was.

    Args:
        image: any intensities.
        hole: not everywhere.
    """
    filled = np.array(image, dtype=np.float32)
    if not hole.any():
        return filled
    [box] = ndimage.find_objects(hole.astype(np.uint8))
    around = tuple(slice(max(0, side.start - 1), side.stop + 1) for side in box)
    part, inside = filled[around].astype(np.float64), hole[around]
    index = np.full(inside.shape, -1)
    index[inside] = np.arange(np.count_nonzero(inside))
    count = int(index.max()) + 1
    diagonal, known, links = np.zeros(count), np.zeros(count), []
    for axis in range(3):
        for first, second in _faces(inside.shape, axis):
            here, there = index[first], index[second]
            both = (here >= 0) & (there >= 0)
            edge = (here >= 0) & (there < 0)
            np.add.at(diagonal, here[both | edge], 1)
            np.add.at(known, here[edge], part[second][edge])
            links.append(np.stack([here[both], there[both]]))
    rows, columns = np.concatenate(links, axis=1)
    matrix = sparse.diags(diagonal) - sparse.coo_matrix(
        (np.ones(len(rows)), (rows, columns)), (count, count)
    )
    start = np.full(count, known.sum() / max(float((diagonal > 0).sum()), 1))
    scaling = sparse.diags(1 / np.maximum(diagonal, 1))
    solution, _ = cg(matrix.tocsr(), known, x0=start, rtol=TOLERANCE, maxiter=MOST, M=scaling)
    part[inside] = solution
    filled[around] = np.where(inside, part, filled[around])
    return filled


def _faces(
    shape: tuple[int, ...], axis: int
) -> tuple[tuple[tuple[slice, ...], tuple[slice, ...]], ...]:
    """The voxels that have a neighbour along an axis, and those neighbours; and the other way."""
    low = tuple(slice(0, -1) if a == axis else slice(None) for a in range(len(shape)))
    high = tuple(slice(1, None) if a == axis else slice(None) for a in range(len(shape)))
    return (low, high), (high, low)
