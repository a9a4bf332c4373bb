"""Heads of some anatomies, made one by one where no data set is wanted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from brainldm.checkpoint.fetch import cache_dir
from brainldm.image.grid import Grid
from brainldm.simulate.head import SimulatedHead, simulate
from brainldm.simulate.priors import Priors, read_priors
from brainldm.simulate.sources import find_sources, load_anatomy, prepare_sources


@dataclass(frozen=True)
class Heads:
    """Where heads come from.

    Args:
        anatomies: the name and the file of each.
        priors: of their intensities; None takes those of the template's tissues.
    """

    anatomies: tuple[tuple[str, Path], ...]
    priors: Priors | None

    @classmethod
    def of(cls, label_maps: Path | None, only: tuple[str, ...] = (), jobs: int = 1) -> Self:
        """Heads of label maps, or of the template; anatomies are made once, and kept in the cache.

        Args:
            label_maps: a folder; None takes the template.
            only: names of anatomies to take; all if empty.
            jobs: processes, about 2 GB each.

        Raises:
            BrainLDMError: as `find_sources` and `prepare_sources`.
        """
        sources = find_sources(label_maps, only)
        files = prepare_sources(sources, cache_dir() / "anatomies", jobs, lambda done, total: None)
        anatomies = tuple((each.name, files[each.name]) for each in sources)
        return cls(anatomies, read_priors(label_maps) if label_maps else None)

    def head(self, seed: int, grid: Grid) -> SimulatedHead:
        """The T1-weighted head of a seed; seeds take the anatomies in turn."""
        name, file = self.anatomies[seed % len(self.anatomies)]
        return simulate(load_anatomy(file, name), seed, grid, priors=self.priors)
