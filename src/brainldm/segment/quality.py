"""Whether a segmentation is to be trusted, and why not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray as Array

LEAST = 0.7
"""The quality from which on volumes are given."""
INTRACRANIAL_ML = (900.0, 2300.0)
"""Of adults, with room to spare."""
BRAIN_SHARE = (0.5, 0.98)
"""Of what is within the skull, what is brain."""
CUT_MM2 = 1200.0
"""The area within the skull in the two outermost slices, from which on it goes on beyond the field
of view. Where the skull ends, at the foramen magnum, six simulated heads had 400 to 710 mm2, and
4 mm higher up 610 to 1910."""
SECOND_HEAD = 0.2
"""The size of another part that looks like a brain, relative to the brain."""


@dataclass(frozen=True)
class Quality:
    """How far a segmentation is to be trusted.

    Args:
        score: the Dice that its own probabilities let expect, the mean over structures, 0 to 1.
        faults: why volumes are not given, a few words each.
    """

    score: float
    faults: tuple[str, ...]

    @property
    def trusted(self) -> bool:
        """Whether volumes are given."""
        return not self.faults


def expected_dice(
    certain: Float[Array, " k"], probable: Float[Array, " k"], counted: Float[Array, " k"]
) -> float:
    """The Dice of a segmentation with the truth, if its probabilities are right; without the first.

    Args:
        certain: the sum of each structure's probability where it is the likeliest, (K,).
        probable: the sum of its probability everywhere.
        counted: the voxels where it is the likeliest.
    """
    dice = 2 * certain / np.maximum(probable + counted, 1)
    return float(dice[1:].mean())


def faults(
    score: float,
    intracranial_ml: float,
    brain_ml: float,
    second: float,
    cuts: tuple[str, ...],
) -> Iterator[str]:
    """What speaks against a segmentation.

    Args:
        score: from `expected_dice`.
        intracranial_ml: the volume within the skull.
        brain_ml: of it, the brain.
        second: the size of the second largest part, relative to the largest.
        cuts: where the brain goes on beyond the field of view.
    """
    low, high = INTRACRANIAL_ML
    if score < LEAST:
        yield f"not segmented with certainty ({score:.2f}, expected {LEAST:g} or more)"
    if not low <= intracranial_ml <= high:
        yield (
            f"{intracranial_ml:.0f} mL within the skull, expected {low:.0f} to {high:.0f} of a "
            "whole head"
        )
    elif not BRAIN_SHARE[0] <= brain_ml / intracranial_ml <= BRAIN_SHARE[1]:
        yield f"{brain_ml / intracranial_ml:.0%} of what is within the skull is brain"
    if second > SECOND_HEAD:
        yield "there is more than one head"
    if cuts:
        yield f"the brain is cut at the {' and the '.join(cuts)} of the image"


def find_cuts(inside: Bool[Array, "x y z"]) -> tuple[str, ...]:
    """The ends of the field of view at which the brain is cut.

    Args:
        inside: what is within the skull, at 1 mm, axes to the right, front and top.
    """
    sides = (("left", "right"), ("back", "front"), ("bottom", "top"))
    return tuple(
        name
        for axis, names in enumerate(sides)
        for ends, name in zip(((0, 1), (-1, -2)), names, strict=True)
        # The last slice may be taken for air.
        if np.count_nonzero(inside.take(ends, axis).any(axis)) > CUT_MM2
    )
