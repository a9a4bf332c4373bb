"""An image with its affine: NIfTI in and out, with a JSON sidecar and a preview picture.

World coordinates are millimetres, RAS+ (x to the right, y to the front, z up), as in nibabel.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Self

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainldm.errors import BrainLDMError, DataError, UsageError
from brainldm.files import read_json, refuse_existing, to_json, write_together
from brainldm.image.grid import Grid
from brainldm.image.labels import LabelImage
from brainldm.image.nifti import nifti, nifti_bytes
from brainldm.image.reading import image_stem, open_image
from brainldm.image.slices import preview_png

SUFFIXES = (".nii.gz", ".nii")
TOLERANCE = 1e-3
"""By how much an intensity on the scale [0, 1] may be off."""
FWHM = float(np.sqrt(8 * np.log(2)))
"""The full width at half maximum of a Gaussian, in its deviations."""
ROUNDING = 1e-3
"""By how much voxels may differ in width that count as of one width."""


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3-D image in world space.

    Args:
        array: (X, Y, Z), kept as float32.
        affine: (4, 4), from voxel to world in mm.
        metadata: what the JSON sidecar will say; without it no sidecar is written.
        scaled: intensities are on the models' scale, [0, 1], and are not to be scaled again.

    Raises:
        DataError: the array is not 3-D, is empty or has values that are not finite, or outside
            [0, 1] though `scaled`; or the affine is not an invertible (4, 4).
    """

    array: NDArray[np.float32]
    affine: NDArray[np.float64]
    metadata: Mapping[str, Any] | None = None
    scaled: bool = False

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
        if self.scaled and not _on_scale(array):
            raise DataError(
                f"The image is said to be scaled to [0, 1], and has intensities from "
                f"{array.min():g} to {array.max():g}. Scale it, or let it be scaled."
            )
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "affine", affine)

    @classmethod
    def load(cls, path: str | Path, *, scaled: bool | None = None, air: bool = True) -> Self:
        """Read a 3-D NIfTI or MGH image, alone or as a pair (.hdr, .img), packed or not.

        The file is read to its end, and its checksum has to be that of its content. A series of one
        volume is that volume.

        Args:
            path: of the file, or of either file of a pair.
            scaled: as of a `Volume`; None is what brainldm said in the JSON file beside the image
                when it wrote them, and False where it did not.
            air: values that are NaN and reach the edge of the image, as other tools write around a
                head, take the lowest value of the others; or else they are refused.

        Raises:
            StorageError: there is no such file, or it may not be read.
            DataError: it is no such image, is damaged, does not say where in space it lies, or is
                not one volume of real numbers, or not in [0, 1] though `scaled`.

        Warns:
            UserWarning: values that are NaN were taken for air.
        """
        image = open_image(path)
        array = _with_air(image.read(), path) if air else image.read()
        try:
            if scaled is None:
                scaled = _said_scaled(Path(path)) and _on_scale(array)
            return cls(array, image.header.affine, scaled=scaled)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None

    @classmethod
    def from_nibabel(cls, image: nib.spatialimages.SpatialImage, *, air: bool = True) -> Self:
        """An image that nibabel holds; a series of one volume is that volume.

        Args:
            image: of real numbers, with an affine.
            air: as in `load`.

        Raises:
            DataError: it is no such image, or not one volume.

        Warns:
            UserWarning: values that are NaN were taken for air.
        """
        if not isinstance(image, nib.spatialimages.SpatialImage) or image.affine is None:
            raise DataError(
                f"Got a {type(image).__name__}: expected an image of nibabel with an affine, such "
                "as nibabel.load gives. An array goes into Volume(array, affine)."
            )
        if image.get_data_dtype().kind not in "iuf":
            raise DataError(
                f"The image has values of type {image.get_data_dtype()}: expected real numbers, "
                "one a voxel. Take the magnitude or one channel of it."
            )
        header = image.header
        if isinstance(header, nib.Nifti1Header) and not header["sform_code"] + header["qform_code"]:
            raise DataError(
                "The image does not say where in space it lies (sform_code and qform_code are 0): "
                "set its affine with image.set_sform(affine, code), if you know it."
            )
        array = np.array(image.dataobj, dtype=np.float32)
        while array.ndim > 3 and array.shape[-1] == 1:
            array = array[..., 0]
        return cls(_with_air(array, "The image") if air else array, image.affine)

    def to_nibabel(self) -> nib.Nifti1Image:
        """This image as nibabel has it, in MNI152 space; its voxels are shared, not copied."""
        return nifti(self.array, self.affine)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """The voxels, for NumPy: np.asarray(volume)."""
        if copy or (dtype is not None and np.dtype(dtype) != self.array.dtype):
            if copy is False:
                raise ValueError(f"Voxels are float32: {dtype} needs a copy.")
            return self.array.astype(dtype or self.array.dtype)
        return self.array

    def __repr__(self) -> str:
        sides = " x ".join(map(str, self.array.shape))
        spacing = " x ".join(f"{side:.3g}" for side in nib.affines.voxel_sizes(self.affine))
        low, high = float(self.array.min()), float(self.array.max())
        made = (self.metadata or {}).get("brainldm", {})
        seed = f", seed {made['seed']}" if isinstance(made, Mapping) and "seed" in made else ""
        return f"Volume({sides} voxels of {spacing} mm, intensities {low:.3g} to {high:.3g}{seed})"

    def _repr_png_(self) -> bytes:
        """Three slices, which a notebook shows."""
        return preview_png(self.array, self.affine)

    @cached_property
    def labels(self) -> LabelImage:
        """The structures of this head, made by the segmenter that ships when first asked for.

        Raises:
            DataError: the image shows no head (`brainldm.segment.labelled.label`).
        """
        # By name: labelling is above images, and reads them.
        network: Any = import_module("brainldm.segment.network").Network.of()
        labels: LabelImage = network.label(self).image
        return labels

    @property
    def grid(self) -> Grid:
        """Where the voxels are."""
        return Grid.of(self.array.shape, self.affine)

    def resample(self, grid: Grid) -> Volume:
        """This image on another grid of the same world (trilinear), as the affines say.

        Where voxels become wider they are averages, as those of a scanner are: a Gaussian of this
        image's voxel becomes one of the grid's, each as wide at half its maximum as the voxel
        (Cardoso et al. 2015, "Scale factor point spread function matching: beyond aliasing in image
        resampling"). What lies outside this image takes its lowest value.

        Raises:
            DataError: the two do not overlap anywhere.
        """
        if not grid.within(self.grid).any():
            centre = self.grid.corners.mean(axis=0)
            raise DataError(
                f"The image, centred on {np.round(centre).tolist()} mm, does not touch the grid "
                f"that it should be brought to, {grid.extent}. Expected an image registered to "
                "MNI152 space, at least roughly; check its orientation and origin in a viewer."
            )
        to_here = grid.to_voxels_of(self.grid)
        widths = np.linalg.norm(to_here[:3, :3], axis=1)  # of the grid's voxels, in those of here
        widths[widths < 1 + ROUNDING] = 1
        widened = np.sqrt(widths**2 - 1) / FWHM
        array = ndimage.gaussian_filter(self.array, widened, mode="nearest")
        array = ndimage.affine_transform(
            array, to_here, output_shape=grid.shape, order=1, cval=float(self.array.min())
        )
        return Volume(array, grid.matrix, self.metadata, self.scaled)

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


