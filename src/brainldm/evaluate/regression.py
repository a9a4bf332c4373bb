"""What real scans tell of a head, such as its brain age, where no segmentation measures it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from brainldm.evaluate.measures import Measured
from brainldm.metrics.ridge import ridge

Array = NDArray[np.float64]
FEWEST = 20
"""Real scans to learn from."""
STRENGTHS = np.logspace(-3, 2, 16)
"""Of the ridge penalty, to choose from, in units of the mean variance of a scan."""


class Regressor:
    """Ridge regression on real scans, of their features and histograms.

    Args:
        heads: real scans.
        values: what is known of each, such as ages in years, (N,).
    """

    left_out: Array
    """Of each real scan, from all others, (N,), about the mean of all (`ridge`)."""

    def __init__(self, heads: Sequence[Measured], values: Array) -> None:
        x = self._raw(heads)
        self.centre, self.scale = x.mean(0), x.std(0) + 1e-9
        x = (x - self.centre) / self.scale
        self.mean = values.mean()
        dual, left_out = ridge(x @ x.T / x.shape[1], values[:, None], STRENGTHS)
        self.left_out = left_out[:, 0]
        self.weights = x.T @ dual[:, 0] / x.shape[1]

    @staticmethod
    def _raw(heads: Sequence[Measured]) -> Array:
        rows = [np.concatenate([h.features, h.histogram]) for h in heads]
        return np.array(rows, np.float64)

    def predict(self, heads: Sequence[Measured]) -> Array:
        """Of other heads, (N,)."""
        x = (self._raw(heads) - self.centre) / self.scale
        predicted: Array = self.mean + x @ self.weights
        return predicted
