"""The noise of a scan, found again where it is known."""

from __future__ import annotations

import numpy as np
import pytest

from brainldm.errors import DataError
from brainldm.unires.noise import estimate_noise


def head(noise: float, air: float, seed: int = 0) -> np.ndarray:
    """A magnitude image of (40, 40, 12): planes of air, then of tissues 0.4, 0.6 and 0.9."""
    signal = np.zeros((40, 40, 12))
    parts = np.split(np.arange(int(40 * air), 40), [4, 9])
    for part, tissue in zip(parts, (0.4, 0.6, 0.9), strict=True):
        signal[part] = tissue
    channels = noise * np.random.default_rng(seed).standard_normal((2, *signal.shape))
    return np.hypot(signal + channels[0], channels[1])


@pytest.mark.parametrize("noise", [0.01, 0.03, 0.06])
def test_the_noise_of_a_magnitude_image_is_found(noise: float) -> None:
    found = estimate_noise(head(noise, air=0.5), 2)
    assert found.deviation == pytest.approx(noise, rel=0.15)
    assert 0.4 < found.contrast < 0.9
    assert found.precision == found.deviation**-2


def test_intensities_scale_and_may_be_negative() -> None:
    plain = estimate_noise(head(0.03, air=0.5), 2)
    scaled = estimate_noise(1000 * head(0.03, air=0.5), 2)
    assert scaled.deviation == pytest.approx(1000 * plain.deviation, rel=0.01)
    rng = np.random.default_rng(0)
    signal = np.repeat([0.0, 1.0], 20)[:, None, None] + 0.05 * rng.standard_normal((40, 40, 12))
    assert estimate_noise(signal, 2).deviation == pytest.approx(0.05, rel=0.15)


def test_without_air_it_is_the_roughness() -> None:
    found = estimate_noise(head(0.03, air=0.0), 2)
    assert found.deviation == pytest.approx(0.03, rel=0.35)


def test_a_label_map_is_refused() -> None:
    labels = np.random.default_rng(0).integers(0, 5, (20, 20, 20)).astype(float)
    with pytest.raises(DataError, match="no label map or mask"):
        estimate_noise(labels, 2)
