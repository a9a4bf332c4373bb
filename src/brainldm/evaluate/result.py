"""What an evaluation found: what its report says, shows and keeps for machines."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from brainldm._version import __version__
from brainldm.evaluate.figure import Figure
from brainldm.image.grid import Grid

T = TypeVar("T")
PACKAGES = ("torch", "numpy", "scipy", "monai", "antspyx", "nibabel")


@dataclass(frozen=True)
class Sheet:
    """Scans to look at: the title, and for each its file and a line below it."""

    title: str
    scans: tuple[tuple[Path, str], ...]


@dataclass(frozen=True)
class Section:
    """One part: its figures, and what is drawn and shown with them.

    Args:
        figures: in order.
        scatters: condition to pairs of what was asked for and measured.
        volumes: set to name to mL of each head.
        distances: set to distances to the nearest training scan.
        sheets: scans to look at.
    """

    figures: Sequence[Figure] = ()
    scatters: Mapping[str, list[tuple[float, float]]] = field(default_factory=dict)
    volumes: Mapping[str, dict[str, list[float]]] = field(default_factory=dict)
    distances: Mapping[str, list[float]] = field(default_factory=dict)
    sheets: Sequence[Sheet] = ()


@dataclass(frozen=True)
class Result:
    """All of it.

    Args:
        protocol: what two evaluations must share to be compared.
        sets: where the scans were, how many there are, the hash of all of them.
        versions: of the software.
        figures: in the order of the report.
        warnings: what a reader must know first.
        scatters: as in `Section`, and so are `volumes`, `distances` and `sheets`.
        grid: that the scans were brought to.
    """

    protocol: dict[str, Any]
    sets: dict[str, Any]
    versions: dict[str, str]
    figures: list[Figure]
    warnings: list[str]
    scatters: dict[str, list[tuple[float, float]]]
    volumes: dict[str, dict[str, list[float]]]
    distances: dict[str, list[float]]
    sheets: list[Sheet]
    grid: Grid

    @classmethod
    def of(
        cls,
        protocol: dict[str, Any],
        sets: dict[str, Any],
        warnings: list[str],
        sections: Sequence[Section],
        grid: Grid,
    ) -> Result:
        """Put sections together, in their order."""
        return cls(
            protocol,
            sets,
            _versions(),
            [figure for section in sections for figure in section.figures],
            warnings,
            _joined(section.scatters for section in sections),
            _joined(section.volumes for section in sections),
            _joined(section.distances for section in sections),
            [sheet for section in sections for sheet in section.sheets],
            grid,
        )

    def to_json(self) -> dict[str, Any]:
        """All but the sheets, whose grid is in the protocol."""
        content = asdict(self)
        del content["sheets"], content["grid"]
        return content


def _joined(parts: Iterable[Mapping[str, T]]) -> dict[str, T]:
    return {name: value for part in parts for name, value in part.items()}


def _versions() -> dict[str, str]:
    found = {"brainldm": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
