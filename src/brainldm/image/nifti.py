"""NIfTI as we write it: the same bytes for the same image, quickly compressed."""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
from isal import igzip
from numpy.typing import NDArray

LEVEL = 3
"""Of ISA-L's gzip: as small as zlib's level 1 to 6, several times as quick."""


def nifti_bytes(
    array: NDArray[Any], affine: NDArray[np.float64], compress: bool = True, space: str = "mni"
) -> bytes:
    """The content of a NIfTI file, of the array's own type, gzipped or not.

    Args:
        array: (X, Y, Z).
        affine: (4, 4), voxel to world in mm.
        compress: gzip it.
        space: of the world, as NIfTI names it: mni, or scanner for anywhere.
    """
    content: bytes = nifti(array, affine, space).to_bytes()
    # No time stamp, so that the same image is the same file.
    return igzip.compress(content, compresslevel=LEVEL, mtime=0) if compress else content


def nifti(array: NDArray[Any], affine: NDArray[np.float64], space: str = "mni") -> nib.Nifti1Image:
    """An image of nibabel; arguments as of `nifti_bytes`."""
    image = nib.Nifti1Image(array, affine)
    image.set_sform(affine, code=space)
    image.set_qform(affine, code=space)
    image.header.set_xyzt_units(xyz="mm")
    return image
