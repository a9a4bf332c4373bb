"""How much memory a solution takes, from the grids alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import psutil

from brainldm.errors import UsageError
from brainldm.image.grid import Grid
from brainldm.unires.projection import offsets
from brainldm.unires.scan import Scan
from brainldm.unires.space import with_margin

ENTRY = 16
"""Bytes of an entry of a projection's matrix: a value and a column, here and in its transpose."""
BUILDING = 24
"""Bytes of an entry while a matrix is made."""
ARRAYS_EACH, ARRAYS = 8, 12
"""Volumes of float32 that each contrast, and all together, need."""
PROGRAM = 600e6
"""Bytes of Python and PyTorch."""


def estimate_bytes(scans: Sequence[Scan], grid: Grid) -> float:
    """The peak of memory while `solve` runs."""
    grid = with_margin(grid, [scan.placed for scan in scans])
    entries = [_entries(scan.paired(min(grid.spacing)), grid) for scan in scans]
    contrasts = len({scan.contrast for scan in scans})
    arrays = 4 * float(np.prod(grid.shape)) * (ARRAYS_EACH * contrasts + ARRAYS)
    return PROGRAM + arrays + ENTRY * sum(entries) + BUILDING * max(entries)


def check_memory(needed: float) -> None:
    """Refuse what does not fit, before minutes are spent.

    Raises:
        UsageError: there is less memory available.
    """
    available = psutil.virtual_memory().available
    if needed > available:
        raise UsageError(
            f"This takes about {needed / 1e9:.1f} GB of memory, and {available / 1e9:.1f} GB are "
            "available. Close other programs, ask for larger voxels (--voxel-size), or give fewer "
            "scans."
        )


def _entries(scan: Scan, grid: Grid) -> float:
    """About how many volume voxels all voxels of a scan read."""
    to_volume = np.linalg.inv(grid.matrix) @ scan.placed.matrix
    where, _ = offsets(scan.grid, to_volume, scan.thickness)
    reach = (where.max(axis=0) - where.min(axis=0)) * np.linalg.norm(to_volume[:3, :3], axis=0)
    return float(np.prod(scan.grid.shape) * np.prod(reach + 2))
