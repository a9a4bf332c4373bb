"""Heads of ellipsoids, for tests that need an anatomy but no real one."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from brainldm.simulate.anatomy import Anatomy, box_grid
from brainldm.simulate.tissues import MIRROR, NUMBERS, place

CENTRE = (0.0, -18.0, 12.0)
# From the outside inwards: the number, and the half axes in mm.
LAYERS = (
    (511, (80, 98, 88)),
    (507, (78, 96, 86)),
    (515, (74, 92, 82)),
    (24, (68, 86, 76)),
    (3, (64, 82, 72)),
    (2, (54, 72, 62)),
)
VENTRICLES = ((14.0, -18.0, 18.0), (9.0, 32.0, 12.0))
"""The centre of the right one, and its half axes, in mm."""


def tissues_at(points: NDArray[np.floating], gyri: float = 3.0) -> NDArray[np.uint8]:
    """Places of tissues at points in mm, (3, ...), of a head with wavy cortex."""
    x, y, z = points
    wave = 1 + gyri / 70 * np.sin(x / 5) * np.sin(y / 5) * np.sin(z / 5)
    result = np.zeros(x.shape, np.uint8)
    for number, axes in LAYERS:
        scale = wave if number in (2, 3) else 1
        inside = _ellipsoid(points, CENTRE, axes) < scale
        result[inside] = place(number)
    centre, axes = VENTRICLES
    for side in (-1, 1):
        result[_ellipsoid(points, (side * centre[0], *centre[1:]), axes) < 1] = place(4)
    return np.where(x < 0, result, MIRROR[result])


def _ellipsoid(
    points: NDArray[np.floating], centre: tuple[float, ...], axes: tuple[float, ...]
) -> NDArray[np.floating]:
    """The distance from a centre, 1 on the surface."""
    return np.sqrt(sum(((p - c) / a) ** 2 for p, c, a in zip(points, centre, axes, strict=True)))


@cache
def phantom(spacing: float = 3.0) -> Anatomy:
    """An anatomy of ellipsoids: ventricles of 29 mL, a brain of 1.5 L."""
    return Anatomy.of("phantom", tissues_at(box_grid(spacing).points()), spacing)


def write_label_map(path: Path, size: float = 0.35, **changes: int) -> nib.Nifti1Image:
    """A small head as a label map of 1 mm, axes to the left, the feet and the front.

    Args:
        path: of the file.
        size: of the head, relative to a real one.
        changes: numbers to be replaced, as "_4=0".
    """
    sides = (int(190 * size), int(230 * size), int(210 * size))
    affine = np.eye(4)
    affine[:3, 3] = np.array(CENTRE) - (np.array(sides) - 1) / 2
    middle = ((np.array(sides) - 1) / 2)[:, None, None, None]
    centre = np.array(CENTRE)[:, None, None, None]
    numbers = NUMBERS[tissues_at((np.indices(sides) - middle) / size + centre)]
    for old, new in changes.items():
        numbers[numbers == int(old.removeprefix("_"))] = new
    image = nib.Nifti1Image(numbers, affine)
    turn = nib.orientations.axcodes2ornt(("L", "I", "A"))
    turn = nib.orientations.ornt_transform(nib.orientations.io_orientation(affine), turn)
    image = image.as_reoriented(turn)
    nib.save(image, path)
    return image
