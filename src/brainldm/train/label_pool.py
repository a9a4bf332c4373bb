"""Label maps to learn segmentation from: subjects deformed from anatomies, kept in a folder."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from brainldm.errors import DataError
from brainldm.files import remove_partial, write_together
from brainldm.simulate.anatomy import box_grid
from brainldm.simulate.render import render_labels
from brainldm.simulate.sources import Source, load_anatomy, prepare_sources
from brainldm.simulate.subject import Ranges, draw_subject
from brainldm.simulate.tissues import TISSUES, of_kind
from brainldm.workers import as_finished

SPACING_MM = 1.0
RANGES = Ranges(ventricular_ml=(6.0, 110.0), brain_ml=(1150.0, 1750.0))
"""Of the subjects, in mL: wider than of those that are simulated, so that a network that measures
has not learned where they end.
"""


@dataclass(frozen=True)
class Head:
    """A head's tissues.

    Args:
        tissues: places in `TISSUES`, uint8, (X, Y, Z), axes to the right, front and top, 1 mm.
        low: where the inside of the skull begins along each axis, in voxels.
        high: where it ends.
    """

    tissues: NDArray[np.uint8]
    low: tuple[int, int, int]
    high: tuple[int, int, int]

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """How often each of `TISSUES` is in every eighth voxel, (len(TISSUES),)."""
        return np.bincount(self.tissues[::2, ::2, ::2].ravel(), minlength=len(TISSUES))

    @classmethod
    def of(cls, tissues: NDArray[np.uint8]) -> Self:
        """Find the inside of the skull."""
        within = of_kind("brain", "ventricle", "fluid")[tissues]
        sides = [np.flatnonzero(within.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
        (a, b, c), (d, e, f) = ([int(side[i]) for side in sides] for i in (0, -1))
        return cls(tissues, (a, b, c), (d + 1, e + 1, f + 1))


@dataclass(frozen=True)
class Subject:
    """A head of the pool, by the seed it follows from."""

    seed: int
    anatomy: str
    file: Path

    def load(self) -> Head:
        """Read it.

        Raises:
            DataError: the file is damaged.
        """
        try:
            with self.file.open("rb") as file, np.load(file) as kept:
                low, high = kept["box"].tolist()
                return Head(kept["tissues"], tuple(low), tuple(high))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(
                f"Cannot read {self.file}: {error}. It can be made again: delete it, and start the "
                "same command again."
            ) from error


def make_pool(
    folder: Path,
    sources: Sequence[Source],
    seeds: range,
    cache: Path,
    jobs: int,
    progress: Callable[[int, int], None],
) -> list[Subject]:
    """Make the subjects that a folder does not have yet, two seconds each.

    Args:
        folder: of the pool.
        sources: of their anatomies, which take turns.
        seeds: of the subjects.
        cache: where anatomies are kept.
        jobs: processes, about 1.5 GB each.
        progress: called with the number of subjects that are there, and of all.

    Raises:
        StorageError: a file cannot be read or written.
        DataError: a label map that no head can be made of.
    """
    anatomies = prepare_sources(sources, cache, jobs, lambda done, total: None)
    pool = []
    for seed in seeds:
        name = sources[seed % len(sources)].name
        pool.append(Subject(seed, name, folder / f"{name}-{seed:06d}.npz"))
    if folder.is_dir():
        remove_partial(folder)
    # Subjects of one anatomy follow each other, so that it is seldom read.
    missing = sorted((each for each in pool if not each.file.is_file()), key=lambda s: s.anatomy)
    there = len(pool) - len(missing)
    progress(there, len(pool))
    tasks = [(each, anatomies[each.anatomy]) for each in missing]
    for done, _ in enumerate(as_finished(_make, tasks, jobs), there + 1):
        progress(done, len(pool))
    return pool


def _make(subject: Subject, anatomy: Path) -> None:
    drawn = draw_subject(load_anatomy(anatomy, subject.anatomy), subject.seed, RANGES)
    head = Head.of(render_labels(drawn, box_grid(SPACING_MM)))
    content = io.BytesIO()
    np.savez_compressed(content, tissues=head.tissues, box=np.array([head.low, head.high]))
    write_together({subject.file: content.getvalue()})
