"""The power of an image in a band of spatial frequencies."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from brainldm.metrics.spectrum import band_power

SHAPE, SPACING = (64, 72, 48), (2.0, 2.0, 2.5)


def window() -> np.ndarray:
    """A ball that fades."""
    axes = [np.linspace(-1, 1, side) for side in SHAPE]
    radius = np.sqrt(sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij")))
    return np.clip(1.5 - 1.5 * radius, 0, 1)


def wave(*cycles_per_mm: float) -> np.ndarray:
    """A plane wave of amplitude 1."""
    voxels = np.indices(SHAPE)
    phase = sum(f * mm * v for f, mm, v in zip(cycles_per_mm, SPACING, voxels, strict=True))
    return np.cos(2 * np.pi * phase)


@pytest.mark.parametrize("direction", [(0.15, 0.0, 0.0), (0.0, 0.15, 0.0), (0.08, 0.08, 0.1)])
def test_a_wave_counts_in_its_own_band_alone(direction: tuple[float, float, float]) -> None:
    image = 3 + 0.2 * wave(*direction)
    assert band_power(image, window(), SPACING, (0.12, 0.2)) == pytest.approx(0.02, rel=0.02)
    assert band_power(image, window(), SPACING, (0.05, 0.1)) < 2e-4


def test_noise_is_spread_over_all_bands() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, SHAPE)
    bands = ((0.0, 0.1), (0.1, 0.2), (0.2, 1.0))
    total = sum(band_power(noise, window(), SPACING, band) for band in bands)
    assert total == pytest.approx(0.01, rel=0.05)


def test_blur_takes_the_fine_power_and_leaves_the_coarse() -> None:
    image = np.random.default_rng(0).normal(0, 1, SHAPE)
    blurred = ndimage.gaussian_filter(image, 1.5 / np.array(SPACING), mode="wrap")
    for band, at in (((0.12, 0.2), 0.165), ((0.02, 0.05), 0.04)):
        kept = band_power(blurred, window(), SPACING, band) / band_power(
            image, window(), SPACING, band
        )
        expected = np.exp(
            -((2 * np.pi * at * 1.5) ** 2)
        )  # of a Gaussian at about the band's middle
        assert kept == pytest.approx(expected, rel=0.25)
