"""Heads with a whole face, deformed from the template: smoother than those of `brainldm.simulate`.

A head is drawn by pulling the template's maps back through three deformations: the whole head
(size and shape), the brain within its skull (smaller, with fluid around it) and the ventricles
(wider or narrower, pushing the brain aside). The conditions are not what was aimed at but what is
measured on the deformed tissue maps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from brainldm.conditions import Conditions
from brainldm.image.grid import Grid
from brainldm.register.template import Template
from brainldm.simulate.fields import read_maps, smooth_field

VENTRICULAR_ML = (8.0, 82.0)
"""What the ventricles of a cohort aim at, in millilitres."""
BRAIN_ML = (1250.0, 1660.0)
"""What the brains of a cohort aim at, in millilitres, normalised for head size."""
BRAIN_CENTRE = (0.0, -20.0, 5.0)
"""The point towards which a brain shrinks, in millimetres of MNI152 space."""
VENTRICLE_REACH = 20.0
"""Millimetres over which the brain around a ventricle gives way."""


@dataclass(frozen=True)
class SimulatedHead:
    """One head.

    Args:
        clean: the image without noise, (X, Y, Z), in [0, 1].
        image: the same with the noise of a magnitude image.
        conditions: measured on the tissue maps.
        ventricles: the fraction of each voxel that is ventricle, (X, Y, Z).
        brain: the fraction that is grey or white matter.
    """

    clean: Tensor
    image: Tensor
    conditions: Conditions
    ventricles: Tensor
    brain: Tensor


@dataclass(frozen=True)
class _Deformation:
    """How one subject differs from the template; displacements are (3, X, Y, Z) in millimetres."""

    head_scale: Tensor
    head_field: Tensor
    brain_field: Tensor
    brain_scale: float
    ventricle_shift: float


@dataclass(frozen=True)
class _Tissues:
    """Maps on the subject's grid, each (X, Y, Z)."""

    grey: Tensor
    white: Tensor
    ventricles: Tensor
    residual: Tensor
    skull: Tensor
    surface: Tensor
    face: Tensor


def simulate(seed: int, template: Template, grid: Grid, twin: bool = False) -> SimulatedHead:
    """Draw a subject and an image of its head.

    Sex changes the size of the head (men's are larger) and of the skull; age lets ventricles grow,
    the brain shrink and the contrast between grey and white matter fade, all three weakly, so that
    the conditions stay nearly independent over their ranges.

    Args:
        seed: the subject.
        template: from `load_template`.
        grid: where the voxels are.
        twin: the same subject in all but its two volumes: what they aim at is mirrored about the
            middle of the range.
    """
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    male = bool(rng.random() < 0.5)
    age = float(rng.uniform(44, 82))
    decades = (age - 63) / 10
    ventricular_ml, brain_ml = float(rng.uniform(*VENTRICULAR_ML)), float(rng.uniform(*BRAIN_ML))
    if twin:
        ventricular_ml, brain_ml = sum(VENTRICULAR_ML) - ventricular_ml, sum(BRAIN_ML) - brain_ml
    ventricular_ml, brain_ml = ventricular_ml + 2 * decades, brain_ml - 12 * decades

    size = math.exp(rng.normal(0.018 if male else -0.018, 0.02))
    scale = np.array([0.915, 0.94, 0.94]) * size * np.exp(rng.normal(0, 0.015, 3))
    shape, spacing = grid.shape, grid.spacing[0]
    head_field = 2.0 * smooth_field(3, shape, spacing, 35, generator)
    brain_field = 1.2 * smooth_field(3, shape, spacing, 22, generator)
    brain_field += 0.6 * smooth_field(3, shape, spacing, 12, generator)
    deformation = _aim(
        _Deformation(
            torch.tensor(scale, dtype=torch.float32),
            _halve(head_field),
            _halve(brain_field),
            brain_scale=0.95,
            ventricle_shift=2.0,
        ),
        ventricular_ml,
        brain_ml,
        template,
        grid.coarser(2),
    )
    tissues = _deform(
        replace(deformation, head_field=head_field, brain_field=brain_field), template, grid
    )
    clean = _render(tissues, decades, male, grid, rng, generator)
    noise = 0.015 * torch.randn(2, *shape, generator=generator)
    image = torch.hypot(clean + noise[0], noise[1]).clamp(0, 1)
    measured = _measure(tissues, template, grid)
    return SimulatedHead(
        clean=clean,
        image=image,
        conditions=Conditions(
            sex="M" if male else "F",
            age=age,
            ventricular_volume_ml=measured[0],
            brain_volume_ml=measured[1],
        ),
        ventricles=tissues.ventricles,
        brain=tissues.grey + tissues.white,
    )


def _halve(field: Tensor) -> Tensor:
    return torch.nn.functional.avg_pool3d(field[None], 2)[0]


def _aim(
    start: _Deformation, ventricular_ml: float, brain_ml: float, template: Template, grid: Grid
) -> _Deformation:
    """The deformation that about reaches two volumes, by a few rounds on a coarse grid.

    The shift of the ventricles' wall is corrected as if they were balls, the size of the brain as
    if it were one; where they are not, the measured volumes differ from those aimed at.
    """
    d = start
    for _ in range(5):
        ventricles, brain = _measure(_deform(d, template, grid), template, grid)
        radius = 12.0 * ((ventricular_ml / 20) ** (1 / 2.2) - (ventricles / 20) ** (1 / 2.2))
        d = replace(
            d,
            brain_scale=min(d.brain_scale * (brain_ml / brain) ** (1 / 3.3), 1.02),
            ventricle_shift=max(min(d.ventricle_shift + 0.5 * radius, 16.0), -6.0),
        )
    return d


