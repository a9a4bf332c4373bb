"""Real scans, brought to the grid and the intensities that a model knows."""

from __future__ import annotations

from typing import Any

import numpy as np

from brainldm.errors import DataError
from brainldm.image.grid import Grid
from brainldm.image.volume import Volume

PERCENTILES = (0.5, 99.5)
"""The percentiles of a scan, on the model's grid, that become intensities 0 and 1."""


def fit_to_grid(volume: Volume, grid: Grid) -> Volume:
    """Resample as the header says (no registration), and scale the intensities to [0, 1].

    The 0.5th and 99.5th percentiles become 0 and 1, and what lies beyond is clipped, whatever the
    intensities are; only those of a volume that is `scaled` stay as they are.

    Args:
        volume: a head, registered to MNI152 space at least roughly.
        grid: the model's.

    Returns:
        A volume on the grid, `scaled`; its `metadata` says what was done.

    Raises:
        DataError: the image is constant or empty on the grid, or does not touch it.
    """
    resampled = not volume.grid.equals(grid)
    array = volume.resample(grid).array if resampled else volume.array
    metadata: dict[str, Any] = {"resampled": resampled, "scale": [0, 1]}
    if resampled:
        metadata["interpolation"] = "trilinear"
    if volume.scaled:
        return Volume(np.clip(array, 0, 1), grid.matrix, metadata, scaled=True)
    low, high = (float(value) for value in np.percentile(array, PERCENTILES))
    if not low < high:
        raise DataError(
            f"The image is empty or constant where the model looks: its {PERCENTILES[0]}th and "
            f"{PERCENTILES[1]}th percentiles there are both {low:g}. Expected a head that fills "
            "much of the field of view; check in a viewer that it is registered to MNI152 space."
        )
    metadata |= {
        "intensity_percentiles": list(PERCENTILES),
        "intensity_scaled_from": [low, high],
        "clipped_fraction": float(np.mean((array < low) | (array > high))),
    }
    fitted = np.clip((array.astype(np.float64) - low) / (high - low), 0, 1).astype(np.float32)
    return Volume(fitted, grid.matrix, metadata, scaled=True)


def scaled_from(fitted: Volume) -> tuple[float, float]:
    """The intensities that became 0 and 1 in what `fit_to_grid` gave, or 0 and 1 themselves."""
    low, high = (fitted.metadata or {}).get("intensity_scaled_from", (0.0, 1.0))
    return float(low), float(high)
