"""Generated heads to look at: at random, and the nearest and farthest from real ones."""

from __future__ import annotations

import numpy as np

from brainldm.evaluate.result import Sheet
from brainldm.evaluate.scans import Scans
from brainldm.metrics.distances import NEIGHBOURS, squared_distances

RANDOM, EXTREME = 12, 4
"""Heads that are shown."""


def sheets(generated: Scans, real: Scans, seed: int) -> tuple[Sheet, ...]:
    """Three sheets, the random one drawn with a seed."""
    distances = np.sort(squared_distances(generated.features, real.features), 1)
    far = np.sqrt(distances[:, :NEIGHBOURS].mean(1))
    order = far.argsort()
    some = np.random.default_rng(seed).permutation(len(far))[:RANDOM]
    chosen = {
        "Random samples": some,
        "Best samples: nearest to real scans in features": order[:EXTREME],
        "Worst samples: farthest from real scans in features": order[::-1][:EXTREME],
    }
    return tuple(
        Sheet(title, tuple((path, path.name) for path in (generated.heads[i].path for i in which)))
        for title, which in chosen.items()
    )
