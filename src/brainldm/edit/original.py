"""A scan as it is, and where it lies in MNI152 space."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

from brainldm.dataset.sidecar import Source
from brainldm.errors import DataError
from brainldm.image.fit import fit_to_grid
from brainldm.image.grid import Grid
from brainldm.image.volume import Volume
from brainldm.register.images import moved


@dataclass(frozen=True, eq=False)
class Original:
    """What is edited.

    Args:
        volume: in its own space and resolution.
        source: its file, or "array", and the SHA-256.
        motion: from the scan's world to MNI152 space in mm, (4, 4).
        similarity: to the template, where it was registered.
        notes: what a person should know of it.
    """

    volume: Volume
    source: Source
    motion: Float[Array, "4 4"] = field(default_factory=lambda: np.eye(4))
    similarity: float | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, volume: Volume, motion: Float[Array, "4 4"] | None = None) -> Original:
        """A volume that was never a file, or of which nobody says which.

        Args:
            volume: a head.
            motion: from its world to MNI152 space in mm, (4, 4); None if it lies there.

        Raises:
            DataError: the motion is no invertible (4, 4).
        """
        digest = hashlib.sha256(volume.affine.tobytes())
        digest.update(np.ascontiguousarray(volume.array).tobytes())
        source = Source(name="array", sha256=digest.hexdigest())
        if motion is None:
            return cls(volume, source)
        matrix = np.asarray(motion, dtype=np.float64)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or not np.linalg.det(matrix):
            raise DataError(
                "motion takes the scan's world to MNI152 space: expected an invertible 4 x 4 "
                f"matrix, got {matrix.tolist()}."
            )
        return cls(volume, source, matrix)

    @property
    def in_mni(self) -> bool:
        """The scan's own world is MNI152 space."""
        return bool(np.array_equal(self.motion, np.eye(4)))

    def on(self, grid: Grid) -> Volume:
        """The scan on a model's grid, in [0, 1]; errors as `fit_to_grid`."""
        return fit_to_grid(moved(self.volume, self.motion), grid)

    def to_voxels_of(self, grid: Grid) -> Float[Array, "4 4"]:
        """From the scan's voxels to those of a grid in MNI152 space, (4, 4)."""
        to_grid: Float[Array, "4 4"] = np.linalg.inv(grid.matrix) @ self.motion @ self.volume.affine
        return to_grid
