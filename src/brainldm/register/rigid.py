"""Rigid registration to the reference head, with ANTsPy.

MNI152's head is larger than most. So a head is matched by a similarity, whose scale is left out of
the result: a head keeps its size. Everything runs on copies of 2 mm: a motion is found to a small
part of a voxel.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray as Array
from scipy import ndimage

from brainldm.errors import DataError
from brainldm.image.volume import Volume
from brainldm.register.images import (
    WORKING_MM,
    import_ants,
    moved,
    read_matrix,
    to_ants,
    working_copy,
    write_matrix,
)
from brainldm.register.reference import Reference

HEAD_MM = 150.0
"""From the crown down, the part of a scan that is taken for the head and not the neck."""
MIN_SIMILARITY = 0.4
"""The correlation with the template's brain below which a scan does not lie where it should."""
NEAR_MM, WITHIN_MM = 4.0, -4.0
"""From the template's inner skull: the brain and what is around it; the brain alone. Turned over,
17 heads, simulated and generated, lost 0.13 or more of their correlation in the latter."""
SIZES = (1.0, 1.04, 1.08, 1.12, 1.16, 1.2)
"""What a head is enlarged by before it is compared: MNI152's head is larger than most. As they
were, 11 heads simulated from label maps of people had similarities of 0.03 to 0.39; enlarged, of
0.60 to 0.77."""
TILTS = (0.0, 20.0, -20.0)
"""Degrees about the left-right axis that a registration starts from, until one succeeds."""
BRAIN_CENTRE = np.array([0.0, -18.0, 12.0])
"""Of the template, in mm."""


def register(scan: Volume, reference: Reference) -> tuple[Float[Array, "4 4"], float]:
    """Where a head lies: the rotation and translation that bring it to the reference.

    Args:
        scan: a T1-weighted head, in any place and orientation that its affine tells.
        reference: the head to match.

    Returns:
        (4, 4), the scan's world to MNI152 space, and the similarity reached (`similarity`).

    Raises:
        DataError: no start led to a head that resembles the reference.
    """
    ants = import_ants()
    fixed, moving = working_copy(reference.volume("head")), working_copy(scan)
    near = reference.to_skull(fixed.grid) < 4
    mask = Volume(near.astype(np.float32), fixed.affine)
    best = -1.0
    centre = _head_centre(fixed)
    with tempfile.TemporaryDirectory() as folder:
        for tilt in TILTS:
            to_scan = _shift(_head_centre(moving)) @ _rotation(tilt) @ _shift(-centre)
            for stage, sizes in (("coarse", (4, 2)), ("fine", (2, 1))):
                to_scan = _matched(
                    ants,
                    (fixed, moving, mask if stage == "fine" else None),
                    to_scan,
                    sizes,
                    Path(folder) / f"{stage}{tilt:g}",
                )
            to_mni = np.asarray(np.linalg.inv(_rigid(to_scan)), dtype=np.float64)
            alike = similarity(moved(moving, to_mni), reference)
            if alike >= MIN_SIMILARITY:
                return to_mni, alike
            best = max(best, alike)
    raise DataError(
        f"Cannot be registered to MNI152: the best correlation with the template's brain is "
        f"{best:.2f}, expected at least {MIN_SIMILARITY}. Check in a viewer that it is a "
        "T1-weighted head, whole, the right way up and with the orientation that its header says."
    )


def similarity(volume: Volume, reference: Reference) -> float:
    """The correlation of an image in MNI152 space with the template, in and around its brain.

    -1 to 1, at 4 mm, for the best of `SIZES`; 0 where the image does not reach the brain.
    """
    return _similarities(volume, reference)[0]


def outline(head: Volume, reference: Reference) -> Volume:
    """1 in the template's brain, made as large as that of a head in MNI152 space, else 0."""
    _, _, size = _similarities(head, reference)
    return moved(reference.volume("outline"), _resized(1 / size))


def _similarities(volume: Volume, reference: Reference) -> tuple[float, float, float]:
    """`similarity`, that within the brain alone, which no outline has a share in, and the size."""
    template, skull = coarse(reference)
    image = working_copy(volume, spacing=4)

    def alike(size: float) -> tuple[float, float, float]:
        there = moved(image, _resized(size)).resample(template.grid)
        near, within = (_correlation(there, template, skull < mm) for mm in (NEAR_MM, WITHIN_MM))
        return near, within, size

    try:
        return max(map(alike, SIZES))
    except DataError:
        return 0.0, 0.0, 1.0


def _correlation(one: Volume, other: Volume, where: Bool[Array, "x y z"]) -> float:
    a, b = (each.array[where].astype(np.float64) for each in (one, other))
    spread = a.std() * b.std()
    return float(np.mean((a - a.mean()) * (b - b.mean())) / spread) if spread else 0.0


