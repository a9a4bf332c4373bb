"""An image to labels: through the network, back to the image's own grid, and what that comes to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int16, UInt8
from numpy import ndarray as Array
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from brainldm.errors import DataError
from brainldm.image.grid import Grid
from brainldm.image.labels import LabelImage
from brainldm.image.plausible import refuse_ct
from brainldm.image.volume import Volume
from brainldm.models.device import pick_dtype
from brainldm.models.segmenter import SegmentationNetwork, from_blocks
from brainldm.segment.measures import Measures
from brainldm.segment.quality import Quality, expected_dice, faults, find_cuts
from brainldm.segment.structures import NUMBERS, STRUCTURES
from brainldm.segment.view import View
from brainldm.simulate.subject import TEMPLATE_INTRACRANIAL_ML

SLAB = 16
"""Slices that are worked on at a time."""
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
        scores = network(image.to(device)).float().cpu()
    likeliest = _likeliest(scores)[:x, :y, :z]
    inside, second = _brain(likeliest)
    if not inside.any():
        none = Quality(0.0, ("no brain was found",))
        numbers = {int(number): 0.0 for number in np.unique(NUMBERS[1:])}
        empty = LabelImage(np.zeros(volume.grid.shape, np.int16), volume.affine)
        return Labelled(empty, numbers, none)
    box = _around(inside)
    probabilities = _probabilities(scores, box)
    where = ndimage.binary_dilation(inside[box], iterations=MARGIN)
    structures = np.where(where, likeliest[box], 0)  # what hangs apart is no brain
    volumes, score = _counted(probabilities, structures, where)
    probabilities[0, torch.from_numpy(~where)] = 2.0
    numbers = NUMBERS[structures, (probabilities[-1] > 0.5).long().numpy()]
    labels = _on_grid(numbers, probabilities, view.grid, box, volume.grid)
    sure = Labelled(LabelImage(labels, volume.affine), volumes, Quality(score, ()))
    whole, brain = sure.total("brain", "ventricle", "fluid"), sure.total("brain")
    found = tuple(faults(score, whole, brain, second, find_cuts(inside)))
    return replace(sure, quality=Quality(score, found))


def _counted(
    probabilities: Float[Tensor, "k i j l"],
    likeliest: UInt8[Array, "i j l"],
    where: Bool[Array, "i j l"],
) -> tuple[dict[int, float], float]:
    """The mL of every structure by its number, and the Dice to be expected."""
    structures, right = probabilities[:-1].numpy(), probabilities[-1].numpy()
    sides = [np.where(where, side, 0) for side in (1 - right, right)]
    sums = np.array([[np.vdot(each, side) for side in sides] for each in structures])
    certain = np.array([each[likeliest == i].sum() for i, each in enumerate(structures)])
    counts = np.bincount(likeliest.ravel(), minlength=len(structures))
    volumes: dict[int, float] = {}
    for numbers, pair in zip(NUMBERS[1:], sums[1:] / 1000, strict=True):
        for number, amount in zip(numbers.tolist(), pair.tolist(), strict=True):
            volumes[number] = volumes.get(number, 0.0) + amount
    return volumes, expected_dice(certain, sums.sum(axis=1), counts.astype(float))


def _slabs(
    scores: Float[Tensor, "1 c x y z"],
) -> Iterator[tuple[slice, Float[Tensor, "i y z 8 k"]]]:
    """Scores, some slices of blocks at a time: those of a voxel lie beside each other."""
    rows = scores.permute(0, 2, 3, 4, 1)[0]
    rows = rows.view(*rows.shape[:3], 8, -1)
    for start in range(0, len(rows), SLAB):
        part = slice(start, min(start + SLAB, len(rows)))
        yield part, rows[part].float()


def _likeliest(scores: Float[Tensor, "1 c x y z"]) -> UInt8[Array, "i j k"]:
    """The structure with the highest score at every voxel."""
    parts = [part[..., :-1].argmax(-1).byte() for _, part in _slabs(scores)]
    likeliest: UInt8[Array, "i j k"] = from_blocks(torch.cat(parts).movedim(-1, 0)[None])[
        0, 0
    ].numpy()
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


def _probabilities(
    scores: Float[Tensor, "1 c x y z"], box: tuple[slice, slice, slice]
) -> Float[Tensor, "k i j l"]:
    """Of the structures, and, last, of the right side, within a box of voxels."""
    x, y, z = (slice(side.start // 2, (side.stop + 1) // 2) for side in box)
    within = scores[:, :, x, y, z]
    count, sides = scores.shape[1] // 8, within.shape[2:]
    voxels = torch.empty(count, *(2 * side for side in sides))
    for part, rows in _slabs(within):
        both = torch.cat([rows[..., :-1].softmax(-1), rows[..., -1:].sigmoid()], dim=-1)
        blocks = both.flatten(-2).movedim(-1, 0)[None]
        voxels[:, 2 * part.start : 2 * part.stop] = from_blocks(blocks)[0]
    inner = [slice(side.start % 2, side.start % 2 + side.stop - side.start) for side in box]
    return voxels[:, *inner].contiguous()


def _on_grid(
    numbers: Int16[Array, "i j l"],
    probabilities: Float[Tensor, "k i j l"],
    seen: Grid,
    box: tuple[slice, slice, slice],
    grid: Grid,
) -> Int16[Array, "x y z"]:
    """The numbers of the likeliest structures on another grid (trilinear probabilities)."""
    result = np.zeros(grid.shape, np.int16)
    to_box = grid.to_voxels_of(seen)
    to_box[:3, 3] -= [side.start for side in box]
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
        cell = tuple(place.long().minimum(last - 1).unbind(-1))
        found, mixed = known[cell], ~one[cell]
        if mixed.any():
            unit = (place[mixed] * (2 / last) - 1).flip(-1)
            read = F.grid_sample(probabilities[None], unit[None, None, None], align_corners=True)
            found[mixed] = torch.from_numpy(_numbers(read[0, :, 0, 0]))
        result[start : start + len(rows)][there.numpy()] = found.numpy()
    return result


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


def _numbers(probabilities: Float[Tensor, "k ..."]) -> NDArray[np.int16]:
    """The number of the likeliest structure, on its likelier side."""
    structure = probabilities[:-1].argmax(0).numpy()
    numbers: NDArray[np.int16] = NUMBERS[structure, (probabilities[-1] > 0.5).long().numpy()]
    return numbers
