"""The one door by which images come in: from a file to voxels and their place."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from brainldm.errors import DataError
from brainldm.files import sha256
from brainldm.image.header import LENGTH, Header, parse
from brainldm.image.stream import check_size, damaged, opened, pieces

READABLE = (".nii.gz", ".nii", ".mgz", ".mgh", ".hdr", ".img", ".hdr.gz", ".img.gz")
"""How the names of images end."""
_PARTNER = {".img": ".hdr", ".hdr": ".img"}


@dataclass(frozen=True)
class ImageFile:
    """An image on disk whose header is as it should be; its voxels are not read yet.

    Args:
        path: of the voxels.
        header: what it says.
    """

    path: Path
    header: Header

    def read(self) -> NDArray[np.float32]:
        """The voxels, (X, Y, Z) in Fortran's order, scaled as the header says.

        Raises:
            StorageError: the file cannot be read.
            DataError: it is damaged: cut short, with a checksum that is not its content's, or with
                much behind the voxels.
        """
        header = self.header
        voxels = int(np.prod(header.shape))
        if psutil.virtual_memory().available < 6 * voxels:
            raise damaged(self.path, f"its {voxels} voxels are more than the memory holds")
        try:
            array = np.empty(voxels, np.float32)
        except MemoryError:
            raise damaged(self.path, f"its {voxels} voxels are too many for the memory") from None
        done = 0
        for piece in pieces(self.path, header.offset, header.length):
            values = np.frombuffer(piece, header.dtype)
            array[done : done + len(values)] = _scaled(values, *header.scaling)
            done += len(values)
        return array.reshape(header.shape, order="F")


def open_image(path: str | Path) -> ImageFile:
    """Read and check the header of a NIfTI or MGH file, alone or as a pair, packed or not.

    Raises:
        StorageError: there is no such file, or it may not be read.
        DataError: it is no such image, is not one volume of real numbers, is too large or cut
            short by what its header says, or does not say where in space it lies.
    """
    path = Path(path)
    first, voxels = files_of(path)[0], files_of(path)[-1]
    with opened(first) as file:
        content = file.read(LENGTH)
    try:
        header = parse(content)
    except DataError as error:
        raise DataError(f"Cannot read {first}: {error}") from None
    if not header.paired:
        voxels = first
    elif voxels == first:
        raise damaged(first, "its header is that of a pair, and no .img belongs to its name")
    check_size(voxels, header.offset + header.length)
    return ImageFile(voxels, header)


def files_of(path: Path) -> tuple[Path, ...]:
    """The file of an image, or the two of a pair, the header first."""
    packed = ".gz" if path.name.endswith(".gz") else ""
    bare = path.name.removesuffix(packed)
    for end, other in _PARTNER.items():
        if bare.endswith(end):
            stem = bare.removesuffix(end)
            partner = path.with_name(f"{stem}{other}{packed}")
            if not partner.exists():  # one of them may be packed
                loose = path.with_name(f"{stem}{other}{'' if packed else '.gz'}")
                partner = loose if loose.exists() else partner
            return (path, partner) if end == ".hdr" else (partner, path)
    return (path,)


def image_stem(path: Path) -> str:
    """The name of an image without its end; that with .json is its sidecar's."""
    end = next((end for end in READABLE if path.name.endswith(end)), "")
    return path.name.removesuffix(end)


def image_sha256(path: Path) -> str:
    """The SHA-256 of an image's file; of a pair, that of the two files' own.

    Raises:
        StorageError: it cannot be read.
    """
    hashes = [sha256(file) for file in files_of(path)]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def _scaled(values: NDArray[np.generic], slope: float, inter: float) -> NDArray[np.float32]:
    """As nibabel scales: in double precision."""
    with np.errstate(all="ignore"):  # what overflows is found as infinite
        if (slope, inter) == (1, 0):
            return values.astype(np.float32)
        result: NDArray[np.float32] = (
            values.astype(np.float64) * np.float64(slope) + np.float64(inter)
        ).astype(np.float32)
        return result
