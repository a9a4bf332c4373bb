"""Holes and ghosts in the scalp of a head that lies in MNI152 space.

The surface over the brain is smooth, and the fat below the skin is bright everywhere. The figures
beside the constants are those of 52 heads that were simulated.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray as Array

from brainldm.image.volume import Volume
from brainldm.register.rays import along, directions, ends, last

RAYS = 1500
PATCH, AROUND = 6.0, 25.0
"""Degrees about a ray: what may be a hole, and what its surface is compared with."""
AIR, SKIN = 0.1, 0.2
"""Of the intensity scale [0, 1]: above the first is no air, above the second is skin."""
SCALP_MM = 12
MOST_DENT_MM = 7.0
"""How far the skin of a patch may lie below that around it: 5 in simulated heads."""
LEAST_BRIGHT = 0.5
"""Of the median scalp, how bright that of a patch must be: 0.57 in simulated heads."""


def scalp_faults(volume: Volume) -> list[str]:
    """What is wrong with the scalp above the brain, a few words each.

    Args:
        volume: with intensities in [0, 1].
    """
    upwards = directions(RAYS)
    profiles = along(upwards, volume.array, volume.grid)
    skin, surface = last(profiles > SKIN), last(profiles > AIR)
    # Where the head is cut by the field of view, nothing is known.
    known = (surface < ends(upwards, volume.grid) - 3) & (surface > 0)
    if known.mean() < 0.5:
        return []
    dents = _smooth(skin - _smooth(skin, AROUND), PATCH)[known]
    depth = surface[:, None] - np.arange(profiles.shape[1])
    below = (depth >= 0) & (depth <= SCALP_MM)
    scalp = _smooth(np.where(below, profiles, 0).max(axis=1), PATCH)[known]
    faults = []
    if dents.min() < -MOST_DENT_MM:
        faults.append(f"a hole in the scalp, {-dents.min():.0f} mm deep")
    if scalp.min() < LEAST_BRIGHT * np.median(scalp):
        faults.append(
            f"a patch of scalp with {scalp.min() / np.median(scalp):.0%} of its intensity"
        )
    return faults


def _smooth(values: Float[Array, " rays"], degrees: float) -> Float[Array, " rays"]:
    """The median of the values within some degrees of each ray."""
    medians: Float[Array, " rays"] = np.nanmedian(
        np.where(_neighbours(degrees), values, np.nan), axis=1
    )
    return medians


@cache
def _neighbours(degrees: float) -> Bool[Array, "rays rays"]:
    upwards = directions(RAYS)
    near: Bool[Array, "rays rays"] = upwards.T @ upwards > np.cos(np.deg2rad(degrees))
    return near
