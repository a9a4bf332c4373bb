"""A number of the report, and how it is written."""

from __future__ import annotations

from dataclasses import dataclass


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


def unit_of(condition: str) -> str:
    """Of one of the standard conditions; others carry theirs in their name, if anywhere."""
    return "years" if condition == "age" else "mL" if condition.endswith("_ml") else ""
