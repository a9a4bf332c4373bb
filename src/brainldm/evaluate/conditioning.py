"""Whether generated heads show what they were asked for, measured or estimated from real ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from brainldm.evaluate.figure import Figure, measured_within, unit_of
from brainldm.evaluate.regression import FEWEST, Regressor
from brainldm.evaluate.result import Section
from brainldm.evaluate.scans import Scans
from brainldm.metrics.agreement import agreement
from brainldm.metrics.resampling import bootstrap
from brainldm.segment.measures import VOLUMES

Array = NDArray[np.float64]
AGREEMENTS: Mapping[str, Callable[[Array], float]] = {
    "r": lambda pairs: agreement(*pairs.T).r,
    "slope": lambda pairs: agreement(*pairs.T).slope,
    "mean absolute error": lambda pairs: agreement(*pairs.T).absolute,
}
"""Of pairs of what was asked for and measured, (N, 2)."""


def section(generated: Scans, real: Scans) -> Section:
    """Every condition that the generated heads name."""
    found: list[Figure] = []
    scatters: dict[str, list[tuple[float, float]]] = {}
    for name in dict.fromkeys(name for head in generated.heads for name in head.known):
        seen = _seen(name, generated, real)
        if isinstance(seen, Figure):
            found.append(seen)
            continue
        pairs, others = seen
        found += figures(name, pairs, others, generated.errors.get(name))
        scatters[name] = [(x, y) for x, y in pairs.tolist() if np.isfinite(x + y)]
    return Section(found, scatters=scatters)


def _seen(name: str, generated: Scans, real: Scans) -> tuple[Array, Array] | Figure:
    """Pairs of what was asked for, or is true, and what was measured, of both sets."""
    asked, known = generated.column(name), real.column(name)
    if name in generated.volumes:
        seen, truth = generated.volumes[name], real.volumes[name]
    else:
        there = np.isfinite(known)
        if there.sum() < FEWEST or np.ptp(known[there]) == 0:
            needs = f"needs {name} of at least {FEWEST} real scans, not all alike"
            return _refused(name, "no volumes were measured" if name in VOLUMES else needs)
        scans = [head for head, ok in zip(real.measured, there, strict=True) if ok]
        regressor = Regressor(scans, known[there])
        seen, truth = regressor.predict(generated.measured), np.full(len(known), np.nan)
        truth[there] = regressor.left_out
    return np.stack([asked, seen], 1), np.stack([known, truth], 1)


def figures(
    name: str, generated: Array, real: Array | None, error: float | None = None
) -> Iterator[Figure]:
    """How what was asked for is found again: Pearson's r, slope, mean absolute error.

    Args:
        name: of the condition.
        generated: asked for and measured, (N, 2); rows with NaN are left out.
        real: likewise the table's value and the measured one, where there is a table.
        error: of what measured it, where that is known.
    """
    pair = _known(generated)
    if pair is None:
        yield _refused(name, "fewer than three scans, or all asked for or measured alike")
        return
    other = None if real is None else _known(real)
    for what, statistic in AGREEMENTS.items():
        yield Figure(
            "conditioning",
            f"{name}: {what}",
            statistic(pair),
            bootstrap(statistic, pair),
            None if other is None else statistic(other),
            unit_of(name) if what == "mean absolute error" else "",
            f"{len(pair)} scans{measured_within(error)}",
        )


def _known(pairs: Array) -> Array | None:
    """Rows without NaN; None where they tell nothing."""
    known = pairs[np.isfinite(pairs).all(1)]
    return known if len(known) >= 3 and np.ptp(known, axis=0).all() else None


def _refused(name: str, why: str) -> Figure:
    return Figure("conditioning", f"{name}: r", None, note=f"refused: {why}")
