"""An anatomy: a head in MNI152 space that subjects are deformed from.

Made once from a label map or from the template (`simulate.template`), and kept in a file: its
tissues in voxels of half a millimetre with smooth surfaces, and the two velocities that change its
ventricles and its brain (`simulate.flows`).
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from brainldm.errors import DataError
from brainldm.files import write_together
from brainldm.image.grid import Grid
from brainldm.simulate.align import align
from brainldm.simulate.flows import Flows, make_flows
from brainldm.simulate.labelmap import LabelMap
from brainldm.simulate.layers import split_layers

BOX_LOW = np.array([-96.0, -140.0, -77.0])
BOX_SIZE = np.array([192, 252, 192])
"""The box of MNI152 space that anatomies fill, in mm: wider than any head that is simulated."""
FINE_MM = 0.5
FLOW_MM = 3.0
SMOOTHING_MM = 0.6
"""Of each tissue before the likeliest is taken: what rounds the corners of a label map's voxels."""
FORMAT = 1
"""Of the files; another number makes them anew."""


def box_grid(spacing: float) -> Grid:
    """The voxels of a spacing that fill the box."""
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = BOX_LOW + spacing / 2
    return Grid.of([round(side / spacing) for side in BOX_SIZE], affine)


@dataclass(frozen=True)
class Anatomy:
    """A head in MNI152 space.

    Args:
        name: of the file it comes from, or "template".
        tissues: places in `TISSUES`, uint8, (X, Y, Z), on `box_grid(spacing)`.
        spacing: in mm.
        flows: on `box_grid(FLOW_MM)`.
    """

    name: str
    tissues: NDArray[np.uint8]
    spacing: float
    flows: Flows

    @classmethod
    def of(cls, name: str, tissues: NDArray[np.uint8], spacing: float) -> Anatomy:
        """An anatomy whose tissues are known."""
        return cls(name, tissues, spacing, make_flows(tissues, FLOW_MM, spacing))

    def save(self, path: Path) -> None:
        """Write a compressed .npz."""
        content = io.BytesIO()
        np.savez_compressed(
            content,
            tissues=self.tissues,
            spacing=self.spacing,
            velocities=self.flows.velocities.half().numpy(),
            shares=self.flows.shares.half().numpy(),
        )
        write_together({path: content.getvalue()})

    @classmethod
    def load(cls, path: Path, name: str) -> Anatomy:
        """Read what `save` wrote.

        Raises:
            DataError: the file is damaged.
        """
        try:
            with path.open("rb") as file, np.load(file) as kept:
                flows = Flows(
                    torch.from_numpy(kept["velocities"]).float(),
                    torch.from_numpy(kept["shares"]).float(),
                )
                return cls(name, kept["tissues"], float(kept["spacing"]), flows)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(
                f"Cannot read {path}: {error}. It can be made again: delete it."
            ) from error


def from_label_map(labels: LabelMap, spacing: float = FINE_MM) -> Anatomy:
    """The anatomy of a label map, brought to MNI152 space; takes a minute.

    Args:
        labels: from `read_label_map`.
        spacing: of its voxels in mm; divides 3 mm.

    Raises:
        DataError: as `align`.
    """
    tissues = resample(split_layers(labels), labels.affine, align(labels), spacing)
    return Anatomy.of(labels.name, tissues, spacing)


def resample(
    tissues: NDArray[np.uint8],
    affine: NDArray[np.float64],
    to_world: NDArray[np.float64],
    spacing: float,
) -> NDArray[np.uint8]:
    """Tissues on `box_grid(spacing)`: in every voxel the one that most of its surroundings are.

    Args:
        tissues: places in `TISSUES`, (X, Y, Z).
        affine: theirs, voxel to mm.
        to_world: from MNI152 space to their world, (4, 4).
        spacing: in mm.
    """
    grid = box_grid(spacing)
    to_source = np.linalg.inv(affine) @ to_world @ grid.matrix
    ballot = _Ballot(torch.zeros(grid.shape), torch.zeros(grid.shape), np.zeros(grid.shape, "u1"))
    for value, box in enumerate(ndimage.find_objects(tissues), 1):
        if box is None:
            continue
        low = [max(0, side.start - 3) for side in box]
        part = tuple(slice(start, side.stop + 3) for start, side in zip(low, box, strict=True))
        share = ndimage.gaussian_filter(
            (tissues[part] == value).astype(np.float32), SMOOTHING_MM, truncate=3
        )
        to_part = to_source.copy()
        to_part[:3, 3] -= low
        ballot.count(value, torch.from_numpy(share), to_part)
    air = 1 - ballot.total > ballot.most
    return np.where(air.numpy(), np.uint8(0), ballot.winner)


@dataclass(frozen=True)
class _Ballot:
    """The tissue with the largest share of every voxel so far, that share, and the sum of all."""

    most: Tensor
    total: Tensor
    winner: NDArray[np.uint8]

    def count(self, value: int, share: Tensor, to_share: NDArray[np.float64]) -> None:
        """Add a tissue, whose share is known on a grid that `to_share` leads to, (4, 4)."""
        reach = _reach(share.shape, to_share, self.winner.shape)
        # Some slices at a time: their coordinates take twelve times their memory.
        for start in range(reach[0].start, reach[0].stop, 16):
            here = (slice(start, min(start + 16, reach[0].stop)), *reach[1:])
            shares = _read(share, to_share, here)
            more = shares > self.most[here]
            self.most[here] = torch.where(more, shares, self.most[here])
            self.total[here] += shares
            self.winner[here][more.numpy()] = value


def _reach(
    shape: Sequence[int], to_share: NDArray[np.float64], target: tuple[int, ...]
) -> tuple[slice, slice, slice]:
    """The part of a target grid that a source grid may touch."""
    back = np.linalg.inv(to_share)
    corners = np.array(np.meshgrid(*((0, side - 1) for side in shape))).reshape(3, 8)
    places = back[:3, :3] @ corners + back[:3, 3:]
    low = np.clip(np.floor(places.min(axis=1)).astype(int), 0, target)
    high = np.clip(np.ceil(places.max(axis=1)).astype(int) + 1, 0, target)
    x, y, z = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return x, y, z


def _read(share: Tensor, to_share: NDArray[np.float64], here: tuple[slice, ...]) -> Tensor:
    """Trilinear values of a grid at some voxels of another; 0 outside."""
    axes = [torch.arange(side.start, side.stop) for side in here]
    unit = torch.empty((*map(len, axes), 3))
    for i, side in enumerate(share.shape):
        x, y, z = (float(each) * axis for each, axis in zip(to_share[i, :3], axes, strict=True))
        voxels = x[:, None, None] + y[None, :, None] + z[None, None, :] + float(to_share[i, 3])
        unit[..., 2 - i] = voxels * (2 / (side - 1)) - 1
    return F.grid_sample(share[None, None], unit[None], align_corners=True)[0, 0]
