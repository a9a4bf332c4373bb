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

from brainldm.dataset.scans import ARCHIVED_SCAN, Scan
from brainldm.errors import DataError
from brainldm.image.plausible import load_scan
from brainldm.image.volume import Volume

MOST_BYTES = 2**30
"""Of a scan in an archive."""


def read_scan(scan: Scan, scaled: bool = False) -> Volume:
    """Read and check a scan.

    Args:
        scan: which.
        scaled: its intensities are in [0, 1] already, whoever wrote them.

    Raises:
        DataError: what `Volume.load` refuses; lengths that are not millimetres or cannot be
            a head's; two matrices that disagree about left and right; a CT; an image of one
            value.
    """
    with _unpacked(scan) as path:
        try:
            return load_scan(path, scaled)
        except DataError as error:
            raise DataError(str(error).replace(str(path), str(scan.path))) from None


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
