"""Figures of the report, from what was measured on the heads of the sets. No image is read here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from brainldm.errors import BrainLDMError
from brainldm.evaluate.measures import PAIR_FIGURES
from brainldm.metrics.agreement import agreement
from brainldm.metrics.distances import (
    NEIGHBOURS,
    against_floor,
    bootstrap,
    coverage,
    fid,
    interval,
    mmd,
)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Figure:
    """One number of the report.

    Args:
        section: which part.
        name: what it is.
        value: None where it was refused; `note` says why.
        interval: the middle 95 % of a bootstrap.
        real: the same for real scans (a floor, or a ceiling).
        unit: mL, years, dB or nothing.
        note: what to know to read it.
    """

    section: str
    name: str
    value: float | None
    interval: tuple[float, float] | None = None
    real: float | None = None
    unit: str = ""
    note: str = ""

    def __str__(self) -> str:
        """One line for a terminal."""
        if self.value is None:
            return f"{self.section:<15}{self.name}: {self.note}"
        between = "" if self.interval is None else " to ".join(map(digits, self.interval))
        real = "" if self.real is None else f"real {digits(self.real)}"
        value = f"{digits(self.value)} {self.unit}".rstrip()
        return f"{self.section:<15}{self.name:<62}{value:>12}  {between:<24}{real}".rstrip()


def digits(value: float) -> str:
    """Four significant digits, without an exponent where that is short."""
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"


def realism(generated: Array, real: Array, shrinkage: float) -> Iterator[Figure]:
    """FID and MMD: of all scans, and at one sample size beside the floor of real against real."""
    for name, figure in (("FID", partial(fid, shrinkage=shrinkage)), ("MMD", mmd)):
        note = f"shrinkage {shrinkage:g}" if shrinkage and name == "FID" else ""
        n = min(len(real) // 2, len(generated))
        try:
            value = figure(generated, real)
            yield Figure("realism", name, value, bootstrap(figure, generated, real), None, "", note)
        except BrainLDMError as error:
            yield Figure("realism", name, None, note=f"refused: {error}")
        if n < 2:
            continue
        same = f"{name} at {n} scans a set"
        try:
            ours, floor = against_floor(figure, generated, real)
        except BrainLDMError as error:
            yield Figure("realism", same, None, note=f"refused: {error}")
            continue
        why = "in brackets and under real: over 20 random halves of the real set"
        yield Figure(
            "realism", same, float(ours.mean()), interval(ours), float(floor.mean()), "", why
        )


def spread(
    generated: Array, real: Array, pairs_generated: Array, pairs_real: Array
) -> Iterator[Figure]:
    """Similarity over random pairs, and how much of the real set the generated one covers.

    Args:
        generated: features, (N, D).
        real: features, (M, D).
        pairs_generated: `PAIR_FIGURES` of pairs of generated scans, (P, 4).
        pairs_real: likewise of real scans.
    """
    for i, name in enumerate(PAIR_FIGURES):
        values = pairs_generated[:, i]
        yield Figure(
            "diversity",
            f"{name}, mean over {len(values)} pairs",
            float(values.mean()),
            bootstrap(lambda x: float(x.mean()), values),
            float(pairs_real[:, i].mean()),
            note="lower is more diverse; near the real set's is right",
        )
    n = min(len(real) // 2, len(generated))
    if n <= NEIGHBOURS:
        note = f"refused: {NEIGHBOURS} neighbours need more than {2 * NEIGHBOURS + 1} real scans"
        yield Figure("diversity", "recall", None, note=note)
        return
    for name in ("precision", "recall", "density", "coverage"):
        ours, floor = against_floor(partial(_coverage, name), generated, real)
        yield Figure(
            "diversity",
            f"{name} at {n} scans a set",
            float(ours.mean()),
            interval(ours),
            float(floor.mean()),
        )


def _coverage(name: str, generated: Array, real: Array) -> float:
    return coverage(generated, real)[name]


def unit_of(condition: str) -> str:
    """Of one of the standard conditions; others carry theirs in their name, if anywhere."""
    return "years" if condition == "age" else "mL" if condition.endswith("_ml") else ""


AGREEMENTS: Mapping[str, Callable[[Array], float]] = {
    "r": lambda pairs: agreement(*pairs.T).r,
    "slope": lambda pairs: agreement(*pairs.T).slope,
    "mean absolute error": lambda pairs: agreement(*pairs.T).absolute,
}
"""Of pairs of what was asked for and measured, (N, 2)."""


def conditioning(name: str, generated: Array, real: Array | None) -> Iterator[Figure]:
    """How what was asked for is found again: Pearson's r, slope, mean absolute error.

    Args:
        name: of the condition.
        generated: asked for and measured, (N, 2); rows with NaN are left out.
        real: likewise the table's value and the measured one, where there is a table.
    """
    pair = _known(generated)
    if pair is None:
        note = "refused: fewer than three scans, or all asked for or measured alike"
        yield Figure("conditioning", f"{name}: r", None, note=note)
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
            f"{len(pair)} scans",
        )


def _known(pairs: Array) -> Array | None:
    """Rows without NaN; None where they tell nothing."""
    known = pairs[np.isfinite(pairs).all(1)]
    return known if len(known) >= 3 and np.ptp(known, axis=0).all() else None


def anatomy(generated: Mapping[str, Array], real: Mapping[str, Array]) -> Iterator[Figure]:
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
        yield Figure(
            "anatomy",
            f"{name}: Wasserstein distance",
            float(stats.wasserstein_distance(a, b)),
            bootstrap(lambda x, y: float(stats.wasserstein_distance(x, y)), a, b),
            float(stats.wasserstein_distance(b[::2], b[1::2])),
            unit_of(name),
            "under real: one half of the real set against the other",
        )


def cohens_d(a: Array, b: Array) -> float:
    """The difference of means over the pooled standard deviation."""
    n, m = len(a), len(b)
    pooled = ((n - 1) * a.var(ddof=1) + (m - 1) * b.var(ddof=1)) / (n + m - 2)
    return float((a.mean() - b.mean()) / np.sqrt(max(pooled, 1e-12)))
