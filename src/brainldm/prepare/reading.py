"""Reading one scan, with what a header can give away about it."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np

from brainldm.dataset.scans import ARCHIVED_SCAN, Scan
from brainldm.errors import DataError
from brainldm.image.volume import Volume, open_nifti

EXTENT_MM = (90.0, 600.0)
"""How far each side of a scan of a head can plausibly reach."""


def read_scan(scan: Scan) -> Volume:
    """Read and check a scan.

    Raises:
        DataError: what `Volume.load` refuses; lengths that are not millimetres or cannot be
            a head's; two matrices that disagree about left and right; an image of one value.
    """
    with _unpacked(scan) as path:
        try:
            _check_header(path)
            volume = Volume.load(path)
        except DataError as error:
            raise DataError(str(error).replace(str(path), str(scan.path))) from None
    if volume.array.min() == volume.array.max():
        raise DataError(
            f"{scan.path} is empty: every voxel is {volume.array.flat[0]:g}. Export it again."
        )
    return volume


@contextmanager
def _unpacked(scan: Scan) -> Iterator[Path]:
    if scan.path.suffix != ".zip":
        yield scan.path
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            with zipfile.ZipFile(scan.path) as archive:
                path = Path(archive.extract(ARCHIVED_SCAN, folder))
        except (KeyError, OSError, zipfile.BadZipFile) as error:
            raise DataError(
                f"Cannot read {ARCHIVED_SCAN} from {scan.path}: {error}. Expected a whole archive "
                "of UK Biobank's field 20252; fetch it again."
            ) from error
        yield path


def _check_header(path: Path) -> None:
    image = open_nifti(path)
    header = image.header
    unit = header.get_xyzt_units()[0]
    sides = nib.affines.voxel_sizes(image.affine) * image.shape[:3]
    if unit not in ("mm", "unknown") or not all(EXTENT_MM[0] <= s <= EXTENT_MM[1] for s in sides):
        size = " x ".join(f"{side:.4g}" for side in sides)
        raise DataError(
            f"{path} spans {size}, and its header calls the unit {unit!r}: expected a head in "
            f"millimetres, {EXTENT_MM[0]:g} to {EXTENT_MM[1]:g} a side. Correct the voxel sizes, "
            "or convert the scan from DICOM again."
        )
    if header["sform_code"] and header["qform_code"]:
        hands = [
            np.sign(np.linalg.det(m[:3, :3])) for m in (header.get_sform(), header.get_qform())
        ]
        if hands[0] != hands[1]:
            raise DataError(
                f"{path} is left-right ambiguous: its sform and its qform are mirror images of "
                "each other. Find out which is right, and set the other to it, for instance with "
                "nibabel's set_qform."
            )
