"""Where the voxels of an image are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import nibabel as nib
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray as Array
from numpy.typing import ArrayLike

from brainldm.errors import DataError

Row = tuple[float, float, float, float]
TOLERANCE_MM = 1e-2
"""How far the corners of two grids may lie apart that count as the same."""
ROUNDING = 1e-6
"""Of a voxel: what lies at the edge of a grid by this much is on it."""


@dataclass(frozen=True)
class Grid:
    """A box of voxels in space; hashable, and the same after a round trip through JSON.

    Args:
        shape: (X, Y, Z).
        affine: voxel to millimetres of world space (RAS+), its rows; `matrix` is the array.
    """

    shape: tuple[int, int, int]
    affine: tuple[Row, Row, Row, Row]

    @classmethod
    def of(cls, shape: Sequence[int], affine: ArrayLike) -> Self:
        """A grid from what an image, a model or a JSON file says.

        Raises:
            DataError: not three sides of at least one voxel, or no invertible (4, 4) affine.
        """
        matrix = np.asarray(affine, dtype=np.float64)
        if len(shape) != 3 or min(shape) < 1:
            raise DataError(
                f"The shape is {tuple(shape)}: expected three dimensions (X, Y, Z), none empty. "
                "Take one volume of a series before giving it, such as image.slicer[..., 0]."
            )
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or np.linalg.det(matrix) == 0:
            raise DataError(
                "The affine takes voxels to millimetres: expected an invertible 4 x 4 matrix, got "
                f"{matrix.tolist()}."
            )
        x, y, z = map(int, shape)
        a, b, c, d = (_row(row) for row in matrix)
        return cls((x, y, z), (a, b, c, d))

    @classmethod
    def from_json(cls, said: object, where: str) -> Self:
        """A grid from an object of JSON that has a shape and an affine; `where` it stands.

        Raises:
            DataError: it says no grid.
        """
        try:
            if not isinstance(said, dict):
                raise TypeError(f"{said!r}")
            return cls.of(said["shape"], said["affine"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(
                f"{where} does not say where the images lie: expected a shape [X, Y, Z] and an "
                f"invertible 4 x 4 affine; got {error}. Make it again with what wrote it."
            ) from None

    @property
    def matrix(self) -> Float[Array, "4 4"]:
        """The affine as an array, (4, 4)."""
        return np.array(self.affine)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres a voxel along each axis."""
        x, y, z = nib.affines.voxel_sizes(self.matrix).tolist()
        return x, y, z

    @property
    def orientation(self) -> str:
        """Where the axes point, such as RAS."""
        return "".join(nib.aff2axcodes(self.matrix))

    @property
    def voxel_ml(self) -> float:
        """Millilitres a voxel."""
        return abs(float(np.linalg.det(self.matrix[:3, :3]))) / 1000

    @property
    def corners(self) -> Float[Array, "8 3"]:
        """The centres of the eight outermost voxels in millimetres, (8, 3)."""
        voxels = np.array(np.meshgrid(*((0, side - 1) for side in self.shape))).reshape(3, 8)
        corners: Float[Array, "8 3"] = voxels.T @ self.matrix[:3, :3].T + self.matrix[:3, 3]
        return corners

    def equals(self, other: Grid) -> bool:
        """The same voxels in the same places, to `TOLERANCE_MM`."""
        if self.shape != other.shape:
            return False
        return bool(np.abs(self.corners - other.corners).max() <= TOLERANCE_MM)

    def expect(self, found: Grid, file: Path) -> None:
        """Refuse an image of a data set that lies on another grid than this one.

        Raises:
            DataError: it does.
        """
        if not found.equals(self):
            raise DataError(
                f"{file} lies elsewhere than the images of this data set, which share one grid: "
                f"expected {self}, got {found}."
            )

    def within(self, other: Grid, beyond: float = 0.0) -> Bool[Array, "x y z"]:
        """Which of these voxels lie within another grid of the same world.

        Args:
            other: from the centres of its first voxels to those of its last.
            beyond: by how many voxels farther; 0.5 is to their outer faces.
        """
        inside = np.ones(self.shape, bool)
        lines = np.ogrid[tuple(slice(side) for side in self.shape)]
        for row, side in zip(self.to_voxels_of(other)[:3], other.shape, strict=True):
            parts = (step * line for step, line in zip(row[:3], lines, strict=True) if step)
            place = sum(parts, start=row[3])
            inside &= (place >= -beyond - ROUNDING) & (place <= side - 1 + beyond + ROUNDING)
        return inside

    def to_voxels_of(self, other: Grid) -> Float[Array, "4 4"]:
        """From this grid's voxels to another's, (4, 4)."""
        to_other: Float[Array, "4 4"] = np.linalg.inv(other.matrix) @ self.matrix
        return to_other

    def points(self) -> Float[Array, "3 x y z"]:
        """Every voxel's place in millimetres, (3, X, Y, Z)."""
        voxels = np.indices(self.shape, dtype=np.float32).reshape(3, -1)
        turn, origin = np.float32(self.matrix[:3, :3]), np.float32(self.matrix[:3, 3:])
        places: Float[Array, "3 x y z"] = (turn @ voxels + origin).reshape(3, *self.shape)
        return places

    def coarser(self, factor: float) -> Grid:
        """The same field of view in voxels `factor` times as wide; a part of one is left out."""
        matrix = self.matrix
        matrix[:3, 3] += matrix[:3, :3] @ np.full(3, (factor - 1) / 2)
        matrix[:3, :3] *= factor
        return Grid.of([max(1, int(side / factor)) for side in self.shape], matrix)

    def resized(self, shape: Sequence[int]) -> Grid:
        """As many voxels as asked for, of the same size about the same centre."""
        matrix = self.matrix
        matrix[:3, 3] += matrix[:3, :3] @ ((np.array(self.shape) - np.array(shape)) / 2)
        return Grid.of(shape, matrix)

    @property
    def extent(self) -> str:
        """The box in words: x -80 to 79 mm, ..."""
        sides = zip("xyz", self.corners.min(axis=0), self.corners.max(axis=0), strict=True)
        return ", ".join(f"{axis} {low:.0f} to {high:.0f} mm" for axis, low, high in sides)

    def __str__(self) -> str:
        """What tells two grids apart."""
        sides = " x ".join(map(str, self.shape))
        spacing = " x ".join(f"{side:g}" for side in self.spacing)
        origin = ", ".join(f"{x:.1f}" for x in self.matrix[:3, 3])
        return f"{sides} voxels of {spacing} mm, orientation {self.orientation}, origin ({origin})"


def _row(values: Float[Array, " 4"]) -> Row:
    a, b, c, d = map(float, values)
    return a, b, c, d