def _deform(d: _Deformation, template: Template, grid: Grid) -> _Tissues:
    centre = torch.tensor(BRAIN_CENTRE).view(3, 1, 1, 1)
    in_head = torch.from_numpy(grid.points()) / d.head_scale.view(3, 1, 1, 1) + d.head_field
    skull, surface, face = read_maps(template.head, in_head, template.origin)
    in_brain = centre + (in_head - centre) / d.brain_scale + d.brain_field
    distance, *direction = read_maps(template.ventricle, in_brain, template.origin)
    move = d.ventricle_shift * torch.exp(-distance.clamp(min=0) / VENTRICLE_REACH)
    # A wall that moves out may not pull in the tissue on the far side of the ventricle.
    move = torch.minimum(move, (distance + 1.5).clamp(min=0))
    in_ventricle = in_brain - move * torch.stack(direction)
    grey, white, ventricles, residual = read_maps(template.brain, in_ventricle, template.origin)
    # A smaller brain has wider sulci: its grey matter gives way to the fluid next to it.
    thinning = max(0.0, 0.97 - d.brain_scale) * 6
    fluid = (1 - grey - white).clamp(0, 1)
    widened = fluid ** (1 / (1 + thinning))
    keep = (1 - widened) / (1 - fluid).clamp(min=1e-3)
    keep = torch.where(ventricles > 0.05, torch.ones(()), keep.clamp(0, 1))
    within = (0.5 - skull).clamp(0, 1)
    return _Tissues(
        grey * keep * within,
        white * keep * within,
        ventricles * within,
        residual * keep * within,
        skull,
        surface,
        face,
    )


def _measure(tissues: _Tissues, template: Template, grid: Grid) -> tuple[float, float]:
    """Ventricular CSF, and brain volume scaled by the template's head size over the subject's."""
    voxel_ml = grid.spacing[0] ** 3 / 1000
    ventricles = tissues.ventricles.sum().item() * voxel_ml
    brain = (tissues.grey + tissues.white).sum().item() * voxel_ml
    within = (0.5 - tissues.skull / grid.spacing[0]).clamp(0, 1).sum().item() * voxel_ml
    return ventricles, brain * template.intracranial_ml / within


def _render(
    t: _Tissues,
    decades: float,
    male: bool,
    grid: Grid,
    rng: np.random.Generator,
    generator: torch.Generator,
) -> Tensor:
    """Turn tissues into T1-weighted intensities, layer by layer from the brain outwards."""
    white = 0.78 + rng.normal(0, 0.015)
    grey = 0.54 + 0.012 * decades + rng.normal(0, 0.012)
    fluid = 0.2 + rng.normal(0, 0.01)
    thickness = smooth_field(3, grid.shape, grid.spacing[0], 50, generator)
    bone = (5.5 + (0.0 if male else 0.5) + rng.normal(0, 0.4) + 0.8 * thickness[0]).clamp(min=3.5)
    scalp = (4.5 + rng.normal(0, 0.5) + 0.8 * thickness[1]).clamp(min=2.5)
    mottle = smooth_field(1, grid.shape, grid.spacing[0], 14, generator)[0]

    brain = t.grey + t.white
    inside = t.grey * grey + t.white * white + (1 - brain) * fluid + 0.8 * t.residual
    depth = t.skull
    diploe = 0.05 + 0.13 * _bump(depth, bone / 2 + 0.5, 1.2) * (bone > 4.5)
    # From the skull outwards: bone, a thin dark layer, fat, skin.
    fat = 0.74 + 0.05 * mottle
    muscle = 0.42 + 0.05 * mottle
    points = torch.from_numpy(grid.points())
    temporal = torch.sigmoid((points[0].abs() - 52) / 2) * torch.sigmoid((8 - points[2]) / 4)
    layer = fat + (muscle - fat) * temporal * _step(bone + 0.75 * scalp - depth)
    layer = layer + (0.5 - layer) * _step(depth - bone - scalp + 1.2)
    cap = bone + scalp
    face = t.face + 0.04 * mottle

    # The face and neck lie outside the skull, and end at their own surface.
    below = _step(1 - t.surface) * _step(depth - bone)
    outside = layer * _step(cap - depth)
    outside = outside + (face - outside) * below * torch.maximum(
        _step(depth - cap + 2), torch.sigmoid((-14 - points[2]) / 3)
    )
    image = outside + (diploe - outside) * _step(bone - depth)
    image = image + (inside - image) * _step(-depth)
    bias = smooth_field(1, grid.shape, grid.spacing[0], 90, generator)[0]
    return (image * torch.exp(0.04 * bias)).clamp(0, 1)


def _step(distance: Tensor) -> Tensor:
    """From 0 to 1 over one millimetre on either side of distance 0."""
    return (0.5 + distance / 2).clamp(0, 1)


def _bump(distance: Tensor, centre: Tensor, width: float) -> Tensor:
    return torch.exp(-(((distance - centre) / width) ** 2))
