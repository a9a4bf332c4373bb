"""A person's thick scans to one sharp T1-weighted head, where UniRes is asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

from brainldm.dataset.sidecar import Source
from brainldm.errors import UsageError
from brainldm.image.grid import Grid
from brainldm.image.reading import files_of, image_sha256, image_stem
from brainldm.image.volume import Volume
from brainldm.unires.align import align
from brainldm.unires.memory import check_memory, estimate_bytes
from brainldm.unires.reading import contrast_of, read_scans
from brainldm.unires.solve import solve

CONTRASTS = ("T1w", "T2w", "FLAIR", "PDw")
"""Suffixes of BIDS that images of the same head's tissue have."""


def companions(scan: Path) -> tuple[Path, ...]:
    """The other scans of a person and a visit, which lie beside a T1-weighted one.

    They are called as it is, sub-LABEL or sub-LABEL_ses-LABEL, and end in one of `CONTRASTS`.
    """
    person = re.match(r"sub-[^\W_]+(_ses-[^\W_]+)?", scan.name)
    if person is None:
        return ()
    beside = sorted(scan.parent.glob(f"{person[0]}_*.nii*"))
    return tuple(
        each for each in beside if each != scan and image_stem(each).rpartition("_")[2] in CONTRASTS
    )


def sources(scan: Path) -> tuple[Source, ...]:
    """What `companions` are, for a record.

    Raises:
        StorageError: one cannot be read.
    """
    return tuple(Source(name=each.name, sha256=image_sha256(each)) for each in companions(scan))


def sharpen(scan: Path, motion: Float[Array, "4 4"], grid: Grid) -> Volume:
    """The T1-weighted head of all scans of a person, on a grid.

    Args:
        scan: the T1-weighted one.
        motion: from its world to the grid's in mm, (4, 4).
        grid: of the head.

    Raises:
        UsageError: it is in an archive, or there is not memory enough.
        DataError: as `read_scans`, `align` and `solve`.
    """
    if scan.suffix == ".zip":
        raise UsageError(
            f"{scan} is an archive, and UniRes takes images that lie beside each other: unpack it, "
            "or leave out --unires."
        )
    files: Sequence[Path] = [files_of(scan)[0], *companions(scan)]
    contrasts = ["T1w", *map(contrast_of, files[1:])]
    aligned, _ = align(read_scans(files, contrasts))
    placed = [replace(each, motion=motion @ np.asarray(each.motion)) for each in aligned]
    check_memory(estimate_bytes(placed, grid))
    return solve(placed, grid).volumes["T1w"]