def check_place(volume: Volume, reference: Reference) -> float:
    """The similarity of an image that is said to be registered.

    Raises:
        DataError: the image does not resemble the template, or does so turned over. Left and
            right cannot be told: the template is symmetric.
    """
    as_is, within, _ = _similarities(volume, reference)
    turned = []
    for name, signs in (
        ("front to back", (-1, 1)),
        ("upside down", (1, -1)),
        ("on its head", (-1, -1)),
    ):
        turn = np.diag([1.0, *signs, 1.0])
        turn[1:3, 3] = (1 - np.array(signs)) * BRAIN_CENTRE[1:]
        around, inside, _ = _similarities(moved(volume, turn), reference)
        if around >= MIN_SIMILARITY and inside > within:
            turned.append((inside, name))
    if turned:
        best, name = max(turned)
        raise DataError(
            f"Lies {name}: turned over, its correlation within the template's brain is {best:.2f}, "
            f"as it is {within:.2f}. Correct its orientation, or prepare it without --registered."
        )
    if as_is < MIN_SIMILARITY:
        raise DataError(
            f"Is not registered to MNI152: its correlation with the template's brain is "
            f"{as_is:.2f}, expected at least {MIN_SIMILARITY}. Check in a viewer that it is a "
            "T1-weighted head, or prepare it without --registered."
        )
    return as_is


def _matched(
    ants: Any,
    images: tuple[Volume, Volume, Volume | None],
    start: Float[Array, "4 4"],
    shrink: tuple[int, ...],
    prefix: Path,
) -> Float[Array, "4 4"]:
    """One registration; matrices take the fixed image's world to the moving image's."""
    fixed, moving, mask = images
    file = f"{prefix}-start.mat"
    write_matrix(ants, start, file)
    result = ants.registration(
        to_ants(ants, fixed),
        to_ants(ants, moving),
        "Similarity",
        initial_transform=[file],
        outprefix=str(prefix),
        mask=None if mask is None else to_ants(ants, mask),
        aff_random_sampling_rate=0.2,
        aff_iterations=(200,) * len(shrink),
        aff_shrink_factors=shrink,
        aff_smoothing_sigmas=tuple(factor // 2 for factor in shrink),
        singleprecision=False,
    )
    return read_matrix(ants, result["fwdtransforms"][0])


def _rigid(to_scan: Float[Array, "4 4"]) -> Float[Array, "4 4"]:
    """A similarity without its scale, which takes the template's brain to the same place."""
    rotation = np.eye(4)
    u, _, v = np.linalg.svd(to_scan[:3, :3])
    rotation[:3, :3] = u @ v
    centre = (to_scan @ [*BRAIN_CENTRE, 1])[:3]
    rigid: Float[Array, "4 4"] = _shift(centre) @ rotation @ _shift(-BRAIN_CENTRE)
    return rigid


def _resized(by: float) -> Float[Array, "4 4"]:
    """Larger or smaller about the middle of the template's brain."""
    resized: Float[Array, "4 4"] = (
        _shift(BRAIN_CENTRE) @ np.diag([by, by, by, 1.0]) @ _shift(-BRAIN_CENTRE)
    )
    return resized


def coarse(reference: Reference) -> tuple[Volume, Float[Array, "x y z"]]:
    """The template at 4 mm, and the distance to its inner skull, negative inside."""
    template = working_copy(reference.volume("head"), spacing=4)
    return template, reference.to_skull(template.grid)


def _head_centre(volume: Volume) -> Float[Array, " 3"]:
    """The middle of what is bright within `HEAD_MM` below the crown, in mm, (3,).

    Args:
        volume: from `working_copy`.
    """
    bright = volume.array > 0.15
    bright = ndimage.binary_opening(bright, iterations=2)
    heights = np.flatnonzero(bright.sum(axis=(0, 1)) * WORKING_MM**2 > 1000)
    if len(heights):
        bright[:, :, : max(0, heights[-1] - int(HEAD_MM / WORKING_MM))] = False
    middle = ndimage.center_of_mass(bright) if bright.any() else np.array(bright.shape) / 2
    return np.asarray(nib.affines.apply_affine(volume.affine, middle), dtype=np.float64)


def _shift(by: Float[Array, " 3"]) -> Float[Array, "4 4"]:
    matrix = np.eye(4)
    matrix[:3, 3] = by
    return matrix


def _rotation(degrees: float) -> Float[Array, "4 4"]:
    """About the left-right axis."""
    angle = np.deg2rad(degrees)
    matrix = np.eye(4)
    matrix[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return matrix
