"""Whether the measured volumes of generated heads are distributed as those of real ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from brainldm.evaluate.figure import Figure, unit_of
from brainldm.metrics.resampling import against_floor, bootstrap, interval

Array = NDArray[np.float64]


def figures(generated: Mapping[str, Array], real: Mapping[str, Array]) -> Iterator[Figure]:
    """Effect size and Wasserstein distance of each measured volume, generated against real."""
    for name, a in generated.items():
        b = real[name]
        if min(len(a), len(b)) < 3:
            yield Figure("anatomy", f"{name}: Cohen's d", None, note="refused: fewer than 3 scans")
            continue
        yield Figure(
            "anatomy",
            f"{name}: Cohen's d",
            cohens_d(a, b),
            bootstrap(cohens_d, a, b),
            note=f"mean {a.mean():.1f} generated, {b.mean():.1f} real; positive is larger",
        )
        n = min(len(b) // 2, len(a))
        ours, floor = against_floor(stats.wasserstein_distance, a, b)
        yield Figure(
            "anatomy",
            f"{name}: Wasserstein distance at {n} scans a set",
            float(ours.mean()),
            interval(ours),
            float(floor.mean()),
            unit_of(name),
            "in brackets and under real: over 20 random halves of the real set",
        )


def cohens_d(a: Array, b: Array) -> float:
    """The difference of means over the pooled standard deviation."""
    n, m = len(a), len(b)
    pooled = ((n - 1) * a.var(ddof=1) + (m - 1) * b.var(ddof=1)) / (n + m - 2)
    return float((a.mean() - b.mean()) / np.sqrt(max(pooled, 1e-12)))
