"""How different generated heads are from each other, and how much of the real set they cover."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from brainldm.evaluate.figure import Figure, beside_floor
from brainldm.evaluate.pairs import PAIR_FIGURES
from brainldm.metrics.distances import NEIGHBOURS, coverage
from brainldm.metrics.resampling import bootstrap

Array = NDArray[np.float64]


def similarity(generated: Array, real: Array) -> Iterator[Figure]:
    """Means over random pairs.

    Args:
        generated: `PAIR_FIGURES` of pairs of generated scans, (P, 4).
        real: likewise of real scans.
    """
    for i, name in enumerate(PAIR_FIGURES):
        values = generated[:, i]
        yield Figure(
            "diversity",
            f"{name}, mean over {len(values)} pairs",
            float(values.mean()),
            bootstrap(lambda x: float(x.mean()), values),
            float(real[:, i].mean()),
            note="lower is more diverse; near the real set's is right",
        )


def covered(generated: Array, real: Array) -> Iterator[Figure]:
    """Precision, recall, density and coverage of features, (N, D) and (M, D), at one size."""
    n = min(len(real) // 2, len(generated))
    if n <= NEIGHBOURS:
        note = f"refused: {NEIGHBOURS} neighbours need more than {2 * NEIGHBOURS + 1} real scans"
        yield Figure("diversity", "recall", None, note=note)
        return
    for name in ("precision", "recall", "density", "coverage"):
        yield beside_floor("diversity", name, partial(_coverage, name), generated, real)


def _coverage(name: str, generated: Array, real: Array) -> float:
    return coverage(generated, real)[name]
