"""Many scans of a person to one volume a contrast on one grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray as Array

from brainldm.errors import DataError
from brainldm.image.grid import Grid
from brainldm.image.volume import Volume
from brainldm.unires.admm import MOST_ITERATIONS, SCALES, Measurement, Problem, Step
from brainldm.unires.projection import Projection
from brainldm.unires.scan import Scan
from brainldm.unires.space import mean_grid, with_margin
from brainldm.workers import Progress

REGULARISATION = SCALES[-1]


@dataclass(frozen=True, eq=False)
class Solution:
    """What came of it.

    Args:
        volumes: of each contrast.
        weights: lambda of each contrast.
        course: the iterations.
        entries: of the projections' matrices, that are not zero.
    """

    volumes: dict[str, Volume]
    weights: dict[str, float]
    course: tuple[Step, ...]
    entries: int


def solve(
    scans: Sequence[Scan],
    grid: Grid | None = None,
    *,
    voxel_size: float = 1.0,
    regularisation: float = REGULARISATION,
    most: int = MOST_ITERATIONS,
    device: torch.device | str = "cpu",
    progress: Progress = lambda done, total, what: None,
) -> Solution:
    """Find the volumes by joint total variation (Brudfors et al. 2018, 2019).

    Args:
        scans: of one person, registered to each other by their `motion`.
        grid: of the volumes, in the world that the scans share; None is `mean_grid`.
        voxel_size: of the mean grid in mm.
        regularisation: how smooth they are to be; more is smoother.
        most: iterations.
        device: to compute on.
        progress: called as progress(done, total, "projections" or "iterations").

    Returns:
        One volume a contrast, within the range of its scans' intensities, and 0 where none of them
        looked.

    Raises:
        DataError: no scans, or a scan that sees nothing of the grid or has no noise to be told.
    """
    if not scans:
        raise DataError("There are no scans: expected at least one.")
    grid = grid or mean_grid([scan.placed for scan in scans], voxel_size)
    size, wanted = min(grid.spacing), grid
    grid = with_margin(grid, [scan.placed for scan in scans])
    groups: dict[str, list[Scan]] = {}
    for scan in scans:
        groups.setdefault(scan.contrast, []).append(scan.paired(size))
    weights = {
        name: float(len(groups) ** -0.5 / np.mean([scan.noise.contrast for scan in group]))
        for name, group in groups.items()
    }
    channels: list[list[Measurement]] = []
    done = 0
    for group in groups.values():
        measured = []
        for scan in group:
            measured.append(_measure(scan, grid, device))
            done += 1
            progress(done, len(scans), "projections")
        channels.append(measured)
    problem = Problem(
        channels,
        grid.spacing,
        list(weights.values()),
        torch.from_numpy(np.stack([start(group, grid) for group in groups.values()])).to(device),
    )

    def tell(step: Step) -> None:
        progress(len(problem.course), most, "iterations")

    scales = [scale * regularisation / REGULARISATION for scale in SCALES]
    problem.minimise(scales, most=most, tell=tell)
    progress(most, most, "iterations")
    volumes = {
        name: _finished(array, group, grid, wanted)
        for (name, group), array in zip(groups.items(), problem.volumes.cpu().numpy(), strict=True)
    }
    return Solution(
        volumes,
        {name: regularisation * weight for name, weight in weights.items()},
        tuple(problem.course),
        sum(each.projection.entries for channel in channels for each in channel),
    )


def start(group: Sequence[Scan], grid: Grid) -> Float[Array, "x y z"]:
    """The scans of a contrast read trilinearly, and averaged where there are several."""
    total, count = np.zeros(grid.shape, np.float32), np.zeros(grid.shape, np.float32)
    for scan in group:
        read = scan.reslice(grid)
        total += np.nan_to_num(read, nan=0.0)
        count += ~np.isnan(read)
    lowest = min(float(scan.filled.min()) for scan in group)
    return np.where(count > 0, total / np.maximum(count, 1), np.float32(lowest))


def _measure(scan: Scan, grid: Grid, device: torch.device | str) -> Measurement:
    scan = scan.brought(grid)
    projection = Projection.of(
        scan.grid, grid, scan.motion, thickness=scan.thickness, device=device
    )
    return Measurement(
        torch.from_numpy(scan.filled).to(device),
        torch.from_numpy(scan.observed).to(device),
        projection,
        scan.noise.precision,
    )


def _finished(
    array: Float[Array, "x y z"], group: Sequence[Scan], grid: Grid, wanted: Grid
) -> Volume:
    """Without the margin, within the scans' range and field of view."""
    low = min(float(scan.filled.min()) for scan in group)
    high = max(float(scan.filled.max()) for scan in group)
    looked = np.any([scan.covers(wanted) for scan in group], axis=0)
    margin = [(more - side) // 2 for more, side in zip(grid.shape, wanted.shape, strict=True)]
    inner = tuple(slice(each, each + side) for each, side in zip(margin, wanted.shape, strict=True))
    return Volume(np.where(looked, np.clip(array[inner], low, high), 0), wanted.matrix)
