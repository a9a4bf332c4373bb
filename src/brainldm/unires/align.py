"""All scans of a person brought to the world of the first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array
from scipy.spatial.transform import Rotation

from brainldm.errors import DataError
from brainldm.unires.registration import register
from brainldm.unires.scan import Scan
from brainldm.unires.space import check_overlap

LOWEST_SCORE = 1.1
"""Of 10 pairs of simulated scans, those of one head reached 1.15, those of two heads 1.09."""


@dataclass(frozen=True)
class Moved:
    """How a scan was brought to the first.

    Args:
        millimetres: by which the middle of its field of view moved.
        degrees: by which it was turned.
        score: the normalised mutual information reached.
    """

    millimetres: float
    degrees: float
    score: float


def align(
    scans: Sequence[Scan],
    progress: Callable[[int, int, str], None] = lambda done, total, what: None,
    *,
    lowest_score: float = LOWEST_SCORE,
) -> tuple[list[Scan], list[Moved]]:
    """Register scans rigidly to the first of them.

    Args:
        scans: of one person.
        progress: called as progress(done, total, "registration").
        lowest_score: normalised mutual information below which two scans are of two people.

    Raises:
        DataError: two scans cannot be of one head.
    """
    first, *others = scans
    result, moves = [first], [Moved(0.0, 0.0, 2.0)]
    for done, scan in enumerate(others, 1):
        try:
            motion, score = register(first.seen, scan.seen)
        except DataError as error:
            raise DataError(f"{first.name} and {scan.name}: {error}") from None
        if score < lowest_score:
            raise DataError(
                f"{first.name} and {scan.name} look like scans of two people, or of two places: "
                f"registered, their normalised mutual information is {score:.3f}, expected at "
                f"least {lowest_score:g}. Look at both in a viewer; if they are of one person, "
                "--lowest-score 1 takes them."
            )
        result.append(replace(scan, motion=motion))
        moves.append(_moved(scan, motion, score))
        progress(done, len(others), "registration")
    check_overlap([scan.placed for scan in result], [scan.name for scan in result])
    return result, moves


def _moved(scan: Scan, motion: Float[Array, "4 4"], score: float) -> Moved:
    centre = scan.grid.corners.mean(axis=0)
    way = motion[:3, :3] @ centre + motion[:3, 3] - centre
    turn = Rotation.from_matrix(motion[:3, :3]).magnitude()
    return Moved(float(np.linalg.norm(way)), float(np.rad2deg(turn)), score)
