"""Simulated heads as scanners would give them: anywhere, in any orientation, size and scale."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from brainldm.image.grid import Grid
from brainldm.image.volume import Volume
from brainldm.simulate.head import SimulatedHead

FIELD_MM = (200.0, 256.0, 216.0)
"""The field of view along the person's axes."""
NOISE = 0.015
"""Of the two channels of a magnitude image, where white matter is 0.78."""


def as_scanned(head: SimulatedHead, grid: Grid, seed: int) -> Volume:
    """Scan a simulated head.

    The head is turned by a few degrees and shifted by centimetres; the voxels are 0.8 to 1.3 times
    the grid's, not cubic, with their axes in any order and direction (the affine says which); the
    intensities have an arbitrary scale and offset, and noise of their own.

    Args:
        head: from `simulate`; its image without noise is used.
        grid: where the head's voxels are.
        seed: of all that the scanner does.
    """
    rng = np.random.default_rng(seed)
    motion = draw_pose(rng)
    spacing = grid.spacing[0] * rng.uniform(0.8, 1.3, 3)
    shape = np.ceil(np.array(FIELD_MM) / spacing).astype(int)
    affine = np.diag([*spacing, 1.0])
    centre = np.array([0.0, -18.0, 10.0]) + rng.uniform(-4, 4, 3)
    affine[:3, 3] = motion[:3] @ [*centre, 1] - spacing * (shape - 1) / 2

    to_head = np.linalg.inv(np.array(grid.affine)) @ np.linalg.inv(motion) @ affine
    x, y, z = map(int, shape)
    clean = ndimage.affine_transform(
        head.clean.numpy(), to_head, output_shape=(x, y, z), order=3, mode="grid-constant"
    )
    noise = NOISE * rng.standard_normal((2, x, y, z))
    image = np.hypot(clean + noise[0], noise[1]) * 10 ** rng.uniform(0, 3.5)

    axes = rng.permutation(3)
    flips = rng.choice((-1, 1), 3)
    turned = nib.Nifti1Image(image.astype(np.float32), affine).as_reoriented(
        np.stack([axes, flips], axis=1)
    )
    return Volume(np.ascontiguousarray(turned.dataobj), turned.affine)


def draw_pose(rng: np.random.Generator) -> NDArray[np.float64]:
    """How a person lies in the scanner: (4, 4), from their own space to the scan's."""
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_euler("xyz", rng.normal(0, 7, 3), degrees=True).as_matrix()
    motion[:3, 3] = rng.uniform(-25, 25, 3)
    return motion
