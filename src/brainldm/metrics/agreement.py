"""Whether what was asked for, or is true, is found again in what was measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Agreement:
    """How pairs of numbers agree.

    Args:
        r: Pearson's; 0 where one of the two does not vary.
        slope: of what was found on what was asked for; 0 where the latter does not vary.
        bias: the mean of found less asked.
        absolute: the mean absolute difference.
        squared: the root mean square difference.
    """

    r: float
    slope: float
    bias: float
    absolute: float
    squared: float


def agreement(asked: ArrayLike, found: ArrayLike) -> Agreement:
    """Compare what was found with what was asked for, (N,) each."""
    a, b = np.asarray(asked, np.float64), np.asarray(found, np.float64)
    x, y = a - a.mean(), b - b.mean()
    covariance, variance = float(x @ y), float(x @ x)
    spread = float(np.sqrt(variance * (y @ y)))
    off = b - a
    return Agreement(
        r=covariance / spread if spread else 0.0,
        slope=covariance / variance if variance else 0.0,
        bias=float(off.mean()),
        absolute=float(np.abs(off).mean()),
        squared=float(np.sqrt((off**2).mean())),
    )
