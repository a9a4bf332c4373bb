"""A figure of the demo model, and whether it is where it should be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A number, and where it should lie (None: it is there to read the others by)."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None

    @property
    def verdict(self) -> str:
        """Whether the number lies where it should, or nothing if it need not."""
        if self.low is None and self.high is None:
            return ""
        above = self.low is None or self.value >= self.low
        below = self.high is None or self.value <= self.high
        return "reached" if above and below else "MISSED"

    def __str__(self) -> str:
        """One line of the table."""
        limits = [
            f"{word} {limit:g}"
            for word, limit in (("at least", self.low), ("at most", self.high))
            if limit is not None
        ]
        return f"{self.name:<72}{self.value:>9.3f}  {', '.join(limits):<30}{self.verdict}".rstrip()
