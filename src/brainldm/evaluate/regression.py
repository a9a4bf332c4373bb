"""What real scans tell of a head, such as its brain age, where no segmentation measures it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from brainldm.evaluate.measures import Measured

Array = NDArray[np.float64]
FEWEST = 20
"""Real scans to learn from."""


class Regressor:
    """Ridge regression on real scans, of their features and histograms.

    Args:
        heads: real scans.
        values: what is known of each, such as ages in years, (N,).
    """

    left_out: Array
    """Of each real scan, from all others, (N,), about the mean of all.

    The mean of the others falls as a head's own value rises: where features tell nothing and that
    mean is all that is left of an estimate, it would agree with the truth at r = -1.
    """

    def __init__(self, heads: Sequence[Measured], values: Array) -> None:
        x = self._raw(heads)
        self.centre, self.scale = x.mean(0), x.std(0) + 1e-9
        x = (x - self.centre) / self.scale
        gram = x @ x.T / x.shape[1]
        eigen, vectors = np.linalg.eigh(gram)
        self.mean = values.mean()
        y = values - self.mean
        best = np.inf
        for penalty in np.logspace(-3, 2, 16) * max(float(eigen.mean()), 1e-9):
            dual = vectors / (eigen.clip(0) + penalty) @ vectors.T
            # Leaving out one head at a time, in closed form (Hastie et al., section 7.10), of the
            # means too: centred with a head's own features, those of the others tell where it is.
            fitted = gram @ dual
            errors = (y - fitted @ y) / (1 - fitted.diagonal() - 1 / len(y)).clip(1e-6)
            if (errors**2).mean() < best:
                best = (errors**2).mean()
                self.left_out = values - errors + y / (len(y) - 1)
                self.weights = x.T @ (dual @ y) / x.shape[1]

    @staticmethod
    def _raw(heads: Sequence[Measured]) -> Array:
        rows = [np.concatenate([h.features, h.histogram]) for h in heads]
        return np.array(rows, np.float64)

    def predict(self, heads: Sequence[Measured]) -> Array:
        """Of other heads, (N,)."""
        x = (self._raw(heads) - self.centre) / self.scale
        predicted: Array = self.mean + x @ self.weights
        return predicted
