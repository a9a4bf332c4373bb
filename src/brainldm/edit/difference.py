"""What a model changed in a head, and the same change in the scan itself.

The change is the smooth deformation between the head as the model has it and as it has it after the
edit, and the smooth difference of intensities that the deformation does not explain. Both are small
where nothing changed; there the scan's own voxels stay, bit for bit. The autoencoder's blur is in
neither: it is in both images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray as Array
from scipy import ndimage

from brainldm.edit.demons import velocity_between
from brainldm.edit.original import Original
from brainldm.image.grid import Grid
from brainldm.image.volume import Volume
from brainldm.simulate.deform import exponential, pull

STILL_MM = 0.2
"""What moves by less stays where it is; from there to twice as much the movement fades in."""
FAINT = 0.03
"""Of the model's scale: the difference of intensities below which nothing is added."""
SMOOTH_MM = 2.0
"""The width of the Gaussian that differences of intensities are smoothed by."""
FINEST_MM = 1.5
"""Voxels below which deformations are found on a grid of twice their size."""
SLAB = 8
"""Planes of a scan that are worked on at a time."""


@dataclass(frozen=True, eq=False)
class Difference:
    """A change on a grid in MNI152 space.

    Args:
        grid: where.
        displacement: in voxels: what is at x after the change was at x + displacement before,
            (3, X, Y, Z).
        residual: what is added then, on the model's scale, (X, Y, Z).
    """

    grid: Grid
    displacement: Float[Array, "3 x y z"]
    residual: Float[Array, "x y z"]

    @classmethod
    def between(
        cls, before: Float[Array, "x y z"], after: Float[Array, "x y z"], grid: Grid
    ) -> Difference:
        """What leads from one image to the other, both of one head, in [0, 1]."""
        images = torch.from_numpy(np.stack([before, after]))
        if max(grid.spacing) < FINEST_MM:
            images = torch.nn.functional.avg_pool3d(images[None], 2)[0]
            grid = grid.coarser(2)
        first, second = images
        displacement = exponential(velocity_between(first, second))
        residual = (second - pull(first[None], displacement)[0]).numpy()
        residual = ndimage.gaussian_filter(residual, SMOOTH_MM / np.array(grid.spacing))
        faint = np.sign(residual) * np.maximum(np.abs(residual) - FAINT, 0)
        return cls(grid, displacement.numpy(), faint.astype(np.float32))

    def confined(self, where: Volume) -> Difference:
        """The part of the change where an image is 1; none where it is 0."""
        part = where.resample(self.grid).array
        return replace(self, displacement=self.displacement * part, residual=self.residual * part)

    def within(self, original: Original, scale: float = 1.0) -> Changed:
        """The change in a scan.

        Args:
            original: the scan.
            scale: the scan's intensities for 1 of the model's.
        """
        array = original.volume.array
        low, high = float(array.min()), float(array.max())
        result = array.copy()
        knots = ndimage.spline_filter(array, order=3, output=np.float32)
        changed = np.zeros(array.shape, bool)
        farthest = 0.0
        for rows, moved, places, added, reach in self._slabs(original):
            new = ndimage.map_coordinates(knots, places, order=3, prefilter=False, mode="nearest")
            values = np.where(reach > 0, new, array[rows][moved]) + scale * added
            result[rows][moved] = np.clip(values, low, high)
            changed[rows] = moved
            farthest = max(farthest, float(reach.max(initial=0)))
        return Changed(result, changed, farthest)

    def _slabs(
        self, original: Original
    ) -> Iterator[tuple[slice, Bool[Array, "i y z"], Array, Array, Array]]:
        """Some planes at a time: which voxels change, where each is read, and what is added."""
        to_grid = original.to_voxels_of(self.grid)
        turn, origin = to_grid[:3, :3], to_grid[:3, 3]
        back, spacing = np.linalg.inv(turn), np.array(self.grid.spacing)
        shape = original.volume.array.shape
        for start in range(0, shape[0], SLAB):
            rows = slice(start, min(start + SLAB, shape[0]))
            voxels = np.indices((rows.stop - start, *shape[1:])).reshape(3, -1)
            voxels[0] += start
            at = turn @ voxels + origin[:, None]
            by = np.stack([_read(each, at) for each in self.displacement])
            reach = np.linalg.norm(by * spacing[:, None], axis=0)
            fade = np.clip((reach - STILL_MM) / STILL_MM, 0, 1)
            added = _read(self.residual, at)
            moves = (fade > 0) | (added != 0)
            by, reach = (by * fade)[:, moves], (reach * fade)[moves]
            places = voxels[:, moves] + back @ by
            yield rows, moves.reshape(-1, *shape[1:]), places, added[moves], reach


@dataclass(frozen=True, eq=False)
class Changed:
    """A scan after a change.

    Args:
        array: its voxels, (X, Y, Z).
        where: they are not the original's, (X, Y, Z).
        farthest: that anything moved, mm.
    """

    array: Float[Array, "x y z"]
    where: Bool[Array, "x y z"]
    farthest: float

    @property
    def kept(self) -> float:
        """The share of voxels that are the original's, bit for bit."""
        return float(1 - self.where.mean())


def _read(image: Float[Array, "x y z"], at: Float[Array, "3 n"]) -> Float[Array, " n"]:
    """Trilinear values, 0 outside."""
    values: Float[Array, " n"] = ndimage.map_coordinates(image, at, order=1, mode="constant")
    return values