def read_grid(path: str | Path) -> Grid:
    """Where the voxels of an image are, from its header alone.

    Raises:
        BrainLDMError: as `Volume.load`, but for what only the voxels show.
    """
    header = open_image(path).header
    return Grid.of(header.shape, header.affine)


def _on_scale(array: NDArray[np.float32]) -> bool:
    return bool(array.min() >= -TOLERANCE and array.max() <= 1 + TOLERANCE)


def _said_scaled(path: Path) -> bool:
    """Whether the sidecar of an image is brainldm's and says that intensities are in [0, 1]."""
    try:
        said = read_json(path.with_name(f"{image_stem(path)}.json"), "a sidecar")
        return bool(said["brainldm"]["intensity"]["scale"] == [0, 1])
    except (BrainLDMError, KeyError, TypeError):
        return False  # somebody else's, of whatever kind


def _with_air(array: NDArray[np.float32], path: str | Path) -> NDArray[np.float32]:
    """The values with what is NaN, up to the edge of the image, taken for what surrounds a head."""
    empty = np.isnan(array)
    if not empty.any() or empty.all():
        return array
    parts, count = ndimage.label(empty)
    outermost = [np.take(parts, (0, -1), axis) for axis in range(3)]
    within = count - len(set(np.concatenate([each.ravel() for each in outermost])) - {0})
    if within:
        raise DataError(
            f"{path} has {within} places within the head where values are NaN: expected NaN around "
            "a head alone, if anywhere. Make it again, or replace these values."
        )
    air = np.nanmin(array)
    array[empty] = air
    warnings.warn(
        f"{path}: {np.count_nonzero(empty)} of its {array.size} values are NaN, and were taken for "
        f"air, of the lowest value, {air:g}.",
        stacklevel=3,
    )
    return array


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
