"""Files of voxels, packed or not, read to their end: what is damaged or too large is refused."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from isal import igzip, isal_zlib

from brainldm.errors import DataError, StorageError

EXPECTED = "Expected a whole NIfTI (.nii, .nii.gz, or .hdr with .img) or MGH file (.mgz, .mgh)."
PACKED = b"\x1f\x8b"
"""What a gzip stream begins with."""
RATIO = 1100
"""More bytes than deflate unpacks from one."""
PIECE = 2**20
"""Bytes that are read at a time."""
MOST_BEHIND = 2**20
"""Bytes that may stand behind the voxels, as an MGH file's remarks do."""
_DAMAGED: tuple[Any, ...] = (
    EOFError,
    zlib.error,
    isal_zlib.error,
    ValueError,
    MemoryError,
)


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A regular file's content, unpacked if it is a gzip stream, whatever its name says.

    Raises:
        StorageError: there is no such file, or it may not be read.
        DataError: it is damaged, which a stream shows as it is read.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise StorageError(f"Cannot read {path}: it is no file. {EXPECTED}")
        with path.open("rb") as raw:
            packed = raw.read(2) == PACKED
            raw.seek(0)
            if not packed:
                yield raw
                return
            with igzip.GzipFile(fileobj=raw) as file:
                yield file
    except (StorageError, DataError):
        raise
    except _DAMAGED as error:
        raise damaged(
            path, f"its content is damaged ({str(error) or type(error).__name__})"
        ) from error
    except OSError as error:
        if error.errno is None:  # gzip's own, of its checksum
            raise damaged(path, f"its content is damaged ({error})") from error
        raise StorageError(f"Cannot read {path}: {error.strerror}. {EXPECTED}") from error


def check_size(path: Path, declared: int) -> None:
    """Refuse a file that cannot hold as many bytes as its header declares, before it is read.

    Raises:
        DataError: it is too short, packed or not.
    """
    with opened(path) as file:
        size = path.stat().st_size
        if isinstance(file, igzip.GzipFile):
            size *= RATIO
    if size < declared:
        raise damaged(path, f"it is cut short: its header declares {declared} bytes")


def pieces(path: Path, start: int, length: int) -> Iterator[bytes]:
    """Bytes of a file, a piece at a time; then the file is read to its end.

    Raises:
        StorageError: as `opened`.
        DataError: the file is damaged, is cut short, or goes on for long behind these bytes.
    """
    with opened(path) as file:
        file.seek(start)
        left = length
        while left:
            piece = file.read(min(PIECE, left))
            if len(piece) < min(PIECE, left):
                raise damaged(path, "it is cut short: it ends before the last voxel")
            left -= len(piece)
            yield piece
        behind = 0
        while piece := file.read(PIECE):  # to the end, where gzip keeps the checksum
            behind += len(piece)
            if behind > MOST_BEHIND:
                raise damaged(path, "it goes on for long behind the voxels that it declares")


def damaged(path: Path, why: str) -> DataError:
    """The error of a file that cannot be read, ready to be raised."""
    return DataError(f"Cannot read {path}: {why}. {EXPECTED}")
