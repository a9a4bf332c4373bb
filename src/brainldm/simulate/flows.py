"""Velocities that change a head from within: one for its ventricles, one for its brain.

Both are flows without rotation of what fills the skull. The first swells the ventricles at a rate
of 1, and fluid around the brain gives way. The second shrinks the cerebrum, most near its cortex,
and what a part loses goes to the fluid near it, so that sulci open evenly and deep nuclei,
cerebellum and brain-stem keep their place. Neither goes through the skull. Following one for any
time (`simulate.deform`) is smooth and invertible.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse.linalg import cg
from torch import Tensor

from brainldm.simulate.tissues import of_kind, of_number

NEARBY_MM = 10.0
"""How far from a part of the brain the fluid lies that takes its place."""
CORTICAL_MM = 6.0
"""How far from cortex fluid swells or gives way."""
MOST_GAINED = 2.5
"""The rate at which fluid swells in one place at most, relative to all of it."""
HINDBRAIN = (7, 8, 16, 46, 47)
CALM_MM = 5.0
"""The width of the layer within the skull in which velocities of chance fall to nothing."""

Map = NDArray[np.float32]


@dataclass(frozen=True)
class Flows:
    """What moves in a head, on a coarse grid.

    Args:
        velocities: of the ventricles and of the brain, in voxels, (2, 3, X, Y, Z).
        shares: of each voxel that are lateral ventricle, brain and within the skull, and the
            weight of velocities of chance, which is 0 from the skull outwards, (4, X, Y, Z).
    """

    velocities: Tensor
    shares: Tensor


def make_flows(tissues: NDArray[np.uint8], flow_mm: float, spacing: float) -> Flows:
    """Solve for the two velocities.

    Args:
        tissues: places in `TISSUES`, (X, Y, Z).
        flow_mm: the coarse grid's voxels, a whole number of `spacing`.
        spacing: of the tissues, in mm.
    """

    def share(which: NDArray[np.bool_]) -> Map:
        return _pooled(which[tissues], round(flow_mm / spacing))

    ventricle, brain = share(of_kind("ventricle")), share(of_kind("brain"))
    within = ventricle + brain + share(of_kind("fluid"))
    inside = _largest(within > 0.5)
    cortex, near = share(of_number(3, 42)), NEARBY_MM / flow_mm
    # The fluid between gyri rather than that of the cisterns.
    around = share(of_number(24)) * inside * ndimage.gaussian_filter(cortex, CORTICAL_MM / flow_mm)
    swelling = share(of_kind("ventricle") | of_number(14)) * inside
    first = swelling - around * (swelling.sum() / around.sum())
    lost = share(of_kind("brain") & ~of_number(*HINDBRAIN)) * inside
    lost *= ndimage.gaussian_filter(cortex, near)
    lost /= lost.max()
    reached = ndimage.gaussian_filter(around, near)
    rate = ndimage.gaussian_filter(lost / np.maximum(reached, 1e-3 * reached.max()), near)
    gained = around * np.minimum(rate, MOST_GAINED * lost.sum() / around.sum())
    second = gained * (lost.sum() / gained.sum()) - lost
    velocities = np.stack([_potential_flow(each, inside) for each in (first, second)])
    velocities = ndimage.gaussian_filter(velocities, (0, 0, 0.5, 0.5, 0.5))
    depth = ndimage.distance_transform_edt(inside) * flow_mm
    calm = np.clip((depth - flow_mm) / CALM_MM, 0, 1)
    shares = np.stack([ventricle, brain, within, calm]).astype(np.float32)
    return Flows(torch.from_numpy(velocities), torch.from_numpy(shares))


def _pooled(mask: NDArray[np.bool_], factor: int) -> Map:
    x, y, z = (side // factor for side in mask.shape)
    blocks = mask.reshape(x, factor, y, factor, z, factor)
    pooled: Map = blocks.mean(axis=(1, 3, 5), dtype=np.float32)
    return pooled


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    parts, _ = ndimage.label(mask)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    largest: NDArray[np.bool_] = parts == sizes.argmax()
    return largest


def _potential_flow(source: Map, inside: NDArray[np.bool_]) -> Map:
    """The gradient of the potential whose Laplacian is a source; nothing crosses the edge.

    Args:
        source: the rate of swelling, (X, Y, Z), with the sum 0 inside.
        inside: a mask of one part.

    Returns:
        (3, X, Y, Z), in voxels; 0 outside.
    """
    count = np.count_nonzero(inside)
    index = np.full(inside.shape, -1)
    index[inside] = np.arange(count)
    links = []
    for axis in range(3):
        here, there = _neighbours(index, axis)
        linked = (here >= 0) & (there >= 0)
        links.append(np.stack([here[linked], there[linked]]))
    rows, columns = np.concatenate(links, axis=1)
    graph = sparse.coo_matrix((np.ones(len(rows)), (rows, columns)), (count, count))
    laplacian = sparse.csgraph.laplacian((graph + graph.T).tocsr())
    wanted = source[inside].astype(np.float64)
    scaling = sparse.diags(1 / np.maximum(laplacian.diagonal(), 1))
    solution, _ = cg(laplacian, wanted.mean() - wanted, rtol=1e-5, maxiter=3000, M=scaling)
    potential = np.zeros(inside.shape)
    potential[inside] = solution
    velocity = np.zeros((3, *inside.shape), dtype=np.float32)
    for axis in range(3):
        here, there = _neighbours(potential, axis)
        both = np.logical_and(*_neighbours(inside, axis))
        # The mean of the flows through a voxel's two faces.
        for part in _neighbours(velocity[axis], axis):
            part += (there - here) * both / 2
    return velocity


def _neighbours(array: NDArray[Any], axis: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Views of all but the last and all but the first voxel along an axis."""
    moved = np.moveaxis(array, axis, 0)
    return np.moveaxis(moved[:-1], 0, axis), np.moveaxis(moved[1:], 0, axis)
