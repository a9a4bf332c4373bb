"""How well two label images agree: Dice of groups of structures."""

from __future__ import annotations

import numpy as np
from jaxtyping import Integer
from numpy import ndarray as Array

from brainldm.segment.structures import GROUPS, STRUCTURES

MEANS = ("deep grey",)
"""Groups of which the mean over structures counts; of others, their union."""


def overlaps(found: Integer[Array, "x y z"], truth: Integer[Array, "x y z"]) -> dict[str, float]:
    """Dice of each of `GROUPS`; a structure that is in neither image is left out.

    Args:
        found: places in `STRUCTURES`, (X, Y, Z).
        truth: likewise.
    """
    count = len(STRUCTURES)
    pairs = np.bincount(
        found.ravel().astype(np.int64) * count + truth.ravel(), minlength=count * count
    ).reshape(count, count)
    place = {each.number: i for i, each in enumerate(STRUCTURES)}

    def dice(numbers: tuple[int, ...]) -> float:
        own = [place[number] for number in numbers]
        sizes = pairs[own].sum() + pairs[:, own].sum()
        return float(2 * pairs[np.ix_(own, own)].sum() / sizes) if sizes else float("nan")

    results = {}
    for name, numbers in GROUPS.items():
        each = [dice((number,)) for number in numbers] if name in MEANS else [dice(numbers)]
        known = [value for value in each if value == value]
        if known:
            results[name] = sum(known) / len(known)
    return results
