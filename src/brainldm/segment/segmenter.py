"""An image of a head to millilitres, through one door, whatever measures behind it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from brainldm.checkpoint import load_config
from brainldm.errors import UsageError, require
from brainldm.image.grid import Grid
from brainldm.image.volume import Volume
from brainldm.segment.ants import Ants
from brainldm.segment.measures import Measures
from brainldm.segment.network import Network
from brainldm.segment.rule import Simulated

KINDS = {
    "network": (),
    "ants": ("nilearn", "ants"),
    "simulated": ("nilearn",),
    "none": (),
}
"""What can be asked for, and the packages that it needs: the network that ships, registration and
segmentation with ANTs, thresholds for heads with the contrast of simulated ones, or no measuring.
A folder of `brainldm train segmenter` is a kind too."""


class Segmenter(Protocol):
    """Measures heads; travels to worker processes."""

    @property
    def identity(self) -> str:
        """Its name in the report."""

    @property
    def errors(self) -> Mapping[str, float]:
        """Its mean absolute error on heads held out in training, mL, where that is known."""

    def measure(self, volume: Volume) -> Measures:
        """Measure a head that lies in MNI152 space."""


def segmenter(
    kind: str, grid: Grid, cache: Path, progress: Callable[[int, int], None]
) -> Segmenter | None:
    """One of `KINDS`; what it needs is made once, in the cache, whoever asks first.

    Args:
        kind: "none" is None; a folder is that of a network.
        grid: of the heads.
        cache: a folder.
        progress: called with the number of heads that it has learned from, and of all.

    Raises:
        UsageError: as `check_segmentation`.
        StorageError: the cache cannot be written.
    """
    check_segmentation(kind, grid)
    if kind == "network" or kind not in KINDS:
        return network_of(kind)
    if kind == "ants":
        return Ants()
    if kind == "simulated":
        return Simulated.learned(grid, cache / "rule.npz", progress)
    return None


def network_of(kind: str) -> Network:
    """The network that ships, for "network", or that of a folder."""
    return Network.of(None if kind == "network" else Path(kind))


def identity_of(kind: str) -> str:
    """What a record says of a kind: its name, or which weights a network has."""
    return kind if kind in KINDS and kind != "network" else network_of(kind).identity


def check_segmentation(kind: str, grid: Grid) -> None:
    """Whether a segmentation can be had on a grid.

    Raises:
        UsageError: an unknown kind, no network where one is asked for, or `simulated` on another
            grid than the demo model's.
        DataError: a network of other structures, or whose description is damaged.
        MissingExtraError: what it needs is not installed.
    """
    if kind not in KINDS and not os.path.isdir(kind):
        raise UsageError(
            f"No segmentation is {kind!r}: expected {', '.join(KINDS)}, or the folder of a "
            "segmenter."
        )
    if kind == "network" or kind not in KINDS:
        network_of(kind)
        return
    if KINDS[kind]:
        require("evaluate", "Measuring volumes", *KINDS[kind])
    if kind == "simulated":
        demo = load_config("demo")
        known = Grid.of(demo.shape, demo.affine)
        if not known.equals(grid):
            raise UsageError(
                "The segmentation of simulated heads expects the demo model's grid, "
                f"{known}; got {grid}. Choose ants."
            )
