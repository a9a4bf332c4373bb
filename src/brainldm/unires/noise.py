"""The noise of a scan and the contrast in it, from its histogram.

A mixture of air and of darker and brighter tissue, each Rician as in a magnitude image, or Gaussian
where values are negative (Brudfors et al. 2019, with one class for all tissue: air then takes in
the dark ones). The means and deviations of a class give the parameters of its distribution by the
fixed point of Koay and Basser (2006), Journal of Magnetic Resonance 179:317.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array
from scipy.special import ive

from brainldm.errors import DataError

BINS, CLASSES = 1024, 3
MOST_OVER = 2.0
"""Times the roughness that a class of air may deviate."""
ROOT = float(np.sqrt(2 * np.pi))
MEDIAN = 0.6745
"""Of the size of Gaussian numbers, in deviations."""
ITERATIONS, TOLERANCE = 500, 1e-7
FLOOR = (np.pi / (4 - np.pi)) ** 0.5
"""The mean over the deviation of a Rician distribution of no signal."""
Row = Float[Array, " n"]


@dataclass(frozen=True)
class Noise:
    """What is known of a scan's intensities.

    Args:
        deviation: of the noise.
        contrast: the difference between the means of head and air.
    """

    deviation: float
    contrast: float

    @property
    def precision(self) -> float:
        """1 / deviation^2."""
        return self.deviation**-2


def estimate_noise(array: Float[Array, "x y z"], slices: int) -> Noise:
    """Fit the mixture to a scan.

    Where hardly any air is in it, no class is air, and the deviation of one would be far more than
    the noise: then it is what the roughness within slices says.

    Args:
        array: intensities, NaN where there are none, (X, Y, Z).
        slices: the axis across them.

    Raises:
        DataError: there are too few different intensities.
    """
    values = array[np.isfinite(array)]
    inner = values[(values != 0) & (values > values.min()) & (values < values.max())]
    if len(inner) < 100 or len(np.unique(inner[:10000])) < 8:
        raise DataError(
            "The image has hardly any different intensities: expected a scan with noise in it, got "
            f"{len(inner)} values beside 0, the lowest and the highest. Give the image as the "
            "scanner made it, no label map or mask."
        )
    integers, edges = np.histogram(inner.astype(np.float64), BINS)
    counts, places = integers.astype(np.float64), (edges[1:] + edges[:-1]) / 2
    classes = _Classes.start(counts, places, rician=bool(inner.min() >= 0))
    before = -np.inf
    for _ in range(ITERATIONS):
        likelihood = classes.update(counts, places)
        if abs(likelihood - before) < TOLERANCE:
            break
        before = likelihood
    air = int(np.argmin(classes.means))
    head = np.delete(np.arange(CLASSES), air)
    mean = np.average(classes.means[head], weights=classes.shares[head])
    rough = _roughness(array, slices)
    deviation = float(classes.spreads[air])
    if 0 < rough < deviation / MOST_OVER:
        return Noise(rough, float(inner.mean() - np.percentile(inner, 1)))
    return Noise(deviation, float(mean - classes.means[air]))


def _roughness(array: Float[Array, "x y z"], slices: int) -> float:
    """The noise's deviation by the median of second differences along both axes of slices.

    After Immerkaer (1996), Computer Vision and Image Understanding 64:300.
    """
    plane = np.moveaxis(array, slices, 2)
    rough = np.diff(np.diff(plane, 2, axis=0), 2, axis=1)
    rough = rough[np.isfinite(rough) & (plane[1:-1, 1:-1] != 0)]
    return float(np.median(np.abs(rough)) / MEDIAN / 6) if rough.size else 0.0


@dataclass
class _Classes:
    """The mixture: of each class its share, its parameters, and the mean of its values, (3,)."""

    shares: Row
    centres: Row
    spreads: Row
    means: Row
    rician: bool

    @classmethod
    def start(cls, counts: Row, places: Row, rician: bool) -> _Classes:
        """Air at the histogram's mode, where Rayleigh's has its deviation, and the head above."""
        high, low = float(places[-1]), float(places[0])
        mode = float(places[np.argmax(np.convolve(counts, np.ones(5), "same"))])
        above = mode + (high - mode) * np.arange(1, CLASSES) / CLASSES
        centres = np.array([0.0 if rician else mode, *above])
        first = max(mode, (high - low) / BINS) if rician else (high - low) / 50
        spreads = np.array([first, *[(high - low) / 15] * (CLASSES - 1)])
        return cls(np.full(CLASSES, 1 / CLASSES), centres, spreads, centres, rician)

    def update(self, counts: Row, places: Row) -> float:
        """A step of expectation maximisation; the mean log likelihood before it."""
        density = _rician if self.rician else _gaussian
        pairs = zip(self.centres, self.spreads, strict=True)
        joint = self.shares[:, None] * np.stack([density(places, *pair) for pair in pairs])
        total = np.maximum(joint.sum(axis=0), 1e-300)
        weights = counts * joint / total
        sizes = np.maximum(weights.sum(axis=1), 1e-9)
        self.shares = sizes / sizes.sum()
        self.means = weights @ places / sizes
        squares = (weights * (places - self.means[:, None]) ** 2).sum(axis=1) / sizes
        spreads = np.maximum(np.sqrt(squares), (places[1] - places[0]) / 2)
        found = zip(self.means, spreads, strict=True)
        parameters = [_koay_basser(*each) if self.rician else each for each in found]
        self.centres, self.spreads = np.array(parameters).T
        likelihood: float = (counts * np.log(total)).sum() / counts.sum()
        return likelihood


def _gaussian(x: Float[Array, " n"], mean: float, deviation: float) -> Float[Array, " n"]:
    bell: Float[Array, " n"] = np.exp(-(((x - mean) / deviation) ** 2) / 2) / deviation
    return bell / ROOT


def _rician(x: Float[Array, " n"], signal: float, deviation: float) -> Float[Array, " n"]:
    variance = deviation**2
    bessel = ive(0, x * signal / variance)  # times exp(-x signal / variance), which is put back
    density: Float[Array, " n"] = (
        x / variance * np.exp(-((x - signal) ** 2) / (2 * variance)) * bessel
    )
    return density


def _koay_basser(mean: float, deviation: float) -> tuple[float, float]:
    """The signal and the noise's deviation of a Rician class from its mean and deviation."""
    ratio = mean / deviation
    theta = 0.0
    if ratio > FLOOR:
        theta = ratio - FLOOR
        for _ in range(100):
            after = np.sqrt(max(_correction(theta) * (1 + ratio**2) - 2, 0.0))
            theta, moved = after, abs(after - theta)
            if moved < 1e-6:
                break
    factor = _correction(theta)
    variance = deviation**2 / factor
    return float(np.sqrt(max(mean**2 + (factor - 2) * variance, 0.0))), float(np.sqrt(variance))


def _correction(theta: float) -> float:
    quarter = theta**2 / 4
    bessels = (2 + theta**2) * ive(0, quarter) + theta**2 * ive(1, quarter)
    return float(2 + theta**2 - np.pi / 8 * bessels**2)
