"""Whether the measured volumes of generated heads are distributed as those of real ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from brainldm.evaluate.figure import Figure, beside_floor, measured_within, unit_of
from brainldm.evaluate.scans import Scans
from brainldm.metrics.resampling import bootstrap

Array = NDArray[np.float64]


def figures(generated: Scans, real: Scans) -> Iterator[Figure]:
    """Effect size and Wasserstein distance of each measured volume, generated against real."""
    for name, a in generated.volumes.items():
        a, b = (each[np.isfinite(each)] for each in (a, real.volumes[name]))
        within = measured_within(generated.errors.get(name))
        if min(len(a), len(b)) < 3:
            yield Figure("anatomy", f"{name}: Cohen's d", None, note="refused: fewer than 3 scans")
            continue
        yield Figure(
            "anatomy",
            f"{name}: Cohen's d",
            cohens_d(a, b),
            bootstrap(cohens_d, a, b),
            note=f"mean {a.mean():.1f} generated, {b.mean():.1f} real; positive is larger{within}",
        )
        distance = f"{name}: Wasserstein distance"
        yield beside_floor("anatomy", distance, wasserstein, a, b, unit_of(name))


def wasserstein(a: Array, b: Array) -> float:
    """The mean distance that numbers of one set move to become those of the other."""
    return float(stats.wasserstein_distance(a, b))


def cohens_d(a: Array, b: Array) -> float:
    """The difference of means over the pooled standard deviation."""
    n, m = len(a), len(b)
    pooled = ((n - 1) * a.var(ddof=1) + (m - 1) * b.var(ddof=1)) / (n + m - 2)
    return float((a.mean() - b.mean()) / np.sqrt(max(pooled, 1e-12)))
