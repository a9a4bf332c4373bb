"""From a volume to what a scanner would see of it, and back: a linear operator and its adjoint.

x = S K R y (Brudfors et al. 2019): R reads the volume y trilinearly on a grid that is turned and
shifted as the head was in the scanner and at least as fine as y; K averages over the profile of the
slices; S keeps one value a voxel of the scan. All three are one sparse matrix, so that the adjoint
is its transpose and exact.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray as Array
from scipy import sparse
from torch import Tensor

from brainldm.errors import DataError
from brainldm.image.grid import Grid
from brainldm.unires.profile import NEARLY, across, gaussian, rectangle

STEPS = 1024
"""Of a voxel, to which positions are rounded: the same matrix on every machine."""
POINTS = 2**19
"""That are computed at a time."""


@dataclass(frozen=True, eq=False)
class Projection:
    """The linear operator from volumes on one grid to images on another.

    Args:
        image: the grid of what is seen.
        volume: the grid of what is there.
        matrix: sparse (CSR), (voxels of image, voxels of volume).
        transpose: the same of its transpose.
    """

    image: Grid
    volume: Grid
    matrix: Tensor = field(repr=False)
    transpose: Tensor = field(repr=False)

    @classmethod
    def of(
        cls,
        image: Grid,
        volume: Grid,
        motion: Float[Array, "4 4"] | None = None,
        *,
        thickness: float | None = None,
        device: torch.device | str = "cpu",
    ) -> Projection:
        """The operator of a scan.

        Args:
            image: the scan's grid.
            volume: the volume's grid.
            motion: from the scan's world to the volume's in mm, (4, 4); None is no motion.
            thickness: of slices in mm, along the axis of the largest voxels; None is no gap.
            device: to compute on.

        Raises:
            DataError: the scan sees nothing of the volume.
        """
        to_volume = np.linalg.inv(volume.matrix) @ (np.eye(4) if motion is None else motion)
        shape = int(np.prod(image.shape)), int(np.prod(volume.shape))
        parts = list(_rows(image, volume.shape, to_volume @ image.matrix, thickness))
        matrix = sparse.csr_matrix(
            (
                np.concatenate([part.data for part in parts]),
                np.concatenate([part.indices for part in parts]),
                np.concatenate([[0], np.cumsum(np.concatenate([_counts(part) for part in parts]))]),
            ),
            shape=shape,
        )
        del parts
        if not matrix.nnz:
            raise DataError(
                f"The image, {image.extent}, does not touch the volume, {volume.extent}: expected "
                "two fields of view that overlap. Check their headers in a viewer."
            )
        back = matrix.tocsc()  # the transpose, row by row
        return cls(
            image, volume, _tensor(matrix, shape, device), _tensor(back, shape[::-1], device)
        )

    def __call__(self, volume: Float[Tensor, "x y z"]) -> Float[Tensor, "i j k"]:
        """What is seen of a volume: (X, Y, Z) to (I, J, K)."""
        return _product(self.matrix, volume).reshape(self.image.shape)

    def adjoint(self, image: Float[Tensor, "i j k"]) -> Float[Tensor, "x y z"]:
        """The transpose: (I, J, K) to (X, Y, Z)."""
        return _product(self.transpose, image).reshape(self.volume.shape)

    @property
    def entries(self) -> int:
        """Of the matrix, that are not zero."""
        return self.matrix.values().numel()


def offsets(
    image: Grid, to_volume: Float[Array, "4 4"], thickness: float | None
) -> tuple[Float[Array, "n 3"], Float[Array, " n"]]:
    """Where a voxel of an image reads the volume: places in voxels of the image, and weights.

    Args:
        image: its grid.
        to_volume: from its voxels to the volume's, (4, 4).
        thickness: of its slices in mm; None is no gap.
    """
    slices = across(image)
    axes = []
    for axis, size in enumerate(np.linalg.norm(to_volume[:3, :3], axis=0)):
        width = size
        if axis == slices and thickness is not None:
            width = size * thickness / image.spacing[axis]
        if max(width, size) <= NEARLY:
            axes.append([(0.0, 1.0)])
            continue
        finer = int(np.ceil(max(width, size)))
        profile = rectangle if axis == slices else gaussian
        places, weights = profile(width / size * finer)
        axes.append(list(zip(places / finer, weights, strict=True)))
    taps = list(product(*axes))
    where = np.array([[place for place, _ in tap] for tap in taps])
    return where, np.array([np.prod([weight for _, weight in tap]) for tap in taps])


def _rows(
    image: Grid,
    shape: tuple[int, int, int],
    to_volume: Float[Array, "4 4"],
    thickness: float | None,
) -> Iterator[sparse.csr_matrix]:
    """The matrix's rows, some at a time."""
    where, weights = offsets(image, to_volume, thickness)
    turn = to_volume[:3, :3]
    size = int(np.prod(shape))
    step = max(1, POINTS // len(where))
    voxels = int(np.prod(image.shape))
    for start in range(0, voxels, step):
        index = np.stack(np.unravel_index(np.arange(start, min(start + step, voxels)), image.shape))
        centres = index.T @ turn.T + to_volume[:3, 3]
        points = np.rint((centres[:, None] + where @ turn.T) * STEPS) / STEPS
        columns, values = _corners(points.reshape(-1, 3), shape)
        values *= np.tile(weights, len(centres))
        rows = np.arange(len(centres) + 1) * len(where) * 8
        part = sparse.csr_matrix(
            (
                values.reshape(8, len(centres), -1).transpose(1, 0, 2).ravel().astype(np.float32),
                columns.reshape(8, len(centres), -1).transpose(1, 0, 2).ravel(),
                rows,
            ),
            shape=(len(centres), size),
        )
        part.eliminate_zeros()
        part.sum_duplicates()
        yield part


def _corners(
    points: Float[Array, "n 3"], shape: tuple[int, int, int]
) -> tuple[Array, Float[Array, "8 n"]]:
    """The voxels around points and their weights of trilinear interpolation, each (8, N)."""
    low = np.floor(points)
    part = points - low
    columns = np.zeros((8, len(points)), np.int32)
    values = np.ones((8, len(points)))
    for corner, ends in enumerate(product((0, 1), repeat=3)):
        for axis, end in enumerate(ends):
            at = low[:, axis] + end
            inside = (at >= 0) & (at < shape[axis])
            values[corner] *= inside * (part[:, axis] if end else 1 - part[:, axis])
            columns[corner] = columns[corner] * shape[axis] + np.where(inside, at, 0)
    return columns, values


def _counts(part: sparse.csr_matrix) -> Array:
    return np.diff(part.indptr)


def _tensor(matrix: sparse.spmatrix, shape: tuple[int, int], device: torch.device | str) -> Tensor:
    """A sparse tensor of the rows of a CSR matrix, or of the columns of a CSC matrix."""
    rows, columns = (
        torch.from_numpy(np.asarray(each, np.int32)) for each in (matrix.indptr, matrix.indices)
    )
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # that they are in beta
        return torch.sparse_csr_tensor(
            rows, columns, torch.from_numpy(matrix.data), shape, check_invariants=False
        ).to(device)


def _product(matrix: Tensor, vector: Tensor) -> Tensor:
    if vector.device.type == "cpu" and not torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]
        rows, columns = (each.numpy() for each in (matrix.crow_indices(), matrix.col_indices()))
        held = sparse.csr_matrix((matrix.values().numpy(), columns, rows), shape=matrix.shape)
        return torch.from_numpy(held @ vector.reshape(-1).numpy())
    return matrix @ vector.reshape(-1)
