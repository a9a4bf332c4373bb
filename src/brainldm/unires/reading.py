"""Scans from their files, with what the JSON beside them says of their slices."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

from brainldm.errors import DataError, UsageError
from brainldm.files import read_json
from brainldm.image.grid import Grid
from brainldm.image.plausible import check_header, refuse_ct
from brainldm.image.reading import image_stem, open_image
from brainldm.unires.profile import across
from brainldm.unires.scan import Scan

FEWEST = 8
"""Voxels along each side of a scan; a localiser has 1 to 5 slices."""
AGREE = 0.05
"""By what share two statements of one distance may differ."""


def read_scans(
    files: Sequence[Path],
    contrasts: Sequence[str] = (),
    thicknesses: Sequence[float] = (),
) -> list[Scan]:
    """Read and check the scans of a person.

    Args:
        files: NIfTI or MGH images, a BIDS sidecar beside each, or none.
        contrasts: one for each; if none are given, names say them (`contrast_of`).
        thicknesses: of slices in mm: one for each, or one for all; if none are given, the
            sidecars say them, or there are no gaps.

    Raises:
        UsageError: a number of contrasts or thicknesses that does not fit, or a file twice.
        StorageError: a file cannot be read.
        DataError: an image is no scan of a head, or what is said of its slices contradicts itself.
    """
    for what, given in (("contrasts", contrasts), ("slice thicknesses", thicknesses)):
        if len(given) not in (0, len(files)) and not (given is thicknesses and len(given) == 1):
            raise UsageError(
                f"Got {len(files)} scans and {len(given)} {what}: expected as many, or none."
            )
    twice = {str(file) for file in files if files.count(file) > 1}
    if twice:
        raise UsageError(f"{', '.join(sorted(twice))} was given twice: expected each scan once.")
    for file in files:
        _check_header(file)
    names = list(contrasts) or [contrast_of(file) for file in files]
    given_mm = list(thicknesses) * (len(files) if len(thicknesses) == 1 else 1)
    return [
        _read(file, name, given_mm[place] if given_mm else None)
        for place, (file, name) in enumerate(zip(files, names, strict=True))
    ]


def contrast_of(file: Path) -> str:
    """What a scan's name says of its contrast: what is behind the last "_", or all of it."""
    return image_stem(file).rpartition("_")[2] or image_stem(file)


def _check_header(file: Path) -> None:
    shape = open_image(file).header.shape
    if min(shape) < FEWEST:
        raise DataError(
            f"{file} has {' x '.join(map(str, shape))} voxels: expected a scan of a whole head "
            f"with at least {FEWEST} slices. It looks like a localiser; leave it out."
        )
    check_header(file)


def _read(file: Path, contrast: str, thickness: float | None) -> Scan:
    image = open_image(file)
    array = image.read()
    refuse_ct(array, file)
    grid = Grid.of(image.header.shape, image.header.affine)
    if thickness is None:
        thickness = _said_thickness(file, grid)
    return Scan(_without_padding(array), grid, contrast, thickness, name=str(file))


def _without_padding(array: Float[Array, "x y z"]) -> Float[Array, "x y z"]:
    """Outer planes that are 0 throughout are no data, but padding."""
    array, something = np.array(array), array != 0
    for axis in range(3):
        filled = np.flatnonzero(np.any(something, axis=tuple({0, 1, 2} - {axis})))
        if len(filled):
            view = np.moveaxis(array, axis, 0)
            view[: filled[0]] = np.nan
            view[filled[-1] + 1 :] = np.nan
    return array


def _said_thickness(file: Path, grid: Grid) -> float | None:
    sidecar = file.with_name(f"{image_stem(file)}.json")
    if not os.path.isfile(sidecar):
        return None
    content = read_json(sidecar, "the BIDS sidecar of a scan. Restore it, or remove it")
    spacing = grid.spacing[across(grid)]
    said = {
        key: _number(content, key, sidecar) for key in ("SpacingBetweenSlices", "SliceThickness")
    }
    between, thickness = said.values()
    if between is not None and abs(between - spacing) > AGREE * spacing:
        raise DataError(
            f"{sidecar} says SpacingBetweenSlices {between:g} mm, and the slices of {file.name} "
            f"lie {spacing:.3g} mm apart: expected the same. Correct the JSON file, or give "
            "--slice-thickness; a scan that was resampled has to be given as the scanner made it."
        )
    return thickness


def _number(content: dict[str, Any], key: str, sidecar: Path) -> float | None:
    value = content.get(key)
    if value is None:
        return None
    fits = isinstance(value, int | float) and 0 < value <= sys.float_info.max
    if isinstance(value, bool) or not fits:
        raise DataError(f"{sidecar} says {key} {value!r}: expected a number of mm, more than 0.")
    return float(value)
