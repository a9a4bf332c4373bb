"""Images between numpy and ANTs, small copies of them, and bias fields.

Matrices take millimetres to millimetres, RAS+; ITK's own are LPS+ and stay in here.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array
from scipy import ndimage

from brainldm.errors import require
from brainldm.image.fit import PERCENTILES
from brainldm.image.grid import Grid
from brainldm.image.volume import Volume

WORKING_MM = 2.0
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def import_ants() -> Any:
    """ANTsPy, single-threaded and with a fixed seed, so that a result can be had again.

    Raises:
        MissingExtraError: it is not installed.
    """
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"
    os.environ["ANTS_RANDOM_SEED"] = "1"
    require("prepare", "Registration", "ants")
    import ants

    return ants


def to_ants(ants: Any, volume: Volume) -> Any:
    """An ANTs image of a volume whose axes are at right angles."""
    affine = _LPS @ volume.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    return ants.from_numpy(
        np.asarray(volume.array, dtype=np.float32),
        origin=tuple(map(float, affine[:3, 3])),
        spacing=tuple(map(float, spacing)),
        direction=affine[:3, :3] / spacing,
    )


def write_matrix(ants: Any, matrix: Float[Array, "4 4"], file: str) -> None:
    """Write a linear transform for ANTs: (4, 4), RAS+."""
    lps = _LPS @ matrix @ _LPS
    transform = ants.create_ants_transform(
        transform_type="AffineTransform",
        matrix=lps[:3, :3],
        translation=lps[:3, 3],
        precision="double",
    )
    ants.write_transform(transform, file)


def read_matrix(ants: Any, file: str) -> Float[Array, "4 4"]:
    """A linear transform that ANTs wrote: (4, 4), RAS+."""
    transform = ants.read_transform(file, precision="double")
    images = np.array([transform.apply_to_point(p) for p in np.vstack([np.zeros(3), np.eye(3)])])
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = (images[1:] - images[0]).T, images[0]
    result: Float[Array, "4 4"] = _LPS @ matrix @ _LPS
    return result


def moved(volume: Volume, motion: Float[Array, "4 4"]) -> Volume:
    """The same voxels in another place; `motion` is (4, 4), from mm to mm."""
    return replace(volume, affine=motion @ volume.affine)


def working_copy(volume: Volume, spacing: float = WORKING_MM) -> Volume:
    """Isotropic, along the axes of the world, robustly scaled to [0, 1]."""
    corners = volume.grid.corners
    low, high = corners.min(axis=0), corners.max(axis=0)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = low
    x, y, z = (int(side) for side in np.ceil((high - low) / spacing) + 1)
    small = volume.resample(Grid.of((x, y, z), affine))
    bottom, top = np.percentile(small.array, PERCENTILES)
    return Volume(np.clip((small.array - bottom) / ((top - bottom) or 1), 0, 1), affine)


def correct_bias(scan: Volume) -> Volume:
    """Divide by the smooth field that N4 (Tustison et al. 2010) finds, of mean 1 in the head."""
    ants = import_ants()
    low = working_copy(scan)
    head = low.array > 0.1
    image = to_ants(ants, Volume(low.array + 0.01, low.affine))
    mask = to_ants(ants, Volume(head.astype(np.float32), low.affine))
    field = ants.n4_bias_field_correction(
        image,
        mask,
        shrink_factor=3,
        convergence={"iters": [30, 20, 10], "tol": 1e-4},
        spline_param=150,
        return_bias_field=True,
    ).numpy()
    log = np.log(np.clip(field, 0.1, 10))
    log -= log[head].mean()
    here = np.linalg.inv(low.affine) @ scan.affine
    grown = ndimage.affine_transform(
        log, here, output_shape=scan.array.shape, order=1, mode="nearest"
    )
    return Volume(scan.array / np.exp(grown), scan.affine)
