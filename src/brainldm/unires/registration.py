"""Rigid registration of scans of one person to each other, whatever their contrasts.

Normalised mutual information (Studholme et al. 1999) of a joint histogram, from coarse to fine,
maximised by Powell's method. Both images are smoothed to one resolution within their slices, so
that thick slices of the one and thin ones of the other look more alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray as Array
from scipy import ndimage
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from brainldm.errors import DataError
from brainldm.image.grid import Grid
from brainldm.image.volume import FWHM

LEVELS_MM = (8.0, 4.0, 2.5)
"""Voxels and width of smoothing, from coarse to fine."""
KEPT = (4, 2, 1)
"""Starts that each level goes on from, the best by its own score."""
TURN = np.deg2rad(15.0)
"""Of starts to each side."""
MOST_POINTS = 60_000
"""Voxels of the fixed image that are compared."""
BINS, SMOOTHING = 48, 1.0
PERCENTILES = (0.1, 99.9)
REACH_MM, REACH_DEGREES = 100.0, 30.0
RADIUS_MM = 60.0
"""At which a turn is measured as a way, so that all six numbers are of one kind."""
OVERLAP = 0.1
"""Of the fixed image, what the moving one has to cover."""


@dataclass(frozen=True, eq=False)
class Seen:
    """An image to be registered.

    Args:
        array: finite intensities, (X, Y, Z).
        observed: which of them are data.
        grid: where they are.
    """

    array: Float[Array, "x y z"]
    observed: Bool[Array, "x y z"]
    grid: Grid

    def coarser(self, spacing: float) -> Seen:
        """Smoothed to a width of `spacing` mm where voxels are finer, and thinned out."""
        sizes = np.array(self.grid.spacing)
        width = np.sqrt(np.maximum(spacing**2 - sizes**2, 0))
        array = ndimage.gaussian_filter(self.array, width / FWHM / sizes)
        factors = np.maximum(1, np.floor(spacing / sizes)).astype(int)
        thin = tuple(slice(None, None, int(factor)) for factor in factors)
        matrix = self.grid.matrix
        matrix[:3, :3] *= factors
        return Seen(array[thin], self.observed[thin], Grid.of(array[thin].shape, matrix))

    @property
    def bins(self) -> Float[Array, "x y z"]:
        """Intensities as places in a histogram, the extreme ones at its ends."""
        low, high = np.percentile(self.array[self.observed], PERCENTILES)
        scaled = (self.array - low) / max(high - low, 1e-30)
        bins: Float[Array, "x y z"] = np.clip(scaled, 0, 1) * (BINS - 1)
        return bins

    @property
    def centre(self) -> Float[Array, " 3"]:
        """The centre of mass in mm, (3,)."""
        low = self.array[self.observed].min()
        middle = ndimage.center_of_mass((self.array - low) * self.observed)
        result: Float[Array, " 3"] = self.grid.matrix[:3] @ [*middle, 1]
        return result


def register(fixed: Seen, moving: Seen) -> tuple[Float[Array, "4 4"], float]:
    """The rotation and translation that bring one image to another.

    Args:
        fixed: that stays.
        moving: that is brought to it.

    Returns:
        (4, 4), from the moving image's world to the fixed one's in mm, and the normalised mutual
        information reached, 1 (nothing in common) to 2.

    Raises:
        DataError: wherever it is put, they hardly overlap.
    """
    ways = _starts(fixed, moving)
    for level, kept in zip(LEVELS_MM, KEPT, strict=True):
        pair = _Pair.of(fixed.coarser(level), moving.coarser(level))
        ways = sorted(ways, key=pair.score, reverse=True)[:kept]
        ways = [pair.best(way, fine=level == LEVELS_MM[-1]) for way in ways]
    [best] = ways
    score = pair.score(best)
    if not score:
        raise DataError(
            "The two images hardly overlap wherever they are put: expected two scans of one head."
        )
    return np.linalg.inv(best), score


def _starts(fixed: Seen, moving: Seen) -> list[Float[Array, "4 4"]]:
    """As the headers say, or with centres of mass on each other; turned to each side, or not."""
    shifts = np.zeros(3), moving.centre - fixed.centre
    turns = np.concatenate([np.zeros((1, 3)), np.eye(3), -np.eye(3)]) * TURN * RADIUS_MM
    return [motion([*shift, *turn], fixed.centre) for shift in shifts for turn in turns]


def motion(way: Sequence[float], centre: Float[Array, " 3"]) -> Float[Array, "4 4"]:
    """A rotation about a centre, and a translation.

    Args:
        way: the translation in mm, and the rotation vector times `RADIUS_MM`, (6,).
        centre: in mm, (3,).
    """
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(np.array(way[3:]) / RADIUS_MM).as_matrix()
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre + way[:3]
    return matrix


@dataclass(frozen=True, eq=False)
class _Pair:
    """Two images at one level.

    Args:
        points: in the fixed one's world in mm, (3, N).
        values: its bins there, (N,).
        moving: the bins of the other, (X, Y, Z).
        to_voxels: from its world to its voxels, (4, 4).
        centre: about which it is turned, in mm.
    """

    points: Float[Array, "3 n"]
    values: Float[Array, " n"]
    moving: Float[Array, "x y z"]
    to_voxels: Float[Array, "4 4"]
    centre: Float[Array, " 3"]

    @classmethod
    def of(cls, fixed: Seen, moving: Seen) -> _Pair:
        """With as many of the fixed image's voxels as are compared, evenly."""
        where = np.flatnonzero(fixed.observed)
        where = where[:: -(-len(where) // MOST_POINTS)]
        index = np.stack(np.unravel_index(where, fixed.grid.shape))
        matrix = fixed.grid.matrix
        return cls(
            matrix[:3, :3] @ index + matrix[:3, 3:],
            np.rint(fixed.bins.ravel()[where]),
            moving.bins.astype(np.float32),
            np.linalg.inv(moving.grid.matrix),
            fixed.centre,
        )

    def best(self, start: Float[Array, "4 4"], fine: bool) -> Float[Array, "4 4"]:
        """The best way from the fixed world to the moving one near a start."""
        reach = np.array([REACH_MM] * 3 + [np.deg2rad(REACH_DEGREES) * RADIUS_MM] * 3)
        found = minimize(
            lambda way: -self.score(start @ motion(way, self.centre)),
            np.zeros(6),
            method="Powell",
            bounds=np.stack([-reach, reach], axis=1),
            options={"xtol": 0.02 if fine else 0.1, "ftol": 1e-7, "maxiter": 10},
        )
        best: Float[Array, "4 4"] = start @ motion(found.x, self.centre)
        return best

    def score(self, to_moving: Float[Array, "4 4"]) -> float:
        """Normalised mutual information; 0 where they hardly overlap."""
        to_voxels = self.to_voxels @ to_moving
        places = to_voxels[:3, :3] @ self.points + to_voxels[:3, 3:]
        ends = np.array(self.moving.shape)[:, None] - 1
        inside = ((places >= 0) & (places <= ends)).all(axis=0)
        if inside.sum() < OVERLAP * len(self.values):
            return 0.0
        read = ndimage.map_coordinates(self.moving, places[:, inside], order=1)
        return _normalised_information(self.values[inside].astype(np.int64), read)


def _normalised_information(whole: Array, part: Float[Array, " n"]) -> float:
    """(H(a) + H(b)) / H(a, b) of bins, those of b shared out between two neighbours."""
    low = np.minimum(part.astype(np.int64), BINS - 2)
    share = part - low
    at = whole * BINS + low
    joint = np.bincount(at, 1 - share, BINS**2) + np.bincount(at + 1, share, BINS**2)
    joint = ndimage.gaussian_filter(joint.reshape(BINS, BINS), SMOOTHING, mode="constant")
    joint /= joint.sum()
    return (_entropy(joint.sum(axis=0)) + _entropy(joint.sum(axis=1))) / _entropy(joint)


def _entropy(shares: Array) -> float:
    positive = shares[shares > 0]
    return -float((positive * np.log(positive)).sum()) or 1e-30
