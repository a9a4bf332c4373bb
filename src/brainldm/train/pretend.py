"""A scan that might have been: from tissues to an image of some contrast, resolution and quality.

Domain randomisation (Billot et al. 2023, 2107.09559), made quick, on any device: a quarter of a
second for a part of a head of a million voxels, on one core. `simulate.render` makes images as they
should look; these are to differ from each other by more than any two scanners do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.nn import functional as F

from brainldm.image.smoothing import smooth
from brainldm.segment.scale import MOST
from brainldm.simulate.contrast import MIDDLE_AGE, Palette, draw_palette
from brainldm.simulate.priors import Priors
from brainldm.simulate.tissues import TISSUES, of_kind, of_number
from brainldm.train.label_pool import Head
from brainldm.train.segmenter_settings import Scans

BLUR_OF_VOXEL = 0.42
"""The deviation of a Gaussian that averages over a voxel, in its widths."""
LEAST_BLUR = 0.25
FLUID_STRIPPED = 0.6
"""The share of the images without skull that also lack the fluid around the brain."""
KNOTS = 4
"""A side of the grid of numbers that a bias field goes through."""
APART = 20
"""Voxels between the numbers that a displacement goes through."""
SLICES = 0.5
"""The share of the images of larger voxels in which they are thickest along one axis."""

BRIGHT = 0.98
"""The share of a head that is darker than the intensity 1: `rescaled` looks at air too."""

Counts = NDArray[np.int64]
"""Of each of `TISSUES`, (len(TISSUES),)."""


def draw_view(
    head: Head,
    size: tuple[int, int, int],
    scans: Scans,
    rng: np.random.Generator,
    device: torch.device,
) -> UInt8[Tensor, "x y z"]:
    """A part of a head, turned, scaled, bent: the tissue at the centre of every voxel of 1 mm."""
    turn = Rotation.from_euler("xyz", rng.normal(0, scans.rotate, 3), degrees=True).as_matrix()
    matrix = turn * np.exp(rng.normal(0, scans.scale, 3))
    low, high = np.array(head.low, float), np.array(head.high, float)
    # A view as large as the inside of the skull has it in its middle, a smaller one a part of it.
    slack = np.maximum((high - low) / 2 - (0.5 - scans.beyond) * np.array(size), 8)
    centre = (low + high) / 2 + rng.uniform(-1, 1, 3) * slack
    warp, noise = rng.uniform(0, scans.warp), Noise.of(rng, device)
    knots = [round(side / APART) + 1 for side in size]
    shifts = [warp * noise.smooth(size, knots) for _ in range(3)] if warp else None
    return read_view(torch.from_numpy(head.tissues).to(device), size, matrix, centre, shifts)


def read_view(
    tissues: UInt8[Tensor, "i j k"],
    size: Sequence[int],
    matrix: NDArray[np.float64],
    centre: NDArray[np.float64],
    shifts: Sequence[Float[Tensor, "x y z"]] | None = None,
) -> UInt8[Tensor, "x y z"]:
    """The tissue at the centre of every voxel of a view; air beyond the map.

    Args:
        tissues: places in `TISSUES`.
        size: of the view.
        matrix: from the view's voxels to the map's, (3, 3).
        centre: the place in the map in the middle of the view, in voxels from its edge.
        shifts: of each voxel's place along each axis, in voxels.
    """
    device = tissues.device
    lines = [torch.arange(side, device=device) - (side - 1) / 2 for side in size]
    index = torch.zeros(tuple(size), dtype=torch.int32, device=device)
    outside = torch.zeros(tuple(size), dtype=torch.bool, device=device)
    for axis, (row, middle, side) in enumerate(zip(matrix, centre, tissues.shape, strict=True)):
        x, y, z = (step * line for step, line in zip(row.tolist(), lines, strict=True))
        place = (x + float(middle))[:, None, None] + y[:, None] + z
        voxel = (place if shifts is None else place + shifts[axis]).floor_().int()
        outside |= (voxel < 0) | (voxel >= side)
        index *= side
        index += voxel.clamp_(0, side - 1)
    return tissues.reshape(-1)[index].masked_fill_(outside, 0)


def undress(
    tissues: UInt8[Tensor, "x y z"], counts: Counts, scans: Scans, rng: np.random.Generator
) -> tuple[UInt8[Tensor, "x y z"], Counts]:
    """Take away what a tool or the field of view may have taken: the skull, what is beyond a plane.

    What is taken is air, in the image and as its label.

    Args:
        tissues: of a view.
        counts: of each tissue in the whole head.
        scans: what is drawn.
        rng: what it is drawn from.
    """
    if rng.random() < scans.strip:
        kept = of_kind("brain", "ventricle", "fluid")
        if rng.random() < FLUID_STRIPPED:
            kept &= ~of_number(24)
        tissues = renumbered(tissues, np.where(kept, np.arange(len(TISSUES)), 0))
        counts = counts * kept
    if rng.random() < scans.cut:
        axis, end = int(rng.integers(3)), int(rng.integers(2))
        side = tissues.shape[axis]
        part = max(1, int(side * rng.uniform(0.05, 0.4)))
        tissues = tissues.clone()
        tissues.movedim(axis, 0)[slice(0, part) if end else slice(side - part, side)] = 0
    return tissues, counts


def renumbered(
    tissues: UInt8[Tensor, "x y z"], numbers: NDArray[np.integer]
) -> UInt8[Tensor, "x y z"]:
    """Each tissue by what stands at its place in a table, (len(TISSUES),)."""
    table = torch.from_numpy(numbers.astype(np.uint8)).to(tissues.device)
    return table[tissues.int()]


def draw_colours(scans: Scans, priors: Priors | None, rng: np.random.Generator) -> Palette:
    """What the tissues of an image look like: anything, or T1-weighted, more or less."""
    anything = draw_palette("random", MIDDLE_AGE, None, rng)
    share = 1.0 if rng.random() < scans.random else float(rng.uniform(0, scans.stray))
    usual = draw_palette("t1w", float(rng.uniform(20, 90)), priors, rng)
    means, textures, patches = (
        (usual_row + share * (any_row - usual_row)).astype(np.float32)
        for usual_row, any_row in (
            (usual.means, anything.means),
            (usual.textures, anything.textures),
            (usual.patches, anything.patches),
        )
    )
    means[0], textures[0], patches[0] = 0, 0, 0
    return Palette(means, textures, patches)


@dataclass(frozen=True)
class Noise:
    """Random numbers of a scan, on its device."""

    generator: torch.Generator

    @classmethod
    def of(cls, rng: np.random.Generator, device: torch.device) -> Self:
        """Such as follow from others."""
        return cls(torch.Generator(device).manual_seed(int(rng.integers(2**32))))

    def rough(self, shape: Sequence[int]) -> Float[Tensor, "x y z"]:
        """Numbers of unit variance, each by itself."""
        device = self.generator.device
        return torch.randn(tuple(shape), generator=self.generator, device=device)

    def smooth(self, shape: Sequence[int], knots: Sequence[int]) -> Float[Tensor, "x y z"]:
        """Numbers of about unit variance that change smoothly, by a coarse grid of so many."""
        return _resized(self.rough(knots), shape)


def scan(
    tissues: UInt8[Tensor, "x y z"],
    counts: Counts,
    palette: Palette,
    scans: Scans,
    rng: np.random.Generator,
) -> Float[Tensor, "x y z"]:
    """An image of tissues, on about the scale that `rescaled` gives a head.

    That of a small view would hang on what is in it.

    Args:
        tissues: places in `TISSUES`.
        counts: of each tissue in the whole head.
        palette: what they look like.
        scans: what is drawn.
        rng: what it is drawn from.
    """
    shape, noise, where = tissues.shape, Noise.of(rng, tissues.device), tissues.int()
    means, textures, patches = (
        torch.from_numpy(each).to(tissues.device)[where]
        for each in (palette.means, palette.textures, palette.patches)
    )
    image = means + textures * noise.rough(shape) + patches * noise.smooth(shape, [2 * KNOTS] * 3)
    voxel = np.ones(3)
    if rng.random() < scans.coarse:
        voxel[:] = rng.uniform(1, scans.plane_mm)
        if rng.random() < SLICES:
            voxel[rng.integers(3)] = rng.uniform(1, scans.slice_mm)
    blur = np.hypot(BLUR_OF_VOXEL * np.where(voxel > 1, voxel, 0), LEAST_BLUR)
    image = smooth(image[None], np.hypot(blur, rng.uniform(0, scans.blur)).tolist())[0]
    image *= (rng.uniform(0, scans.bias) * noise.smooth(shape, [KNOTS] * 3)).exp_()
    coarse = [max(2, round(side / width)) for side, width in zip(shape, voxel, strict=True)]
    deviation = rng.uniform(0, scans.noise) ** 2 / max(scans.noise, 1e-6)
    seen = _resized(image, coarse)
    magnitude = torch.hypot(seen + deviation * noise.rough(coarse), deviation * noise.rough(coarse))
    image = _resized(magnitude, shape)
    image = (image / _bright(palette.means, counts)).clamp_(0, MOST)
    image **= float(np.exp(rng.normal(0, scans.gamma)))
    image *= rng.uniform(1 - scans.exposure, 1 + scans.exposure)
    return image


def _bright(means: NDArray[np.float32], counts: Counts) -> float:
    """The intensity that the brightest of a head exceed."""
    order = np.argsort(means)
    shares = np.cumsum(np.where(order > 0, counts[order], 0))
    place = order[np.searchsorted(shares, BRIGHT * shares[-1])]
    return max(float(means[place]), 1e-3)


def _resized(image: Float[Tensor, ...], shape: Sequence[int]) -> Float[Tensor, "x y z"]:
    """Trilinear, on another number of voxels of the same field of view."""
    if tuple(shape) == image.shape:
        return image
    x, y, z = shape
    return F.interpolate(image[None, None], (x, y, z), mode="trilinear")[0, 0]
