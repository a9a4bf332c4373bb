"""An image to labels: through the network, back to the image's own grid, and what that comes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Self

import numpy as np
import torch
from jaxtyping import Bool, Float, Int16, Int64, Shaped, UInt8
from numpy import ndarray as Array
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from brainldm.errors import DataError
from brainldm.image.grid import Grid
from brainldm.image.labels import LabelImage
from brainldm.image.plausible import refuse_ct
from brainldm.image.volume import Volume
from brainldm.models.device import pick_dtype
from brainldm.models.segmenter import SegmentationNetwork, from_blocks, to_blocks
from brainldm.segment.measures import Measures
from brainldm.segment.quality import Quality, expected_dice, faults, find_cuts
from brainldm.segment.structures import NUMBERS, STRUCTURES
from brainldm.segment.view import View
from brainldm.simulate.subject import TEMPLATE_INTRACRANIAL_ML

SLAB = 4
"""Slices that are worked on at a time: what is made of them stays in the cache."""
MARGIN = 3
"""Voxels around what is within the skull in which its probabilities count."""
ALIGNED = 1e-3
"""Of a voxel: how far two grids may be apart that count as the same."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """A head divided into its structures.

    Args:
        image: the numbers of `STRUCTURES`, on the image's grid; 0 is none of them.
        volumes: mL of each structure by its number, sums of probabilities.
        quality: how far they are to be trusted.
    """

    image: LabelImage
    volumes: dict[int, float]
    quality: Quality

    def total(self, *kinds: str) -> float:
        """The mL of all structures that count as one of these kinds."""
        wanted = {
            number
            for each in STRUCTURES
            if each.kind in kinds
            for number in (each.number, each.right)
        }
        return sum(volume for number, volume in self.volumes.items() if number in wanted)

    @property
    def measures(self) -> Measures:
        """The volumes of the published model's meaning (`Measures`).

        Raises:
            DataError: the quality does not allow for it.
        """
        if not self.quality.trusted:
            raise DataError(
                f"The volumes of this image are not known: {'; '.join(self.quality.faults)}. "
                "Expected a whole head, in one image of its own. Look at it in a viewer."
            )
        return self.estimates

    @property
    def estimates(self) -> Measures:
        """`measures`, trusted or not; zeros where nothing is within the skull."""
        within = self.total("brain", "ventricle", "fluid")
        scaling = TEMPLATE_INTRACRANIAL_ML / within if within else 0.0
        return Measures(self.total("ventricle"), self.total("brain") * scaling, scaling)


@torch.inference_mode()
def label(volume: Volume, network: SegmentationNetwork) -> Labelled:
    """Label a head in any orientation, on any grid.

    Args:
        volume: T1-weighted, with or without its skull.
        network: from `load_segmenter`.

    Raises:
        DataError: as `View.of`, or intensities that are a CT's.
    """
    refuse_ct(volume.array, "The image")
    view = View.of(volume)
    x, y, z = view.grid.shape
    x_, y_, z_ = (-side % network.factor for side in view.grid.shape)
    device = next(network.parameters()).device
    image = F.pad(torch.from_numpy(view.image)[None, None], (0, z_, 0, y_, 0, x_))
    dtype = pick_dtype("auto", device)
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        rows = _rows(network(image.to(device)).cpu())
    likeliest = _likeliest(rows)[:x, :y, :z]
    inside, second = _brain(likeliest)
    if not inside.any():
        none = Quality(0.0, ("no brain was found",))
        numbers = {int(number): 0.0 for number in np.unique(NUMBERS[1:])}
        empty = LabelImage(np.zeros(volume.grid.shape, np.int16), volume.affine)
        return Labelled(empty, numbers, none)
    box = _around(inside)
    found = _Found.of(rows, likeliest, inside, box)
    volumes, score = found.counted()
    labels = found.on_grid(view.grid, volume.grid)
    sure = Labelled(LabelImage(labels, volume.affine), volumes, Quality(score, ()))
    whole, brain = sure.total("brain", "ventricle", "fluid"), sure.total("brain")
    why = tuple(faults(score, whole, brain, second, find_cuts(inside)))
    return replace(sure, quality=Quality(score, why))


@dataclass(frozen=True, eq=False)
class _Found:
    """What the network says around what is within the skull.

    Args:
        rows: scores of the voxels of each block, (I, J, L, 8, K + 1).
        first: the voxel at their corner, in the view.
        where: probabilities count here, (2 I, 2 J, 2 L): what hangs apart is no brain.
        structures: the likeliest, 0 elsewhere.
    """

    rows: Shaped[Tensor, "i j l 8 k"]
    first: tuple[int, int, int]
    where: Bool[Array, "x y z"]
    structures: UInt8[Array, "x y z"]

    @classmethod
    def of(
        cls,
        rows: Shaped[Tensor, "i j l 8 k"],
        likeliest: UInt8[Array, "x y z"],
        inside: Bool[Array, "x y z"],
        box: tuple[slice, slice, slice],
    ) -> Self:
        """Of whole blocks around a box of voxels."""
        i, j, k = (slice(side.start // 2, (side.stop + 1) // 2) for side in box)
        x, y, z = (slice(2 * side.start, 2 * side.stop) for side in (i, j, k))
        near = ndimage.binary_dilation(inside[x, y, z], iterations=MARGIN)
        within = rows[i, j, k]
        shape = [2 * side for side in within.shape[:3]]
        where, structures = np.zeros(shape, bool), np.zeros(shape, np.uint8)
        part = tuple(slice(side) for side in near.shape)  # the last block may lie half outside
        where[part], structures[part] = near, np.where(near, likeliest[x, y, z], 0)
        return cls(within, (x.start, y.start, z.start), where, structures)

    def counted(self) -> tuple[dict[int, float], float]:
        """The mL of every structure by its number, and the Dice to be expected."""
        kinds = self.rows.shape[-1] - 1
        sums = torch.zeros(kinds, 2, dtype=torch.float64)
        certain = np.zeros(kinds)
        for start in range(0, len(self.rows), SLAB):
            part = slice(2 * start, 2 * (start + SLAB))
            near, what = (_in_rows(each[part]) for each in (self.where, self.structures))
            rows = self.rows[start : start + SLAB].reshape(-1, kinds + 1)[near].float()
            p, right = rows[:, :-1].softmax(1), rows[:, -1].sigmoid()
            sums += p.T @ torch.stack([1 - right, right], 1)
            own = p.gather(1, what[near].long()[:, None])[:, 0]
            certain += np.bincount(what[near].numpy(), weights=own.numpy(), minlength=kinds)
        counts = np.bincount(self.structures.ravel(), minlength=kinds)
        volumes: dict[int, float] = {}
        for numbers, pair in zip(NUMBERS[1:], sums[1:].numpy() / 1000, strict=True):
            for number, amount in zip(numbers.tolist(), pair.tolist(), strict=True):
                volumes[number] = volumes.get(number, 0.0) + amount
        return volumes, expected_dice(certain, sums.sum(1).numpy(), counts.astype(float))

    def at(self, voxels: Sequence[Tensor]) -> Float[Tensor, "n k"]:
        """Probabilities of the structures, and, last, of the right side.

        Args:
            voxels: their places along each axis, from `first`, (N,) each.
        """
        x, y, z = voxels
        rows = self.rows[x // 2, y // 2, z // 2, 4 * (x % 2) + 2 * (y % 2) + z % 2].float()
        p = torch.cat([rows[:, :-1].softmax(1), rows[:, -1:].sigmoid()], 1)
        p[~torch.from_numpy(self.where)[x, y, z], 0] = 2.0
        return p

    def numbers(self) -> Int16[Array, "x y z"]:
        """Of the likeliest structures, on their sides."""
        sides = (self.rows[..., -1] > 0).long()
        right = from_blocks(sides.movedim(-1, 0)[None])[0, 0].numpy()
        numbers: Int16[Array, "x y z"] = NUMBERS[self.structures, right]
        return numbers

    def on_grid(self, seen: Grid, grid: Grid) -> Int16[Array, "x y z"]:
        """The numbers of the likeliest structures on another grid (trilinear probabilities)."""
        numbers, result = self.numbers(), np.zeros(grid.shape, np.int16)
        to_box = grid.to_voxels_of(seen)
        to_box[:3, 3] -= self.first
        rounded = np.rint(to_box)
        if np.abs(to_box - rounded).max() < ALIGNED:
            ndimage.affine_transform(
                numbers, rounded[:3, :3], rounded[:3, 3], grid.shape, result, order=0
            )
            return result
        known, one = torch.from_numpy(numbers), torch.from_numpy(_of_one(numbers))
        last = torch.tensor(numbers.shape) - 1
        matrix = torch.from_numpy(to_box).float()
        lines = [torch.arange(side, dtype=torch.float32) for side in grid.shape]
        for start in range(0, grid.shape[0], SLAB):
            rows = lines[0][start : start + SLAB]
            place = torch.empty((len(rows), *grid.shape[1:], 3))
            for axis, (a, b, c, d) in enumerate(matrix[:3]):
                y, z = (b * lines[1])[:, None], c * lines[2]
                place[..., axis] = (a * rows + d)[:, None, None] + y + z
            there = ((place >= 0) & (place <= last)).all(dim=-1)
            place = place[there]
            cell = place.long().minimum(last - 1)
            found, mixed = known[cell.unbind(-1)], ~one[cell.unbind(-1)]
            if mixed.any():
                found[mixed] = torch.from_numpy(_number(self._between(place[mixed], cell[mixed])))
            result[start : start + len(rows)][there.numpy()] = found.numpy()
        return result

    def _between(
        self, place: Float[Tensor, "n 3"], cell: Int64[Tensor, "n 3"]
    ) -> Float[Tensor, "n k"]:
        """Probabilities between the voxels of a cell."""
        part = place - cell
        whole = torch.zeros(len(place), self.rows.shape[-1])
        for corner in product((0, 1), repeat=3):
            share = torch.where(torch.tensor(corner) > 0, part, 1 - part).prod(1)
            whole += share[:, None] * self.at((cell + torch.tensor(corner)).unbind(1))
        return whole


def _rows(scores: Shaped[Tensor, "1 c x y z"]) -> Shaped[Tensor, "x y z 8 k"]:
    """Scores, those of a voxel beside each other."""
    rows = scores.permute(0, 2, 3, 4, 1)[0]
    return rows.view(*rows.shape[:3], 8, -1)


def _in_rows(image: Shaped[Array, "x y z"]) -> Shaped[Tensor, " n"]:
    """Voxels in the order of rows."""
    return to_blocks(torch.from_numpy(image)[None, None])[0].movedim(0, -1).reshape(-1)


def _likeliest(rows: Shaped[Tensor, "i j l 8 k"]) -> UInt8[Array, "x y z"]:
    """The structure with the highest score at every voxel."""
    parts = [rows[start : start + SLAB, ..., :-1] for start in range(0, len(rows), SLAB)]
    numbers = torch.cat([part.argmax(-1).byte() for part in parts])
    likeliest: UInt8[Array, "x y z"] = from_blocks(numbers.movedim(-1, 0)[None])[0, 0].numpy()
    return likeliest


def _brain(likeliest: UInt8[Array, "x y z"]) -> tuple[Bool[Array, "x y z"], float]:
    """The largest part within a skull, and the size of the next one relative to it."""
    parts, _ = ndimage.label(likeliest > 0)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    largest = int(sizes.argmax())
    second = np.sort(sizes)[-2] if len(sizes) > 2 else 0
    inside: Bool[Array, "x y z"] = (parts == largest) & (largest > 0)
    return inside, float(second / max(sizes[largest], 1))


def _around(inside: Bool[Array, "x y z"]) -> tuple[slice, slice, slice]:
    [box] = ndimage.find_objects(inside.astype(np.uint8))
    x, y, z = (
        slice(max(0, side.start - MARGIN), min(side.stop + MARGIN, whole))
        for side, whole in zip(box, inside.shape, strict=True)
    )
    return x, y, z


def _of_one(numbers: Int16[Array, "i j k"]) -> Bool[Array, "a b c"]:
    """Where all eight corners of a cell have one number: what is likeliest at each of them is so
    at any mean of them, and need not be interpolated.
    """
    low = high = numbers
    for axis in range(3):
        here = [slice(None)] * axis
        before, after = (*here, slice(None, -1)), (*here, slice(1, None))
        low = np.minimum(low[before], low[after])
        high = np.maximum(high[before], high[after])
    same: Bool[Array, "a b c"] = low == high
    return same


def _number(probabilities: Float[Tensor, "n k"]) -> Int16[Array, " n"]:
    """The number of the likeliest structure, on its likelier side."""
    structure = probabilities[:, :-1].argmax(1).numpy()
    numbers: Int16[Array, " n"] = NUMBERS[structure, (probabilities[:, -1] > 0.5).long().numpy()]
    return numbers
