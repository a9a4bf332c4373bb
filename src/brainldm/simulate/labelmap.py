"""A label map of a whole head, as a file has it: read, checked, cleaned."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainldm.dataset.scans import image_files
from brainldm.errors import DataError, UsageError
from brainldm.image.reading import image_stem
from brainldm.image.volume import Volume
from brainldm.simulate.tissues import NUMBERS, TISSUES, of_kind, of_number, place

SPACING_MM = (0.8, 1.25)
"""Voxels of a label map; coarser ones do not hold the cortex, and finer ones are not needed."""
MARGIN = 4
"""Voxels of air around a head."""
CUT_MM2 = 1500.0
"""The area of head in an outermost slice from which on it is cut off there."""
NECK_MM = 60
"""By how much a head that ends at a cut below is continued downwards."""


@dataclass(frozen=True)
class LabelMap:
    """A head on its own grid, with air around it.

    Args:
        name: of the anatomy.
        tissues: places in `TISSUES`, uint8, (X, Y, Z), axes to the right, front and top.
        affine: (4, 4), voxel to mm.
    """

    name: str
    tissues: NDArray[np.uint8]
    affine: NDArray[np.float64]


def find_label_maps(folder: Path) -> dict[str, Path]:
    """The label maps of a folder by the name of their anatomy, in order.

    Raises:
        UsageError: there is no such folder.
        DataError: there is none, or two of one name.
    """
    if not os.path.isdir(folder):
        raise UsageError(
            f"There is no folder {folder}: expected one of label maps. `brainldm download "
            "label-maps` fetches some."
        )
    files = image_files(folder)
    names = [image_stem(path) for path in files]
    if not files:
        raise DataError(
            f"{folder} has no label maps: expected NIfTI or MGH files of whole heads with "
            "FreeSurfer's numbers. `brainldm download label-maps` fetches some."
        )
    if len(set(names)) < len(names):
        raise DataError(f"{folder} has two label maps of one name: rename or remove one.")
    return dict(zip(names, files, strict=True))


def read_label_map(path: Path, name: str) -> LabelMap:
    """Read a label map in any orientation that its header tells.

    A head that is cut below, at the neck or the skull base where the field of view ended, is
    continued downwards with its lowest slice. Anything that hangs apart from the head is left out.

    Raises:
        StorageError: the file cannot be read.
        DataError: what cannot be simulated from, with what was expected.
    """
    array, affine = _read(path)
    tissues = _to_places(array, path)
    parts, _ = ndimage.label(tissues > 0)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    tissues[parts != sizes.argmax()] = 0
    _check_tissues(tissues, affine, path)
    _check_whole(tissues, affine, path)
    tissues, affine = _trimmed(tissues, affine)
    return LabelMap(name, tissues, affine)


def _read(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    volume = Volume.load(path)
    spacing = volume.grid.spacing
    if not all(SPACING_MM[0] <= side <= SPACING_MM[1] for side in spacing):
        raise DataError(
            f"{path} has voxels of {' x '.join(f'{side:.3g}' for side in spacing)} mm: expected "
            f"about 1 mm ({SPACING_MM[0]:g} to {SPACING_MM[1]:g}), which the cortex needs."
        )
    image = nib.as_closest_canonical(nib.Nifti1Image(volume.array, volume.affine))
    return np.asarray(image.dataobj), image.affine


def _to_places(array: NDArray[np.float32], path: Path) -> NDArray[np.uint8]:
    numbers, places = np.unique(array, return_inverse=True)
    unknown = [f"{number:g}" for number in numbers.tolist() if number not in NUMBERS]
    if unknown:
        raise DataError(
            f"{path} has labels that the table of tissues does not know: {', '.join(unknown[:8])}"
            f"{', ...' if len(unknown) > 8 else ''}. Expected FreeSurfer's numbers, and 502 to 530 "
            "outside the brain. Change those, or leave this map out."
        )
    table = np.array([place(int(number)) for number in numbers.tolist()], dtype=np.uint8)
    result: NDArray[np.uint8] = table[places.reshape(array.shape)]
    return result


def _check_tissues(tissues: NDArray[np.uint8], affine: NDArray[np.float64], path: Path) -> None:
    counts = np.bincount(tissues.ravel(), minlength=len(TISSUES))
    needed: dict[str, tuple[tuple[int, ...], ...]] = {
        "a left and a right lateral ventricle (4, 43)": ((4,), (43,)),
        "a left and a right cerebral cortex (3, 42)": ((3,), (42,)),
        "a left and a right cerebral white matter (2, 41)": ((2,), (41,)),
        "fluid around the brain (24)": ((24,),),
        "skin or soft tissue (511, 507)": ((511, 507),),
        "bone (515)": ((515,),),
    }
    for what, numbers in needed.items():
        if not all(counts[of_number(*number)].any() for number in numbers):
            raise DataError(f"{path} is not the label map of a whole head: expected {what}.")
    left, right = (
        nib.affines.apply_affine(affine, ndimage.center_of_mass(tissues == place(number)))[0]
        for number in (2, 41)
    )
    if left > right:
        raise DataError(
            f"{path} has the left white matter (2) to the right of the right one (41): its header "
            "or its labels mistake the sides. Correct them."
        )


def _check_whole(tissues: NDArray[np.uint8], affine: NDArray[np.float64], path: Path) -> None:
    area = abs(np.linalg.det(affine[:3, :3])) / nib.affines.voxel_sizes(affine)
    within = of_kind("brain", "ventricle", "fluid")
    for axis, ends in enumerate((("left", "right"), ("back", "front"), ("neck", "crown"))):
        for end, where in zip((0, -1), ends, strict=True):
            face = tissues.take(end, axis)
            # The neck may end anywhere below the brain, and a nose or an ear may be cut.
            cut = (face > 0).sum() * area[axis] > CUT_MM2 and where == "crown"
            if cut or (within[face].sum() * area[axis] > CUT_MM2):
                raise DataError(
                    f"{path} is cut at the {where}: the head goes on beyond the field of view. "
                    "Expected the whole brain, and air above the crown. Leave this map out."
                )


def _trimmed(
    tissues: NDArray[np.uint8], affine: NDArray[np.float64]
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The head with a margin of air, continued downwards where it is cut."""
    box = ndimage.find_objects((tissues > 0).astype(np.uint8))[0]
    tissues = np.pad(tissues[box], MARGIN)
    start = np.array([side.start - MARGIN for side in box])
    area = np.prod(nib.affines.voxel_sizes(affine)[:2])
    if (tissues[:, :, MARGIN] > 0).sum() * area > CUT_MM2:
        # The slice above the lowest: that may be a part of one.
        lowest = tissues[:, :, MARGIN + 1 :]
        tissues = np.pad(lowest, ((0, 0), (0, 0), (NECK_MM, 0)), mode="edge")
        start[2] += MARGIN + 1 - NECK_MM
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ start
    return tissues, moved
