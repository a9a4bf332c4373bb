"""Measuring the ventricles and the brain of a simulated or generated head.

A segmentation by thresholds, learned from simulated heads, whose true volumes are known. White
matter's most frequent intensity is the unit. What lies deeper than a few millimetres inside tissue
and fluid is intracranial; its fluid is ventricle where, in coordinates scaled to the intracranial
cavity, training heads have more ventricle than other fluid. A line fitted on the training heads
corrects what is left. It holds for intensities as `brainldm.simulate.template_head` renders them,
not for scans.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Shaped
from numpy import ndarray as Array
from scipy import ndimage

from brainldm.errors import DataError
from brainldm.files import write_together
from brainldm.image.grid import Grid
from brainldm.image.volume import Volume
from brainldm.register.kept import load_template
from brainldm.segment.measures import Measures
from brainldm.simulate.template_head import SimulatedHead, simulate

Map = Float[Array, "x y z"]
Mask = Bool[Array, "x y z"]
Atlas = Float[Array, "81 81 81"]
Point = Float[Array, " 3"]

# Relative to white matter, between what the simulation renders: bone and air below 0.1 (0.23 in
# the middle of thick bone, 0.13 where a decoder blurs it), fluid at 0.26, grey matter at 0.69.
INTRACRANIAL = 0.19
FLUID = 0.26
GREY = 0.69
HALF_FLUID = (FLUID + GREY) / 2
DEPTH = 8.0
"""Millimetres that the cavity reaches around every part of it; diploe and scalp are thinner."""
SMALLEST_PART = 160.0
"""Cubic millimetres below which fluid apart from the rest is not ventricle."""
RULE_HEADS = range(60)
"""Simulated heads that the rule is learned from; the demo model's training has them too."""
ATLAS_SHAPE = (81, 81, 81)
ATLAS_HALF_WIDTH = 30.0
"""Atlas voxels for half the width of a cavity."""


@dataclass(frozen=True)
class Cavity:
    """What lies within the skull.

    Args:
        intensity: relative to white matter's, (X, Y, Z).
        mask: (X, Y, Z).
    """

    intensity: Map
    mask: Mask

    @property
    def fluid(self) -> Mask:
        """Voxels that are mostly fluid."""
        return self.mask & (self.intensity < HALF_FLUID)

    @cached_property
    def frame(self) -> tuple[Point, Point]:
        """The cavity's centre and half its width along each axis, in voxels, (3,) each."""
        counts = [self.mask.sum(tuple({0, 1, 2} - {axis})) for axis in range(3)]
        # Percentiles, because the edges hang on single voxels.
        low, high = (
            np.array([np.interp(at, c.cumsum() / c.sum(), np.arange(len(c))) for c in counts])
            for at in (0.05, 0.95)
        )
        return (low + high) / 2, (high - low) / 2

    def to_atlas(self, image: Shaped[Array, "x y z"]) -> Atlas:
        """Bring an image on this head's grid to the atlas's."""
        centre, half = self.frame
        step = half / ATLAS_HALF_WIDTH
        moved: Map = ndimage.affine_transform(
            image.astype(np.float32),
            np.diag(step),
            offset=centre - _middle() * step,
            output_shape=ATLAS_SHAPE,
            order=1,
        )
        return moved

    def from_atlas(self, atlas: Atlas) -> Map:
        """Bring an image on the atlas's grid to this head's."""
        centre, half = self.frame
        step = ATLAS_HALF_WIDTH / half
        moved: Map = ndimage.affine_transform(
            atlas,
            np.diag(step),
            offset=_middle() - centre * step,
            output_shape=self.mask.shape,
            order=1,
        )
        return moved


def _middle() -> Point:
    return (np.array(ATLAS_SHAPE) - 1) / 2


def find_cavity(image: Map, grid: Grid) -> Cavity:
    """The intracranial cavity of a head.

    Args:
        image: (X, Y, Z), intensities in [0, 1].
        grid: where its voxels are, in MNI152 space.

    Raises:
        DataError: an image of another shape, or without tissue in the middle of the brain.
    """
    if image.shape != grid.shape:
        raise DataError(
            f"Expected an image of shape {grid.shape}, as those that the rule was learned from, "
            f"got {image.shape}. Bring it to their grid first."
        )
    x, y, z = grid.points()
    middle = (x / 50) ** 2 + ((y + 20) / 60) ** 2 + ((z - 15) / 40) ** 2 < 1
    intensity = image / _white_matter(image[middle])
    inside = intensity > INTRACRANIAL
    depth = DEPTH / grid.spacing[0]
    # An opening: thin layers of scalp and diploe, and the gap between them, do not survive it.
    deep, _ = ndimage.label(ndimage.distance_transform_edt(inside) > depth)
    sizes = np.bincount(deep[middle & (deep > 0)], minlength=2)
    if not sizes.any():
        raise DataError(
            "Expected a head with a brain in the middle of MNI152 space, found no tissue there. "
            "Look at the image in a viewer."
        )
    core = deep == sizes.argmax()
    mask = inside & (ndimage.distance_transform_edt(~core) <= depth)
    return Cavity(intensity, ndimage.binary_fill_holes(mask))


