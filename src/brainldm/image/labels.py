"""An image of labels: an integer for every voxel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from brainldm.image.grid import Grid
from brainldm.image.nifti import nifti


@dataclass(frozen=True, eq=False)
class LabelImage:
    """The structure of every voxel.

    Args:
        array: numbers, int16, (X, Y, Z); 0 is none.
        affine: (4, 4), from voxel to world in mm.
    """

    array: NDArray[np.int16]
    affine: NDArray[np.float64]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """The numbers, for NumPy: np.asarray(labels)."""
        return np.array(self.array, dtype=dtype, copy=copy)

    @property
    def grid(self) -> Grid:
        """Where the voxels are."""
        return Grid.of(self.array.shape, self.affine)

    def to_nibabel(self) -> nib.Nifti1Image:
        """These labels as nibabel has them, in MNI152 space; voxels are shared, not copied."""
        return nifti(self.array, self.affine)
