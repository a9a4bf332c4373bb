"""A scan as UniRes takes it: intensities, where they are, and how thick its slices were."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray as Array
from scipy import ndimage

from brainldm.errors import DataError
from brainldm.image.grid import Grid
from brainldm.unires.noise import Noise, estimate_noise
from brainldm.unires.profile import NEARLY, across
from brainldm.unires.registration import Seen

MOST_OVERLAP = 2.05
"""Times the distance between slices that they may be thick: those that overlap are twice."""
KNOWN = 0.99
"""The share of a voxel that has to be data to be so after interpolation."""
FINE = 0.52
"""Voxels up to this share of the volume's are averaged in pairs: they tell it no more."""


@dataclass(frozen=True, eq=False)
class Scan:
    """One image of a person.

    Args:
        array: intensities, NaN where there are none, (X, Y, Z).
        grid: where its voxels are.
        contrast: scans of one name are repeats, which one volume is made of.
        thickness: of its slices in mm; None is the distance between them.
        motion: from its world to the one that all scans share in mm, (4, 4).
        name: for messages.

    Raises:
        DataError: not (X, Y, Z) of the grid, infinite or constant intensities, or a thickness that
            contradicts the distance between slices.
    """

    array: Float[Array, "x y z"]
    grid: Grid
    contrast: str = "volume"
    thickness: float | None = None
    motion: Float[Array, "4 4"] | None = None
    name: str = "The scan"

    def __post_init__(self) -> None:
        array = np.asarray(self.array, dtype=np.float32)
        if array.shape != self.grid.shape or np.isinf(array).any():
            raise DataError(
                f"{self.name}: expected {self.grid.shape} intensities that are finite, or NaN "
                f"where there are none, got {array.shape} with "
                f"{np.count_nonzero(np.isinf(array))} infinite."
            )
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "motion", np.eye(4) if self.motion is None else self.motion)
        known = array[self.observed]
        if not known.size or known.min() == known.max():
            raise DataError(f"{self.name} is constant: expected a scan of a head. Export it again.")
        between = self.grid.spacing[across(self.grid)]
        if self.thickness is not None and not 0 < self.thickness <= MOST_OVERLAP * between:
            raise DataError(
                f"{self.name}: its slices are said to be {self.thickness:g} mm thick, and lie "
                f"{between:.3g} mm apart: expected more than 0 and at most twice the distance. "
                "Correct SliceThickness in its JSON file, or give --slice-thickness; a scan that "
                "was resampled has to be given as the scanner made it."
            )

    @cached_property
    def observed(self) -> Bool[Array, "x y z"]:
        """Which voxels are data."""
        observed: Bool[Array, "x y z"] = ~np.isnan(self.array)
        return observed

    @cached_property
    def filled(self) -> Float[Array, "x y z"]:
        """The intensities, the lowest where there are none."""
        return np.where(self.observed, self.array, np.nanmin(self.array))

    @cached_property
    def noise(self) -> Noise:
        """What its histogram says."""
        try:
            return estimate_noise(self.array, across(self.grid))
        except DataError as error:
            raise DataError(f"{self.name}: {error}") from None

    @property
    def seen(self) -> Seen:
        """For registration."""
        return Seen(self.filled, self.observed, self.grid)

    @property
    def placed(self) -> Grid:
        """Its grid in the world that all scans share."""
        assert self.motion is not None
        return Grid.of(self.grid.shape, self.motion @ self.grid.matrix)

    def paired(self, voxel_size: float) -> Scan:
        """With voxels that are finer than a volume's need be averaged in pairs."""
        array, matrix = self.array, self.grid.matrix
        slices = self.grid.shape[across(self.grid)]
        for axis, size in enumerate(self.grid.spacing):
            pairs = array.shape[axis] // 2
            if size > FINE * voxel_size or pairs < 1:
                continue
            even, odd = (np.take(array, range(first, 2 * pairs, 2), axis=axis) for first in (0, 1))
            array = (even + odd) / 2
            matrix[:3, 3] += matrix[:3, axis] / 2
            matrix[:3, axis] *= 2
        if array is self.array:
            return self
        grid = Grid.of(array.shape, matrix)
        same = across(grid) == across(self.grid) and array.shape[across(grid)] == slices
        thickness = self.thickness if same else None
        return replace(self, array=array, grid=grid, thickness=thickness).paired(voxel_size)

    def reslice(self, grid: Grid, order: int = 1) -> Float[Array, "x y z"]:
        """Interpolated on a grid of the shared world; NaN outside the scan."""
        to_here = np.linalg.inv(self.placed.matrix) @ grid.matrix
        read = ndimage.affine_transform(
            self.filled, to_here, output_shape=grid.shape, order=order, mode="nearest"
        )
        return np.where(self.covers(grid), read, np.float32(np.nan))

    def brought(self, grid: Grid) -> Scan:
        """On a grid, by cubic interpolation, if no voxel is larger than the grid's.

        Of such a scan the projection would be trilinear interpolation alone, and to invert that is
        to sharpen what the scanner did not blur: there is nothing but noise to take away.
        """
        if max(self.grid.spacing) > NEARLY * min(grid.spacing):
            return self
        to_here = np.linalg.inv(self.placed.matrix) @ grid.matrix
        known = ndimage.affine_transform(
            self.observed.astype(np.float32), to_here, output_shape=grid.shape, order=1
        )
        read = np.clip(self.reslice(grid, order=3), self.filled.min(), self.filled.max())
        array = np.where(known > KNOWN, read, np.float32(np.nan))
        brought = replace(self, array=array, grid=grid, motion=None, thickness=None)
        brought.__dict__["noise"] = self.noise  # which interpolation makes harder to see
        return brought

    def covers(self, grid: Grid) -> Bool[Array, "x y z"]:
        """Which voxels of a grid lie within the outer faces of the scan's voxels."""
        return grid.within(self.placed, beyond=0.5)
