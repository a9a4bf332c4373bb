"""Scans of a person brought to MNI152 space together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from brainldm.errors import DataError
from brainldm.image.volume import Volume
from brainldm.register.kept import load_reference
from brainldm.register.rigid import register
from brainldm.unires.scan import Scan

T1_WEIGHTED = ("t1w", "t1", "mprage", "t1wgd")
"""Contrasts that resemble the template."""


def t1_weighted(scans: Sequence[Scan]) -> Scan:
    """The first T1-weighted scan, by its contrast's name.

    Raises:
        DataError: there is none.
    """
    found = next((scan for scan in scans if scan.contrast.lower() in T1_WEIGHTED), None)
    if found is None:
        names = ", ".join(scan.contrast for scan in scans)
        raise DataError(
            f"None of the contrasts {names} is called T1w: expected a T1-weighted scan to bring to "
            "MNI152 space. Name them (--contrasts T1w,T2w), or leave out --model."
        )
    return found


def to_atlas(scans: Sequence[Scan]) -> tuple[list[Scan], float]:
    """Scans whose shared world is MNI152's, by a rigid motion: the head keeps its size.

    Args:
        scans: registered to each other; the first T1-weighted one is brought to the template.

    Returns:
        The scans, and how like the template the one is then (`register`).

    Raises:
        MissingExtraError: what registration needs is not installed.
        DataError: no scan is T1-weighted, or it cannot be registered.
    """
    scan = t1_weighted(scans)
    reference = load_reference()
    try:
        motion, alike = register(Volume(scan.filled, scan.placed.matrix), reference)
    except DataError as error:
        raise DataError(f"{scan.name}: {error}") from None
    return [replace(each, motion=motion @ np.asarray(each.motion)) for each in scans], alike
