"""An image of a subject: tissues to intensities, read where the deformation says, and blemished.

Partial volume comes from the resolution: intensities are averaged from voxels of half a millimetre
to half the voxels of the image, read at twice as many points along each axis as it has voxels, and
averaged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from brainldm.errors import UsageError
from brainldm.image.grid import Grid
from brainldm.simulate.anatomy import BOX_LOW, FLOW_MM
from brainldm.simulate.contrast import Palette
from brainldm.simulate.fields import smooth_field
from brainldm.simulate.subject import CENTRE, Subject
from brainldm.simulate.tissues import MIRROR, TISSUES, of_kind

SLAB = 16
"""Slices that are read at a time; even, since two make one of the image."""
PATCH_MM = 22.0
"""Over which intensities vary within a tissue."""
GRAIN_MM = 0.8
"""The width of what varies from voxel to voxel."""
BIAS_MM, BIAS = 90.0, 0.06
NOISE = 0.015
"""The deviation of each of the two channels of a magnitude image."""


@dataclass(frozen=True)
class Blemishes:
    """What a scanner adds.

    Args:
        bias: the deviation of the logarithm of a field that changes over `BIAS_MM`.
        noise: of each channel.
        blur: in mm, beyond that of the voxels.
        gamma: the exponent of intensities.
    """

    bias: float = BIAS
    noise: float = NOISE
    blur: float = 0.0
    gamma: float = 1.0


def render_labels(subject: Subject, grid: Grid) -> NDArray[np.uint8]:
    """The tissue at the centre of every voxel, as places in `TISSUES`, (X, Y, Z)."""
    source = subject.anatomy.tissues
    sides = source.shape
    result = np.empty(grid.shape, np.uint8)
    for rows, unit in _points(subject, grid):
        # From -1 to 1 across the box to the voxel that a point lies in.
        x, y, z = (
            ((unit[..., 2 - axis] + 1) * (side / 2)).long().clamp(0, side - 1).numpy()
            for axis, side in enumerate(sides)
        )
        result[rows] = source[x, y, z]
    return MIRROR[result] if subject.mirrored else result


def render_means(subject: Subject, grid: Grid, means: NDArray[np.float32]) -> Tensor:
    """The mean intensity of every voxel by what fills it, (X, Y, Z)."""
    spacing = min(grid.spacing)
    source = _averaged(subject.anatomy.tissues, means, spacing / 2 / subject.anatomy.spacing)
    fine = grid.coarser(0.5)
    result = torch.empty(grid.shape)
    for rows, unit in _points(subject, fine):
        values = F.grid_sample(
            source[None, None], unit[None], padding_mode="border", align_corners=False
        )[0, 0]
        result[rows.start // 2 : rows.stop // 2] = F.avg_pool3d(values[None], 2)[0]
    return result


def render(
    means: Tensor,
    labels: NDArray[np.uint8],
    grid: Grid,
    palette: Palette,
    blemishes: Blemishes,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """An image without and with noise, each (X, Y, Z) in [0, 1].

    Args:
        means: from `render_means`.
        labels: from `render_labels`.
        grid: theirs.
        palette: the subject's.
        blemishes: of the scan.
        generator: where the randomness comes from.
    """
    spacing = min(grid.spacing)
    grain = torch.randn(grid.shape, generator=generator).numpy()
    grain = ndimage.gaussian_filter(grain, GRAIN_MM / spacing, truncate=2.5)
    grain /= grain.std(dtype=np.float64)
    # Tissues that touch do not vary alike.
    patches = smooth_field(3, grid.shape, spacing, PATCH_MM, generator).numpy()
    groups = _groups()[labels]
    clean = means.numpy() + palette.textures[labels] * grain
    clean += palette.patches[labels] * np.choose(groups, patches)
    bias = smooth_field(1, grid.shape, spacing, BIAS_MM, generator)[0].numpy()
    clean = np.clip(clean, 0, None) ** blemishes.gamma * np.exp(blemishes.bias * bias)
    if blemishes.blur:
        clean = ndimage.gaussian_filter(clean, blemishes.blur / spacing)
    clean = torch.from_numpy(clean.astype(np.float32)).clamp(0, 1)
    noise = blemishes.noise * torch.randn(2, *grid.shape, generator=generator)
    return clean, torch.hypot(clean + noise[0], noise[1]).clamp(0, 1)


def _groups() -> NDArray[np.int64]:
    """Which of three fields each tissue varies with: white matter, other brain, all else."""
    white = np.array([tissue.material == "white" for tissue in TISSUES])
    return np.where(white, 0, np.where(of_kind("brain"), 1, 2))


def _averaged(tissues: NDArray[np.uint8], means: NDArray[np.float32], ratio: float) -> Tensor:
    """Intensities of an anatomy in voxels that are the largest power of 2 up to `ratio` as wide."""
    factor = max(each for each in (1, 2, 4, 8) if each <= max(ratio, 1) and _fits(tissues, each))
    result = torch.empty([side // factor for side in tissues.shape])
    for row in range(len(result)):
        block = torch.from_numpy(means[tissues[factor * row : factor * (row + 1)]])
        result[row] = F.avg_pool3d(block[None], factor)[0, 0]
    return result


def _fits(tissues: NDArray[np.uint8], factor: int) -> bool:
    return all(side % factor == 0 for side in tissues.shape)


def _points(subject: Subject, grid: Grid) -> Iterator[tuple[slice, Tensor]]:
    """Where in the anatomy the voxels of a subject's image lie, some slices at a time.

    Yields:
        The slices, and (x, Y, Z, 3), from -1 to 1 across the box, z first, as `grid_sample` has it.

    Raises:
        UsageError: the grid's axes are not those of the world.
    """
    axes = [_axis(grid, axis, subject) for axis in range(3)]
    shape = subject.displacement.shape[1:]
    planes = _interpolated(_interpolated(subject.displacement, 3, axes[2]), 2, axes[1])
    scale = 2 / torch.tensor(shape, dtype=torch.float32)
    for start in range(0, grid.shape[0], SLAB):
        rows = slice(start, min(start + SLAB, grid.shape[0]))
        moved = _interpolated(planes, 1, axes[0][rows])
        unit = torch.empty((*moved.shape[1:], 3))
        for axis, places in enumerate((axes[0][rows], *axes[1:])):
            lines = places.view([-1 if a == axis else 1 for a in range(3)])
            unit[..., 2 - axis] = (moved[axis] + lines + 0.5) * scale[axis] - 1
        yield rows, unit


def _axis(grid: Grid, axis: int, subject: Subject) -> Tensor:
    """Places along an axis in voxels of the flows' grid, of the head before it was scaled."""
    row = grid.matrix[axis]
    if np.abs(np.delete(row[:3], axis)).max() > 1e-6 * abs(row[axis]):
        raise UsageError(
            f"Heads are simulated on grids whose axes are those of MNI152 space, got {grid}."
        )
    places = row[axis] * np.arange(grid.shape[axis]) + row[3]
    if axis == 0 and subject.mirrored:
        places = -places
    places = CENTRE[axis] + (places - CENTRE[axis]) / subject.scale[axis]
    return torch.from_numpy((places - BOX_LOW[axis]) / FLOW_MM - 0.5).float()


def _interpolated(array: Tensor, axis: int, places: Tensor) -> Tensor:
    """Linear interpolation along an axis; beyond the edge, the value of the edge."""
    side = array.shape[axis]
    below = places.floor().long().clamp(0, side - 2)
    weight = (places - below).clamp(0, 1).view([-1 if a == axis else 1 for a in range(array.ndim)])
    low, high = (array.index_select(axis, each) for each in (below, below + 1))
    return torch.lerp(low, high, weight)
