"""A number of the report, and how it is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainldm.image.page import words
from brainldm.metrics.resampling import against_floor, interval

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Figure:
    """One number.

    Args:
        section: which part.
        name: what it is.
        value: None where it was refused; `note` says why.
        interval: 95 %, by a bootstrap unless the note names another.
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

    @property
    def words(self) -> str:
        """The name for a page: a condition's as people write it."""
        what, colon, of = self.name.partition(":")
        return words(what) + colon + of

    def __str__(self) -> str:
        """One line for a terminal."""
        if self.value is None:
            return f"{self.section:<15}{self.name}: {self.note}"
        between = "" if self.interval is None else " to ".join(map(digits, self.interval))
        real = "" if self.real is None else f"real {digits(self.real)}"
        value = f"{digits(self.value)} {self.unit}".rstrip()
        return f"{self.section:<15}{self.name:<62}{value:>12}  {between:<24}{real}".rstrip()


def beside_floor(
    section: str,
    name: str,
    statistic: Callable[[Array, Array], float],
    generated: Array,
    real: Array,
    unit: str = "",
) -> Figure:
    """A figure of two sets at one number of scans, beside that of real scans against real ones.

    Args:
        section: which part.
        name: without the number of scans.
        statistic: of two sets, (N, ...) and (M, ...).
        generated: a set.
        real: another.
        unit: of the figure.

    Raises:
        DataError: the statistic refuses sets of that number.
    """
    n = min(len(real) // 2, len(generated))
    ours, floor = against_floor(statistic, generated, real)
    return Figure(
        section,
        f"{name} at {n} scans a set",
        float(ours.mean()),
        interval(ours),
        float(floor.mean()),
        unit,
        "in brackets and under real: over 20 random halves of the real set",
    )


def measured_within(error: float | None) -> str:
    """The end of a note: how far what measured a volume is off itself, where that is known."""
    return "" if error is None else f"; the segmenter itself is off by {digits(error)} mL"


def digits(value: float) -> str:
    """Four significant digits, without an exponent where that is short."""
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"


def unit_of(condition: str) -> str:
    """Of one of the standard conditions; others carry theirs in their name, if anywhere."""
    return "years" if condition == "age" else "mL" if condition.endswith("_ml") else ""
