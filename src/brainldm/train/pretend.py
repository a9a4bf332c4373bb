"""A scan that might have been: from tissues to an image of some contrast, resolution and quality.

Domain randomisation (Billot et al. 2023, 2107.09559), made quick: half a second for a part of a
head of a million voxels, on one core. `simulate.render` makes images as they should look;
these are to differ from each other by more than any two scanners do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation
from torch.nn import functional as F

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

BRIGHT = 0.98
"""The share of a head that is darker than the intensity 1: `rescaled` looks at air too."""

Places = NDArray[np.uint8]
Counts = NDArray[np.int64]
"""Of each of `TISSUES`, (len(TISSUES),)."""
Image = NDArray[np.float32]


def draw_view(
    head: Head, size: tuple[int, int, int], scans: Scans, rng: np.random.Generator
) -> Places:
    """A part of a head, turned and scaled: the tissue at the centre of every voxel of 1 mm."""
    turn = Rotation.from_euler("xyz", rng.normal(0, scans.rotate, 3), degrees=True).as_matrix()
    matrix = turn * np.exp(rng.normal(0, scans.scale, 3))
    low, high = np.array(head.low, float), np.array(head.high, float)
    # A view as large as the inside of the skull has it in its middle, a smaller one a part of it.
    slack = np.maximum((high - low) / 2 - (0.5 - scans.beyond) * np.array(size), 8)
    centre = (low + high) / 2 + rng.uniform(-1, 1, 3) * slack
    return read_view(head.tissues, size, matrix, centre)


def read_view(
    tissues: Places,
    size: Sequence[int],
    matrix: NDArray[np.float64],
    centre: NDArray[np.float64],
) -> Places:
    """The tissue at the centre of every voxel of a view; air beyond the map.

    Args:
        tissues: places in `TISSUES`, (X, Y, Z).
        size: of the view.
        matrix: from the view's voxels to the map's, (3, 3).
        centre: the place in the map in the middle of the view, in voxels from its edge.
    """
    lines = [np.arange(side, dtype=np.float32) - np.float32((side - 1) / 2) for side in size]
    index = np.zeros(tuple(size), np.int32)
    outside = np.zeros(tuple(size), bool)
    for row, middle, side in zip(matrix.astype(np.float32), centre, tissues.shape, strict=True):
        x, y, z = (step * line for step, line in zip(row, lines, strict=True))
        place = (x + np.float32(middle))[:, None, None] + y[:, None] + z
        voxel = np.floor(place).astype(np.int32)
        outside |= (voxel < 0) | (voxel >= side)
        index *= side
        index += np.clip(voxel, 0, side - 1)
    view: Places = tissues.reshape(-1)[index]
    view[outside] = 0
    return view


def undress(
    tissues: Places, counts: Counts, scans: Scans, rng: np.random.Generator
) -> tuple[Places, Counts]:
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
        tissues = np.where(kept, np.arange(len(TISSUES)), 0).astype(np.uint8)[tissues]
        counts = counts * kept
    if rng.random() < scans.cut:
        axis, end = int(rng.integers(3)), int(rng.integers(2))
        side = tissues.shape[axis]
        part = max(1, int(side * rng.uniform(0.05, 0.4)))
        tissues = tissues.copy()
        np.moveaxis(tissues, axis, 0)[slice(0, part) if end else slice(side - part, side)] = 0
    return tissues, counts


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


def scan(
    tissues: Places, counts: Counts, palette: Palette, scans: Scans, rng: np.random.Generator
) -> Image:
    """An image of tissues, (X, Y, Z) float32, on about the scale that `rescaled` gives a head.

    That of a small view would hang on what is in it.

    Args:
        tissues: places in `TISSUES`.
        counts: of each tissue in the whole head.
        palette: what they look like.
        scans: what is drawn.
        rng: what it is drawn from.
    """
    image = palette.means[tissues]
    image += palette.textures[tissues] * rng.standard_normal(image.shape, np.float32)
    image += palette.patches[tissues] * _field(image.shape, 2 * KNOTS, rng)
    voxel = np.ones(3)
    if rng.random() < scans.coarse:
        voxel[:] = rng.uniform(1, scans.plane_mm)
        voxel[rng.integers(3)] = rng.uniform(1, scans.slice_mm)
    blur = np.hypot(BLUR_OF_VOXEL * np.where(voxel > 1, voxel, 0), LEAST_BLUR)
    image = ndimage.gaussian_filter(image, np.hypot(blur, rng.uniform(0, scans.blur)), truncate=3)
    image *= np.exp(rng.uniform(0, scans.bias) * _field(image.shape, KNOTS, rng))
    coarse = [max(2, round(side / width)) for side, width in zip(image.shape, voxel, strict=True)]
    noise = np.float32(rng.uniform(0, scans.noise) ** 2 / max(scans.noise, 1e-6))
    seen = _resized(image, coarse)
    first, second = noise * rng.standard_normal((2, *coarse), np.float32)
    image = _resized(np.hypot(seen + first, second), image.shape)
    image = np.clip(image / _bright(palette.means, counts), 0, MOST)
    image **= np.float32(np.exp(rng.normal(0, scans.gamma)))
    image *= np.float32(rng.uniform(1 - scans.exposure, 1 + scans.exposure))
    return image


def _bright(means: NDArray[np.float32], counts: Counts) -> float:
    """The intensity that the brightest of a head exceed."""
    order = np.argsort(means)
    shares = np.cumsum(np.where(order > 0, counts[order], 0))
    place = order[np.searchsorted(shares, BRIGHT * shares[-1])]
    return max(float(means[place]), 1e-3)


def _field(shape: Sequence[int], knots: int, rng: np.random.Generator) -> Image:
    """Numbers of about unit variance that change smoothly."""
    coarse = rng.standard_normal((knots, knots, knots), np.float32)
    return _resized(coarse, shape)


def _resized(image: Image, shape: Sequence[int]) -> Image:
    """Trilinear, on another number of voxels of the same field of view."""
    if tuple(shape) == image.shape:
        return image
    x, y, z = shape
    resized = F.interpolate(torch.from_numpy(image)[None, None], (x, y, z), mode="trilinear")
    result: Image = resized[0, 0].numpy()
    return result
