"""An image with its affine: NIfTI in and out, with a JSON sidecar and a preview picture.

World coordinates are millimetres, RAS+ (x to the right, y to the front, z up), as in nibabel.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import nibabel as nib
import numpy as np
from isal import igzip
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray
from scipy import ndimage

from brainldm.errors import BrainLDMError, DataError, StorageError, UsageError
from brainldm.files import refuse_existing, to_json, write_together
from brainldm.image.grid import Grid
from brainldm.image.slices import preview_png

SUFFIXES = (".nii.gz", ".nii")
UNREADABLE = (ImageFileError, HeaderDataError, OSError, EOFError, zlib.error)
"""What nibabel raises for a file that is missing, damaged or no image."""
FORBIDDEN = (FileNotFoundError, PermissionError, IsADirectoryError)
"""Those of them that say nothing of the file's content."""
LEVEL = 3
"""Of ISA-L's gzip: as small as zlib's level 1 to 6, several times as quick."""


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3-D image in world space.

    Args:
        array: (X, Y, Z), kept as float32.
        affine: (4, 4), from voxel to world in mm.
        metadata: what the JSON sidecar will say; without it no sidecar is written.

    Raises:
        DataError: the array is not 3-D, is empty or has values that are not finite, or the
            affine is not an invertible (4, 4).
    """

    array: NDArray[np.float32]
    affine: NDArray[np.float64]
    metadata: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        array = np.asarray(self.array, dtype=np.float32)
        affine = np.asarray(self.affine, dtype=np.float64)
        Grid.of(array.shape, affine)
        unfit = int(np.count_nonzero(~np.isfinite(array)))
        if unfit:
            raise DataError(
                f"{unfit} of the image's {array.size} values are NaN or infinite: expected finite "
                "intensities. Replace them, for instance with numpy.nan_to_num."
            )
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "affine", affine)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a 3-D NIfTI.

        Raises:
            StorageError: there is no such file, or it may not be read.
            DataError: it is not a NIfTI, is damaged, does not say where in space it lies, or is
                not a 3-D image of finite real numbers.
        """
        image = open_nifti(path)
        try:
            array = image.get_fdata(dtype=np.float32)
        except UNREADABLE as error:
            raise _unreadable(path, error) from error
        try:
            return cls(array, image.affine)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None

    @property
    def grid(self) -> Grid:
        """Where the voxels are."""
        return Grid.of(self.array.shape, self.affine)

    def resample(self, grid: Grid) -> Volume:
        """This image on another grid of the same world (trilinear), as the affines say.

        What lies outside this image takes its lowest value.

        Raises:
            DataError: the two do not overlap anywhere.
        """
        to_here = grid.to_voxels_of(self.grid)
        inside = ndimage.affine_transform(
            np.ones(self.array.shape, np.uint8), to_here, output_shape=grid.shape, order=0
        )
        if not inside.any():
            centre = self.grid.corners.mean(axis=0)
            raise DataError(
                f"The image, centred on {np.round(centre).tolist()} mm, does not touch the grid "
                f"that it should be brought to, {grid.extent}. Expected an image registered to "
                "MNI152 space, at least roughly; check its orientation and origin in a viewer."
            )
        array = ndimage.affine_transform(
            self.array, to_here, output_shape=grid.shape, order=1, cval=float(self.array.min())
        )
        return Volume(array, grid.matrix, self.metadata)

    def save(self, path: str | Path, *, overwrite: bool = False, preview: bool = False) -> Path:
        """Write a NIfTI in MNI152 space, and beside it the sidecar (.json) and preview (.png).

        The files appear whole or not at all, the NIfTI last.

        Args:
            path: ends in .nii.gz or .nii; missing folders are made.
            overwrite: replace what is there, a sidecar or preview of an earlier image included.
            preview: also draw the three orthogonal slices through the world's origin.

        Returns:
            The path of the NIfTI.

        Raises:
            UsageError: another suffix, or a file that exists.
            StorageError: a folder that cannot be written, or a full disk.
        """
        nifti, sidecar, picture = output_paths(path)
        if not overwrite:
            refuse_existing((nifti, sidecar, picture))
        contents: dict[Path, bytes] = {}
        if self.metadata is not None:
            contents[sidecar] = self.to_sidecar()
        if preview:
            contents[picture] = preview_png(self.array, self.affine)
        contents[nifti] = self.to_nifti(compress=nifti.name.endswith(".gz"))
        write_together(contents)
        for stale in {sidecar, picture} - contents.keys():
            stale.unlink(missing_ok=True)
        return nifti

    def to_sidecar(self) -> bytes:
        """The content of the JSON file."""
        return to_json(self.metadata)

    def to_nifti(self, compress: bool = True) -> bytes:
        """The content of a NIfTI file in MNI152 space, gzipped or not."""
        return nifti_bytes(self.array, self.affine, compress)


