"""How much of an image there is at each fineness: what blur takes away, noise and texture add."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array


def band_power(
    image: Float[Array, "x y z"],
    window: Float[Array, "x y z"],
    spacing: Sequence[float],
    band: tuple[float, float],
) -> float:
    """The power of an image between two spatial frequencies, as far as a window shows it.

    Args:
        image: (X, Y, Z).
        window: how much each voxel counts, 0 to 1; it must fall off smoothly, over a few
            wavelengths, lest its own edge count.
        spacing: of the voxels in mm, (3,).
        band: cycles per mm, from and below.

    Returns:
        The mean square, over the window, of the waves in that band: half the square of the
        amplitude of a single one.
    """
    mean = float((image * window).sum() / window.sum())
    amplitudes = np.fft.fftn((image - mean) * window)
    x, y, z = (np.fft.fftfreq(side, mm) ** 2 for side, mm in zip(image.shape, spacing, strict=True))
    frequencies = np.sqrt(x[:, None, None] + y[:, None] + z)
    low, high = band
    inside = (low <= frequencies) & (frequencies < high)
    power = float((np.abs(amplitudes[inside]) ** 2).sum())
    return power / image.size / float((window**2).sum())
