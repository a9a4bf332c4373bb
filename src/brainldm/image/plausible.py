"""Whether an image can be an MRI of a head."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

from brainldm.errors import DataError
from brainldm.image.reading import open_image
from brainldm.image.volume import Volume

EXTENT_MM = (90.0, 600.0)
"""How far each side of a scan of a head can plausibly reach."""
AIR_HU, TISSUE_HU = (-1100.0, -900.0), (-200.0, 200.0)
LEAST_HU = 0.05
"""Of all values, what lies in each of the two ranges if they are Hounsfield units."""


def load_scan(path: Path, scaled: bool = False) -> Volume:
    """Read an image that is to be the scan of a head.

    Args:
        path: NIfTI or MGH.
        scaled: its intensities are in [0, 1] already, whoever wrote them.

    Raises:
        DataError: as `check_header`, `Volume.load` and `refuse_ct`; or an image of one value.
        StorageError: it cannot be read.
    """
    check_header(path)
    volume = Volume.load(path, scaled=scaled or None)
    refuse_ct(volume.array, path)
    if volume.array.min() == volume.array.max():
        raise DataError(
            f"{path} is empty: every voxel is {volume.array.flat[0]:g}. Expected a T1-weighted "
            "head; export it again."
        )
    return volume


def check_header(path: Path) -> None:
    """Refuse a scan by what its header alone can give away.

    Raises:
        BrainLDMError: as `open_image`; lengths that are not millimetres or cannot be a head's; two
            matrices that disagree about left and right.
    """
    header = open_image(path).header
    sides = nib.affines.voxel_sizes(header.affine) * header.shape
    likely = all(EXTENT_MM[0] <= side <= EXTENT_MM[1] for side in sides)
    if header.unit not in ("mm", "unknown") or not likely:
        size = " x ".join(f"{side:.4g}" for side in sides)
        raise DataError(
            f"{path} spans {size}, and its header calls the unit {header.unit!r}: expected a head "
            f"in millimetres, {EXTENT_MM[0]:g} to {EXTENT_MM[1]:g} a side. Correct the voxel "
            "sizes, or convert the scan from DICOM again."
        )
    if header.mirrored:
        raise DataError(
            f"{path} is left-right ambiguous: its sform and its qform are mirror images of each "
            "other. Find out which is right, and set the other to it, for instance with nibabel's "
            "set_qform."
        )


def refuse_ct(array: Float[Array, ...], image: object) -> None:
    """Refuse intensities that are Hounsfield units.

    Args:
        array: of an image, as it was stored.
        image: its name, for the message.

    Raises:
        DataError: they are.
    """
    air, tissue = (float(np.mean((array >= a) & (array <= b))) for a, b in (AIR_HU, TISSUE_HU))
    if min(air, tissue) > LEAST_HU:
        raise DataError(
            f"{image} looks like a CT: {air:.0%} of its values lie from {AIR_HU[0]:g} to "
            f"{AIR_HU[1]:g}, as air does in Hounsfield units. Expected an MRI; leave it out."
        )