def _white_matter(values: Float[Array, " n"]) -> float:
    """The most frequent intensity of the brighter tissue; grey matter lies below 0.58."""
    counts, edges = np.histogram(values, bins=100, range=(0.4, 1))
    smooth = ndimage.gaussian_filter1d(counts.astype(float), 2)
    peak = 30 + int(smooth[30:].argmax())
    return float((edges[peak] + edges[peak + 1]) / 2)


@dataclass(frozen=True)
class VolumeRule:
    """Measures (ventricular, brain) volumes in mL, the latter normalised for head size.

    Args:
        grid: of the images that it measures.
        intracranial_ml: the head size to which brain volumes are scaled.
        ventricle: the probability that fluid is ventricle, on the atlas's grid.
        lines: (offset, slope) for each of the two volumes, from raw to corrected.
    """

    grid: Grid
    intracranial_ml: float
    ventricle: Atlas
    lines: tuple[tuple[float, float], tuple[float, float]]

    @classmethod
    def learn(
        cls, heads: Iterable[SimulatedHead], grid: Grid, intracranial_ml: float
    ) -> VolumeRule:
        """Learn where ventricles lie, and the correction, from simulated heads without noise.

        Args:
            heads: some dozens.
            grid: theirs.
            intracranial_ml: that of the template they come from.
        """
        ventricle: Map = np.zeros(ATLAS_SHAPE, np.float32)
        other: Map = np.zeros(ATLAS_SHAPE, np.float32)
        kept = []
        for head in heads:
            image = head.clean.numpy()
            cavity = find_cavity(image, grid)
            truth = head.ventricles.numpy() > 0.4
            ventricle = ventricle + cavity.to_atlas(cavity.fluid & truth)
            other = other + cavity.to_atlas(cavity.fluid & ~truth)
            kept.append((image, head.conditions))
        ventricle, other = (ndimage.gaussian_filter(count, 1) for count in (ventricle, other))
        probability = (ventricle + 0.003) / (ventricle + other + 0.02)

        rule = cls(grid, intracranial_ml, probability, ((0, 1), (0, 1)))
        raw = np.array([rule.measure(image) for image, _ in kept])
        truth = np.array([(c.ventricular_volume_ml, c.brain_volume_ml) for _, c in kept])
        fits = [np.polynomial.Polynomial.fit(raw[:, i], truth[:, i], 1).convert() for i in (0, 1)]
        ventricles, brain = ((float(fit.coef[0]), float(fit.coef[1])) for fit in fits)
        return cls(grid, intracranial_ml, probability, (ventricles, brain))

    @classmethod
    def load(cls, file: Path, grid: Grid, intracranial_ml: float) -> VolumeRule:
        """Read what `save` wrote."""
        with np.load(file) as kept:
            (a, b), (c, d) = kept["lines"].tolist()
            return cls(grid, intracranial_ml, kept["ventricle"], ((a, b), (c, d)))

    def save(self, file: Path) -> None:
        """Write what was learned."""
        content = io.BytesIO()
        np.savez(content, ventricle=self.ventricle, lines=np.array(self.lines))
        write_together({file: content.getvalue()})

    def measure(self, image: Map) -> tuple[float, float]:
        """The ventricular and the normalised brain volume of a head, in mL.

        Args:
            image: (X, Y, Z) on this rule's grid, intensities in [0, 1].

        Raises:
            DataError: as `find_cavity`.
        """
        cavity = find_cavity(image, self.grid)
        voxel = self.grid.spacing[0] ** 3
        ventricle = self._ventricle(cavity)
        # Voxels at the edge are counted by how much of them is fluid.
        edge = ndimage.binary_dilation(ventricle) & ~cavity.fluid
        share = np.clip((GREY - cavity.intensity) / (GREY - FLUID), 0, 1)
        fluid = share[ventricle | edge].sum() * voxel / 1000
        brain = (1 - cavity.fluid.sum() / cavity.mask.sum()) * self.intracranial_ml
        (a, b), (c, d) = self.lines
        return a + b * float(fluid), c + d * float(brain)

    def _ventricle(self, cavity: Cavity) -> Mask:
        """Fluid where ventricles lie, without specks."""
        parts, _ = ndimage.label(cavity.fluid & (cavity.from_atlas(self.ventricle) > 0.5))
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        least = max(SMALLEST_PART / self.grid.spacing[0] ** 3, 0.04 * sizes.max())
        return np.isin(parts, np.flatnonzero(sizes >= least))


@dataclass(frozen=True)
class Simulated:
    """Measures heads with the contrast of simulated ones, by a `VolumeRule`."""

    rule: VolumeRule
    identity: str = "simulated"
    errors: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def learned(cls, grid: Grid, file: Path, progress: Callable[[int, int], None]) -> Simulated:
        """Learn the rule from `RULE_HEADS`, or read it from the file where that was done before.

        Args:
            grid: of the heads.
            file: .npz.
            progress: called with the number of heads that are simulated, and of all.
        """
        template = load_template()
        if file.is_file():
            return cls(VolumeRule.load(file, grid, template.intracranial_ml))
        heads = []
        for done, seed in enumerate(RULE_HEADS, 1):
            heads.append(simulate(seed, template, grid))
            progress(done, len(RULE_HEADS))
        rule = VolumeRule.learn(heads, grid, template.intracranial_ml)
        rule.save(file)
        return cls(rule)

    def measure(self, volume: Volume) -> Measures:
        """Measure a head on the rule's grid; errors as `VolumeRule.measure`."""
        return Measures(*self.rule.measure(volume.array))