def nifti_bytes(array: NDArray[Any], affine: NDArray[np.float64], compress: bool = True) -> bytes:
    """The content of a NIfTI file in MNI152 space, of the array's own type, gzipped or not."""
    image = nib.Nifti1Image(array, affine)
    image.set_sform(affine, code="mni")
    image.set_qform(affine, code="mni")
    image.header.set_xyzt_units(xyz="mm")
    content: bytes = image.to_bytes()
    # No time stamp, so that the same image is the same file.
    return igzip.compress(content, compresslevel=LEVEL, mtime=0) if compress else content


def read_grid(path: str | Path) -> Grid:
    """Where the voxels of a NIfTI are, from its header alone.

    Raises:
        BrainLDMError: as `Volume.load`, but for what only the voxels show.
    """
    image = open_nifti(path)
    try:
        return Grid.of(image.shape, image.affine)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def open_nifti(path: str | Path) -> nib.Nifti1Pair:
    """A NIfTI of real numbers with a place in space; its voxels are not read yet.

    Raises:
        DataError: the file is missing, is not a NIfTI, is damaged, or does not say where in space
            it lies.
    """
    try:
        image = nib.load(path)
    except UNREADABLE as error:
        raise _unreadable(path, error) from error
    if not isinstance(image, nib.Nifti1Pair):
        raise DataError(
            f"{path} is a {type(image).__name__}: expected a NIfTI (.nii, .nii.gz). "
            "Convert it first, for instance with mri_convert or dcm2niix."
        )
    if image.get_data_dtype().kind not in "iuf":
        raise DataError(
            f"{path} holds values of type {image.get_data_dtype()}: expected real numbers, "
            "one a voxel. Save the magnitude or one channel of it."
        )
    if not (image.header["sform_code"] or image.header["qform_code"]):
        raise DataError(
            f"{path} does not say where in space it lies (its sform and qform codes are 0), so "
            "that left cannot be told from right. Expected a header with an affine: convert "
            "the scan from DICOM again, or set the affine if you know it."
        )
    return image


def _unreadable(path: str | Path, error: Exception) -> BrainLDMError:
    kind = StorageError if isinstance(error, FORBIDDEN) else DataError
    return kind(f"Cannot read {path}: {error}. Expected a whole NIfTI file (.nii, .nii.gz).")


def output_paths(path: str | Path) -> tuple[Path, Path, Path]:
    """The NIfTI, sidecar and preview that `Volume.save(path)` writes.

    Raises:
        UsageError: the path ends in neither .nii.gz nor .nii.
    """
    path = Path(path)
    for suffix in SUFFIXES:
        if path.name.endswith(suffix):
            stem = path.name.removesuffix(suffix)
            return path, path.with_name(f"{stem}.json"), path.with_name(f"{stem}.png")
    raise UsageError(f"Cannot save as {path.name!r}: expected a name ending in .nii.gz or .nii.")
