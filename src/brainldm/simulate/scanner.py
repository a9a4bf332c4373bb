"""Simulated heads as scanners would give them: anywhere, in any orientation, size and scale.

`python -m brainldm.simulate.scanner scans --people 20` writes a data set of them, to try things on.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from brainldm.files import make_folder, write_together
from brainldm.image.grid import Grid
from brainldm.image.volume import Volume
from brainldm.register.template import load_template
from brainldm.simulate.template_head import SimulatedHead, simulate

FIELD_MM = (200.0, 256.0, 216.0)
"""The field of view along the person's axes."""
FIRST_SEED = 90_001
"""Of people whom nothing here was trained on."""
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


def write_scans(folder: Path, seeds: Iterable[int], spacing: float = 2.0) -> None:
    """A BIDS data set of simulated people, to try the software on.

    Args:
        folder: gets an image for each, and `participants.tsv` with their true covariates.
        seeds: one for each person.
        spacing: of the voxels, in mm, about (`as_scanned`).
    """
    template = load_template()
    shape = tuple(int(side // spacing) for side in (176, 232, 192))
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = np.array([-88.0, -130.0, -92.0]) + spacing / 2
    grid = Grid.of(shape, affine)
    rows = ["participant_id\tsex\tage\tventricular_volume_ml\tbrain_volume_ml"]
    for seed in seeds:
        head = simulate(seed, template, grid)
        name = f"sub-{seed}"
        make_folder(folder / name / "anat")
        image = as_scanned(head, grid, seed).to_nifti()
        write_together({folder / name / "anat" / f"{name}_T1w.nii.gz": image})
        of = head.conditions
        rows.append(
            f"{name}\t{of.sex}\t{of.age:.1f}\t{of.ventricular_volume_ml:.1f}\t"
            f"{of.brain_volume_ml:.0f}"
        )
    write_together({folder / "participants.tsv": ("\n".join(rows) + "\n").encode()})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Simulate people, and scan them.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--people", type=int, default=20)
    arguments = parser.parse_args()
    write_scans(arguments.folder, range(FIRST_SEED, FIRST_SEED + arguments.people))
