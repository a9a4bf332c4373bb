"""The network behind the door: measures any head, on any grid, without registration."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from brainldm.image.grid import Grid
from brainldm.image.volume import Volume
from brainldm.models.segmenter import SegmentationNetwork
from brainldm.segment.labelled import Labelled, label
from brainldm.segment.measures import VOLUMES, Measures, error_of
from brainldm.segment.weights import Description, load_segmenter

SHIPPED = Path(__file__).parents[1] / "weights" / "segmenter"
"""Where the weights are that come with the package."""


@dataclass(frozen=True)
class Network:
    """Labels and measures with a network; travels to worker processes.

    Args:
        folder: of its weights.
        identity: which weights they are.
    """

    folder: Path
    identity: str

    @classmethod
    def of(cls, folder: Path | None = None) -> Network:
        """The network of a folder, or the one that ships.

        Raises:
            UsageError: there is none.
            DataError: its description is damaged.
        """
        place = (folder or SHIPPED).absolute()
        return cls(place, f"network {Description.read(place).sha256[:12]}")

    @property
    def errors(self) -> dict[str, float]:
        """The mean absolute error of each of `VOLUMES` on held-out heads, mL, if any were."""
        figures = Description.read(self.folder).figures
        return {
            name: figures[figure]
            for name in VOLUMES
            if (figure := f"held-out/{error_of(name)}") in figures
        }

    def label(self, volume: Volume) -> Labelled:
        """Label a head, once if the same is asked again; errors as `labelled.label`."""
        asked = self, volume.grid
        if _last and _last[0].asked == asked and _last[0].array() is volume.array:
            return _last[0].found
        found = label(volume, _loaded(self.folder))
        _last[:] = [_Last(asked, weakref.ref(volume.array), found)]
        return found

    def measure(self, volume: Volume) -> Measures:
        """Measure a head.

        Raises:
            DataError: it is none, or the measures are not to be trusted.
        """
        return self.label(volume).measures


@dataclass(frozen=True)
class _Last:
    """What was labelled last."""

    asked: tuple[Network, Grid]
    array: Callable[[], object]
    found: Labelled


_last: list[_Last] = []


@lru_cache(maxsize=1)
def _loaded(folder: Path) -> SegmentationNetwork:
    return load_segmenter(folder)
