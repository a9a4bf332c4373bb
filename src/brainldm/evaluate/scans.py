"""The sets of scans, measured: what the figures are made of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainldm.dataset.scans import names_of
from brainldm.errors import DataError
from brainldm.evaluate.measures import Measured, Measuring, measure
from brainldm.evaluate.sets import Head
from brainldm.segment.measures import VOLUMES
from brainldm.segment.tables import read_volumes
from brainldm.simulate.subject import TEMPLATE_INTRACRANIAL_ML
from brainldm.workers import spread

Array = NDArray[np.float64]
CODES = {"F": 0.0, "M": 1.0}


@dataclass(frozen=True)
class Scans:
    """A set, and what was measured on each of its scans.

    Args:
        name: generated, real or training.
        heads: where they are, and what is known of each.
        measured: on each.
        volumes: name to mL of each, (N,), NaN where that is not known; empty where none were
            measured.
        errors: of what measured them, mL, where it is known.
    """

    name: str
    heads: Sequence[Head]
    measured: Sequence[Measured]
    volumes: Mapping[str, Array]
    errors: Mapping[str, float]

    @cached_property
    def features(self) -> Array:
        """(N, D)."""
        return np.array([head.features for head in self.measured], np.float64)

    @property
    def sha256(self) -> str:
        """Of the set, in whatever order."""
        files = "".join(sorted(head.sha256 for head in self.measured))
        return hashlib.sha256(files.encode()).hexdigest()

    def column(self, name: str) -> Array:
        """A covariate as numbers, (N,): F is 0, M is 1, other words and what is unknown NaN."""
        cells = (head.known.get(name, np.nan) for head in self.heads)
        return np.array([CODES.get(x, np.nan) if isinstance(x, str) else x for x in cells])


def measure_scans(
    name: str,
    heads: Sequence[Head],
    measuring: Measuring,
    volumes: Mapping[str, Array],
    jobs: int,
    tell: Callable[[int], None],
) -> Scans:
    """Measure a set, in processes.

    Args:
        name: of the set.
        heads: its scans.
        measuring: how.
        volumes: from `volumes_of`, if another program measured them.
        jobs: processes.
        tell: called with the number of scans that are measured.

    Raises:
        DataError: a scan cannot be measured, or is there twice under whatever name and
            compression.
    """
    measured = spread(measure, [(head, measuring) for head in heads], jobs, tell)
    seen: dict[bytes, Head] = {}
    for head, of_head in zip(heads, measured, strict=True):
        twin = seen.setdefault(of_head.voxels, head)
        if twin is not head:
            raise DataError(
                f"The {name} set has the same image twice: {twin.path} and {head.path}. Every "
                "figure would count it double; take one out."
            )
    if measuring.segmenter:
        found = np.array([head.volumes for head in measured])
        volumes = dict(zip(VOLUMES, found.T, strict=True))
    errors = measuring.segmenter.errors if measuring.segmenter else {}
    return Scans(name, heads, measured, volumes, errors)


def volumes_of(name: str, heads: Sequence[Head], files: Sequence[Path]) -> dict[str, Array]:
    """Volumes of each scan, in mL, from tables.

    Raises:
        StorageError: there is no such table.
        DataError: it is damaged, or a scan is in none.
    """
    if not files:
        return {}
    tables = [read_volumes(file, TEMPLATE_INTRACRANIAL_ML) for file in files]
    people = [
        next(filter(None, (table.find(names_of(head.path)) for table in tables)), None)
        for head in heads
    ]
    missing = [head.path.name for head, row in zip(heads, people, strict=True) if not row]
    if missing:
        raise DataError(
            f"The tables of volumes have no row for {len(missing)} {name} scans, such as "
            f"{missing[0]}: expected its name, or its sub-LABEL, in the first column."
        )
    return {each: np.array([float(row.known[each]) for row in people if row]) for each in VOLUMES}


def unmeasured(sets: Sequence[Scans]) -> list[str]:
    """Warnings of scans whose volumes are not known."""
    warnings = []
    for scans in sets:
        unknown = np.any([np.isnan(values) for values in scans.volumes.values()], axis=0)
        if np.any(unknown):
            first = scans.heads[int(np.argmax(unknown))].path.name
            warnings.append(
                f"Not measured: the volumes of {unknown.sum()} of {len(scans.heads)} {scans.name} "
                f"scans, such as {first}, where the segmenter does not trust itself. They are left "
                "out of the figures of volumes; look at them in a viewer."
            )
    return warnings


def leaks(sets: Sequence[Scans]) -> list[str]:
    """Warnings of images that are in two sets."""
    warnings = []
    for first, second in combinations(sets, 2):
        known = {head.voxels for head in first.measured}
        pairs = zip(second.heads, second.measured, strict=True)
        same = [head.path.name for head, of_head in pairs if of_head.voxels in known]
        if same:
            warnings.append(
                f"Leakage: {len(same)} images are both in the {first.name} and in the "
                f"{second.name} set, such as {same[0]}. The figures flatter; take them out of one."
            )
    return warnings
