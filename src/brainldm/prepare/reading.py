"""Reading one scan, with what a header can give away about it."""

from __future__ import annotations

import lzma
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib

from brainldm.dataset.scans import ARCHIVED_SCAN, Scan
from brainldm.errors import DataError
from brainldm.image.reading import open_image
from brainldm.image.volume import Volume

EXTENT_MM = (90.0, 600.0)
"""How far each side of a scan of a head can plausibly reach."""

MOST_BYTES = 2**30
"""Of a scan in an archive."""


def read_scan(scan: Scan, scaled: bool = False) -> Volume:
    """Read and check a scan.

    Args:
        scan: which.
        scaled: its intensities are in [0, 1] already, whoever wrote them.

    Raises:
        DataError: what `Volume.load` refuses; lengths that are not millimetres or cannot be
            a head's; two matrices that disagree about left and right; an image of one value.
    """
    with _unpacked(scan) as path:
        try:
            _check_header(path)
            volume = Volume.load(path, scaled=scaled or None)
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
                if archive.getinfo(ARCHIVED_SCAN).file_size > MOST_BYTES:
                    raise ValueError(f"it is more than {MOST_BYTES} bytes")
                path = Path(archive.extract(ARCHIVED_SCAN, folder))
        except (
            *(KeyError, OSError, EOFError, ValueError, RuntimeError, struct.error),
            *(MemoryError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
        ) as error:
            raise DataError(
                f"Cannot read {ARCHIVED_SCAN} from {scan.path}: {error}. Expected a whole archive "
                "of UK Biobank's field 20252; fetch it again."
            ) from error
        yield path


def _check_header(path: Path) -> None:
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
