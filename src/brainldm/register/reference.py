"""What scans are registered to: the MNI152 head, its tissues and its ventricles.

The brain is that of the MNI152 2009a symmetric template, which nilearn ships; the skull, scalp and
face around it are drawn (`brainldm.register.template`), so that a whole head has something to
match.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray as Array

from brainldm.files import write_folder
from brainldm.image.grid import Grid
from brainldm.image.volume import Volume
from brainldm.register.template import INNER_SKULL_GAP, Template, load_template

Map = Float[Array, "x y z"]

# T1-weighted intensities of the drawn head; registration by mutual information needs them to
# differ, not to be right.
FLUID, GREY, WHITE, BONE, FAT = 0.2, 0.54, 0.78, 0.06, 0.74
BONE_MM, SCALP_MM = 5.5, 4.5
MAPS = ("head", "grey", "white", "ventricle", "skull")
"""Of a `Reference`."""


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
    def from_template(cls, template: Template) -> Reference:
        """The maps of `load_template`."""
        affine = np.eye(4)
        affine[:3, 3] = template.origin.numpy()
        grey, white = template.brain[0].numpy(), template.brain[1].numpy()
        return cls(
            Grid.of(grey.shape, affine),
            _draw(template),
            grey,
            white,
            template.ventricle[0].numpy(),
            template.head[0].numpy(),
        )

    @classmethod
    def write(cls, folder: Path) -> None:
        """Write the template's maps for other processes, unless that is done or being done.

        Raises:
            MissingExtraError: as `load_template`.
            StorageError: the folder cannot be written.
        """
        if not folder.is_dir():
            reference = cls.from_template(load_template())
            with write_folder(folder, keep=True) as aside:
                np.save(aside / "affine.npy", reference.grid.matrix)
                for name in MAPS:
                    np.save(aside / f"{name}.npy", getattr(reference, name))

    @classmethod
    def load(cls, folder: Path) -> Reference:
        """Read what `write` wrote, without copying it into memory before it is used."""
        maps = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in MAPS}
        return cls(Grid.of(maps["head"].shape, np.load(folder / "affine.npy")), **maps)

    def volume(self, name: str) -> Volume:
        """One of the maps with its affine."""
        return Volume(getattr(self, name), self.grid.matrix)

    @property
    def outline(self) -> Map:
        """1 in the brain and its clefts, up to its outer surface, else 0."""
        within: Map = (self.skull < -INNER_SKULL_GAP).astype(np.float32)
        return within

    @property
    def intracranial_ml(self) -> float:
        """The volume within the inner skull."""
        return float(np.count_nonzero(self.skull < 0)) / 1000


def _draw(template: Template) -> Map:
    grey, white, _, residual = template.brain
    skull, surface, face = template.head
    inside = GREY * grey + WHITE * white + FLUID * (1 - grey - white) + 0.8 * residual
    cap = torch.where(skull < BONE_MM, BONE, FAT)
    outside = torch.where(
        skull < BONE_MM + SCALP_MM, cap, torch.where(surface < 0, face, torch.zeros(()))
    )
    head: Map = torch.where(skull < 0, inside, outside).clamp(0, 1).numpy()
    return head
