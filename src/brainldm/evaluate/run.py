"""`brainldm evaluate`: measure the sets, then make the figures of what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from brainldm.errors import UsageError
from brainldm.evaluate import (
    anatomy,
    conditioning,
    copies,
    diversity,
    realism,
    reconstruction,
    samples,
)
from brainldm.evaluate.extractors import Extractor
from brainldm.evaluate.measures import Measuring
from brainldm.evaluate.pairs import compare_pairs, draw_pairs
from brainldm.evaluate.result import Result, Section
from brainldm.evaluate.scans import (
    Array,
    Scans,
    leaks,
    measure_scans,
    unmeasured,
    volumes_of,
)
from brainldm.evaluate.sets import common_grid, find_heads
from brainldm.files import make_folder
from brainldm.pipeline.choice import Model
from brainldm.segment.segmenter import segmenter
from brainldm.workers import Progress


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What is compared with what, and how.

    Args:
        generated: folder of generated heads.
        real: folder of real scans that the model was not trained on.
        training: folder of its training scans, to look for copies; or None.
        model: whose autoencoder reconstructs real scans; or None.
        extractor: of features.
        shrinkage: of covariances, for FID of fewer scans than features.
        segmentation: how volumes are measured, as `segmenter` takes it.
        volumes: tables of volumes that another program measured, instead of a segmentation.
        pairs: of scans, drawn at random from each set.
        most: scans of each set, evenly spread; None takes all.
        resample: bring scans on other grids to the first real one's.
        scaled: take intensities as they are, in [0, 1]; those of brainldm's images are anyway.
        seed: for the pairs and the samples shown.
        cache: folder of what was measured before; an evaluation that was interrupted resumes there.
        jobs: processes, one scan or pair each at a time.
        device: where pairs are compared, such as cpu or cuda.

    Raises:
        UsageError: numbers that cannot be.
    """

    generated: Path
    real: Path
    cache: Path
    training: Path | None = None
    model: Model | None = None
    extractor: Extractor = field(default_factory=Extractor)
    shrinkage: float = 0.0
    segmentation: str = "network"
    volumes: tuple[Path, ...] = ()
    pairs: int = 1000
    most: int | None = None
    resample: bool = False
    scaled: bool = False
    seed: int = 0
    jobs: int = 1
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.pairs < 1 or not 0 <= self.shrinkage < 1:
            raise UsageError(
                f"Expected at least one pair and a shrinkage from 0 to below 1, got {self.pairs} "
                f"and {self.shrinkage:g}."
            )

    def run(self, progress: Progress = lambda done, total, name: None) -> Result:
        """Evaluate the generated set.

        Args:
            progress: called with what is done, of how much, and the name of the phase.

        Raises:
            UsageError: no such segmentation.
            StorageError: a scan, a table or the cache cannot be read or written.
            DataError: scans that cannot be compared or measured.
            ModelError: no such extractor, or no such model.
        """
        sets, measuring = self._measure(progress)
        protocol = {
            "extractor": self.extractor.identity,
            "shrinkage": self.shrinkage,
            "volumes": "tables" if self.volumes else measuring.segmentation,
            "pairs": self.pairs,
            "most_scans_a_set": self.most,
            "grid": str(measuring.grid),
            "resampled": self.resample,
            "scaled": self.scaled,
            "seed": self.seed,
            "real_sha256": sets["real"].sha256,
            **({"model": str(self.model.source)} if self.model else {}),
        }
        return Result.of(
            protocol,
            {what: {"scans": len(of.heads), "sha256": of.sha256} for what, of in sets.items()},
            [*leaks(list(sets.values())), *unmeasured(list(sets.values()))],
            list(self._sections(sets, measuring, progress)),
            measuring.grid,
        )

    def _measure(self, progress: Progress) -> tuple[dict[str, Scans], Measuring]:
        """The sets, and how they were measured."""
        heads = {
            "generated": find_heads(self.generated, "generated", self.most, self.scaled),
            "real": find_heads(self.real, "real", self.most, self.scaled),
        }
        if self.training:
            heads["training"] = find_heads(self.training, "training", scaled=self.scaled)
        grid = common_grid(heads, self.resample)
        volumes = {
            name: volumes_of(name, heads[name], self.volumes) for name in ("generated", "real")
        }
        make_folder(self.cache)
        measures_volumes = segmenter("none" if self.volumes else self.segmentation)
        how = Measuring(grid, self.extractor, self.cache, measures_volumes, self.device)
        sets = {
            name: measure_scans(
                name,
                scans,
                how,
                volumes.get(name, {}),
                self.jobs,
                _named(progress, len(scans), f"{name} scans"),
            )
            for name, scans in heads.items()
        }
        return sets, how

    def _sections(
        self, sets: Mapping[str, Scans], how: Measuring, progress: Progress
    ) -> Iterator[Section]:
        """The parts of the report, in order."""
        generated, real = sets["generated"], sets["real"]
        known = sets["training"].features if "training" in sets else None
        realistic = realism.figures(generated.features, real.features, self.shrinkage, known)
        yield Section(tuple(realistic))
        similar = [self._similar(each, how, progress) for each in (generated, real)]
        yield Section(
            (
                *diversity.similarity(*similar),
                *diversity.covered(generated.features, real.features),
            ),
            sheets=samples.sheets(generated, real, self.seed),
        )
        if self.model:
            yield Section(tuple(reconstruction.figures(self.model, real.heads, how, progress)))
        yield conditioning.section(generated, real)
        if "training" in sets:
            yield copies.section(generated, real, sets["training"])
        if generated.volumes and real.volumes:
            yield Section(
                tuple(anatomy.figures(generated, real)),
                volumes={of.name: _known(of.volumes) for of in (generated, real)},
            )

    def _similar(self, scans: Scans, how: Measuring, progress: Progress) -> Array:
        """`PAIR_FIGURES` of a set's pairs."""
        pairs = draw_pairs(scans.heads, self.pairs, self.seed)
        tell = _named(progress, len(pairs), f"{scans.name} pairs")
        return compare_pairs(pairs, how, self.jobs, tell)


def _named(progress: Progress, total: int, name: str) -> Callable[[int], None]:
    return lambda done: progress(done, total, name)


def _known(volumes: Mapping[str, Array]) -> dict[str, list[float]]:
    return {name: values[np.isfinite(values)].tolist() for name, values in volumes.items()}
