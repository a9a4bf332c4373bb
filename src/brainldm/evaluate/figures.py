"""Figures of the report, from what was measured on the heads of the sets. No image is read here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from brainldm.errors import BrainLDMError
from brainldm.evaluate.distances import (
    NEIGHBOURS,
    against_floor,
    bootstrap,
    coverage,
    fid,
    interval,
    mmd,
)
from brainldm.evaluate.measures import PAIR_FIGURES, Measured

Array = NDArray[np.float64]
UNITS = {"age": "years", "ventricular_volume_ml": "mL", "brain_volume_ml": "mL"}


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
        ours, floor = against_floor(lambda a, b, name=name: coverage(a, b)[name], generated, real)
        yield Figure(
            "diversity",
            f"{name} at {n} scans a set",
            float(ours.mean()),
            interval(ours),
            float(floor.mean()),
        )


def conditioning(asked: Mapping[str, Array], measured: Mapping[str, Array]) -> Iterator[Figure]:
    """How what was asked for is found again: Pearson's r, slope, mean absolute error."""
    for name, x in asked.items():
        y = measured[name]
        known = np.isfinite(x) & np.isfinite(y)
        pair = np.stack([x[known], y[known]], 1)
        if len(pair) < 3 or np.ptp(pair[:, 0]) == 0 or np.ptp(pair[:, 1]) == 0:
            note = "refused: fewer than three scans, or all asked for or measured alike"
            yield Figure("conditioning", f"{name}: r", None, note=note)
            continue
        for what, statistic, unit in (
            ("r", _r, ""),
            ("slope", _slope, ""),
            ("mean absolute error", _error, UNITS.get(name, "")),
        ):
            yield Figure(
                "conditioning",
                f"{name}: {what}",
                statistic(pair),
                bootstrap(statistic, pair),
                None,
                unit,
                f"{len(pair)} scans",
            )


def _r(pair: Array) -> float:
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.nan_to_num(np.corrcoef(pair.T)[0, 1]))


def _slope(pair: Array) -> float:
    x, y = (pair - pair.mean(0)).T
    return float(x @ y / max(float(x @ x), 1e-12))


def _error(pair: Array) -> float:
    return float(np.abs(pair[:, 0] - pair[:, 1]).mean())


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
            UNITS[name],
            "under real: one half of the real set against the other",
        )


def cohens_d(a: Array, b: Array) -> float:
    """The difference of means over the pooled standard deviation."""
    n, m = len(a), len(b)
    pooled = ((n - 1) * a.var(ddof=1) + (m - 1) * b.var(ddof=1)) / (n + m - 2)
    return float((a.mean() - b.mean()) / np.sqrt(max(pooled, 1e-12)))


@dataclass(frozen=True)
class Copies:
    """Nearest training scans.

    Args:
        generated: distance of each generated head to its nearest training scan, (N,).
        held_out: likewise of real scans that were not trained on.
        nearest: index of that training scan for each generated head.
        threshold: below it a head counts as a copy: 5 % of held-out scans do.
    """

    generated: Array
    held_out: Array
    nearest: NDArray[np.intp]
    threshold: float

    @property
    def share(self) -> float:
        """Of the generated heads nearer than the threshold."""
        return float((self.generated < self.threshold).mean())


def find_copies(generated: Array, held_out: Array, training: Array) -> Copies:
    """Compare embeddings, (N, E) each of norm 1, by 1 - their correlation."""
    distances = 1 - generated @ training.T
    others = (1 - held_out @ training.T).min(1)
    return Copies(distances.min(1), others, distances.argmin(1), float(np.percentile(others, 5)))


def copies(found: Copies) -> Iterator[Figure]:
    """The share of copies, and how near the nearest are."""
    yield Figure(
        "copies",
        "share nearer to a training scan than 95 % of held-out scans",
        found.share,
        bootstrap(lambda x: float((x < found.threshold).mean()), found.generated),
        0.05,
        note="0.05 by chance alone",
    )
    yield Figure(
        "copies",
        "median distance to the nearest training scan",
        float(np.median(found.generated)),
        None,
        float(np.median(found.held_out)),
        note="1 - correlation of embeddings",
    )


class AgeRegressor:
    """Brain age by ridge regression on real scans, of their features, histograms and embeddings.

    Args:
        heads: real scans.
        ages: in years.
    """

    def __init__(self, heads: Sequence[Measured], ages: Array) -> None:
        self.ages = ages
        x = self._raw(heads)
        self.centre, self.scale = x.mean(0), x.std(0) + 1e-9
        x = (x - self.centre) / self.scale
        gram = x @ x.T / x.shape[1]
        values, vectors = np.linalg.eigh(gram)
        y = ages - ages.mean()
        best = np.inf
        for penalty in np.logspace(-3, 2, 16) * max(float(values.mean()), 1e-9):
            dual = vectors / (values.clip(0) + penalty) @ vectors.T
            smoother = gram @ dual + 1 / len(y)
            # Leaving out one head at a time, in closed form (Hastie et al., section 7.10).
            errors = (y - gram @ dual @ y) / (1 - smoother.diagonal()).clip(1e-6)
            if (errors**2).mean() < best:
                best, self.left_out = (errors**2).mean(), ages - errors
                self.weights = x.T @ (dual @ y) / x.shape[1]

    @staticmethod
    def _raw(heads: Sequence[Measured]) -> Array:
        rows = [np.concatenate([h.features, 10 * h.histogram]) for h in heads]
        return np.array(rows, np.float64)

    @property
    def error(self) -> float:
        """Mean absolute error, in years, on real scans that were left out."""
        return float(np.abs(self.left_out - self.ages).mean())

    def predict(self, heads: Sequence[Measured]) -> Array:
        """Ages, (N,)."""
        x = (self._raw(heads) - self.centre) / self.scale
        predicted: Array = self.ages.mean() + x @ self.weights
        return predicted
