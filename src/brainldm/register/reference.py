"""What scans are registered to: the MNI152 head, its tissues and its ventricles.

The brain is that of the MNI152 2009a symmetric template, which nilearn ships; the skull, scalp and
face around it are drawn (`brainldm.register.template`), so that a whole head has something to
match.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray as Array

from brainldm.image.grid import Grid
from brainldm.image.volume import Volume
from brainldm.register.template import INNER_SKULL_GAP, Template

Map = Float[Array, "x y z"]

# T1-weighted intensities of the drawn head; registration by mutual information needs them to
# differ, not to be right.
FLUID, GREY, WHITE, BONE, FAT = 0.2, 0.54, 0.78, 0.06, 0.74
BONE_MM, SCALP_MM = 5.5, 4.5


@dataclass(frozen=True)
class Reference:
    """Maps on one grid in MNI152 space, each (X, Y, Z).

    Args:
        grid: of 1 mm.
        head: a T1-weighted whole head, in [0, 1].
        grey: the fraction of grey matter.
        white: the fraction of white matter.
        ventricle: signed distance to the lateral ventricles in mm, negative inside.
        skull: signed distance to the inner skull in mm, negative inside.
    """

    grid: Grid
    head: Map
    grey: Map
    white: Map
    ventricle: Map
    skull: Map

    @classmethod
    def from_template(cls, maps: Template) -> Reference:
        """The maps of `load_template`."""
        affine = np.eye(4)
        affine[:3, 3] = maps.origin.numpy()
        grey, white = maps.brain[0].numpy(), maps.brain[1].numpy()
        return cls(
            Grid.of(grey.shape, affine),
            _draw(maps),
            grey,
            white,
            maps.ventricle[0].numpy(),
            maps.head[0].numpy(),
        )

    def volume(self, name: str) -> Volume:
        """One of the maps with its affine."""
        return Volume(getattr(self, name), self.grid.matrix)

    def to_skull(self, grid: Grid) -> Map:
        """The signed distance to the inner skull on another grid; beyond this one, far outside."""
        to_skull: Map = -Volume(-self.skull, self.grid.matrix).resample(grid).array
        return to_skull

    @property
    def outline(self) -> Map:
        """1 in the brain and its clefts, up to its outer surface, else 0."""
        within: Map = (self.skull < -INNER_SKULL_GAP).astype(np.float32)
        return within

    @property
    def intracranial_ml(self) -> float:
        """The volume within the inner skull."""
        return float(np.count_nonzero(self.skull < 0)) / 1000


def _draw(maps: Template) -> Map:
    grey, white, _, residual = maps.brain
    skull, surface, face = maps.head
    inside = GREY * grey + WHITE * white + FLUID * (1 - grey - white) + 0.8 * residual
    cap = torch.where(skull < BONE_MM, BONE, FAT)
    outside = torch.where(
        skull < BONE_MM + SCALP_MM, cap, torch.where(surface < 0, face, torch.zeros(()))
    )
    head: Map = torch.where(skull < 0, inside, outside).clamp(0, 1).numpy()
    return head
