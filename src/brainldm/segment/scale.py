"""The scale of intensities on which the network sees images."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

PERCENTILES = (1.0, 99.0)
"""That become 0 and 1."""
MOST = 2.0
"""Beyond which intensities are clipped."""


def rescaled(image: Float[Array, "x y z"]) -> Float[Array, "x y z"]:
    """Intensities in which the percentiles are 0 and 1; 0 everywhere of a constant image.

    Args:
        image: (X, Y, Z), float32, in any unit.
    """
    thin = image[::2, ::2, ::2]
    low, high = np.percentile(thin, PERCENTILES)
    if not low < high:
        return np.zeros_like(image)
    scaled: Float[Array, "x y z"] = np.clip((image - low) / (high - low), 0, MOST)
    return scaled.astype(np.float32)
