"""An image of a head to millilitres, through one door, whatever measures behind it."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Protocol

from brainldm.errors import DataError, UsageError, require
from brainldm.image.volume import Volume
from brainldm.segment.ants import Ants
from brainldm.segment.measures import Measures
from brainldm.segment.network import Network

KINDS = {
    "network": (),
    "ants": ("nilearn", "ants"),
    "none": (),
}
"""What can be asked for, and the packages that it needs: the network that ships, registration and
segmentation with ANTs, or no measuring. A folder of `brainldm train segmenter` is a kind too."""


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


def segmenter(kind: str) -> Segmenter | None:
    """One of `KINDS`: "none" is None, a folder is that of a network.

    Raises:
        BrainLDMError: as `check_segmentation`.
    """
    check_segmentation(kind)
    if kind == "network" or kind not in KINDS:
        return network_of(kind)
    if kind == "ants":
        return Ants()
    return None


def measured(segmenter: Segmenter, volume: Volume) -> tuple[float, float]:
    """`Measures.volumes` in mL; NaN where the segmenter says not to trust them."""
    try:
        return segmenter.measure(volume).volumes
    except DataError:
        return math.nan, math.nan


def network_of(kind: str) -> Network:
    """The network that ships, for "network", or that of a folder."""
    return Network.of(None if kind == "network" else Path(kind))


def identity_of(kind: str) -> str:
    """What a record says of a kind: its name, or which weights a network has."""
    return kind if kind in KINDS and kind != "network" else network_of(kind).identity


def check_kind(kind: str, kinds: Collection[str] = KINDS) -> None:
    """Whether it is one of some kinds, or a folder.

    Raises:
        UsageError: it is neither.
    """
    if kind not in kinds and not os.path.isdir(kind):
        raise UsageError(
            f"No segmentation is {kind!r}: expected {', '.join(kinds)}, or the folder of a "
            "segmenter."
        )


def check_segmentation(kind: str) -> None:
    """Whether a segmentation can be had.

    Raises:
        UsageError: an unknown kind, or no network where one is asked for.
        DataError: a network of other structures, or whose description is damaged.
        MissingExtraError: what it needs is not installed.
    """
    check_kind(kind)
    if kind == "network" or kind not in KINDS:
        network_of(kind)
        return
    if KINDS[kind]:
        require("evaluate", "Measuring volumes", *KINDS[kind])
