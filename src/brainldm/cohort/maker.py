"""Making the volumes of a cohort: a model that stays loaded, batch after batch, and its writers.

Denoising goes on while volumes are written and, on a GPU, decoded. On the CPU decoding takes all
cores, as denoising does, and so comes between.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Self

import torch

from brainldm._version import __version__
from brainldm.cohort.folder import CohortFolder
from brainldm.cohort.gate import Gate
from brainldm.cohort.parts import Batch
from brainldm.cohort.records import Record
from brainldm.cohort.row import Row
from brainldm.cohort.sheet import tile
from brainldm.conditions import Conditions
from brainldm.dataset.sidecar import Checked, Provenance
from brainldm.errors import NotFiniteError
from brainldm.image.volume import Volume
from brainldm.pipeline.brain import BrainLDM
from brainldm.pipeline.choice import Sampling
from brainldm.pipeline.request import match_requests
from brainldm.pipeline.sample import Sample
from brainldm.sampling.noise import SEED_LIMIT
from brainldm.segment.network import Network

REDRAWS = 5
"""Seeds that are tried after the plan's own."""
WRITERS = 2
WAITING = 6
"""Volumes that may wait for a writer: memory is bounded, and a slow disk is waited for."""


@dataclass(frozen=True)
class Facts:
    """What a loaded model settles.

    Args:
        hash: of the weights.
        dtype: that it computes in.
        batch: rows that suit the device and its memory.
        version: of brainldm.
    """

    hash: str
    dtype: str
    batch: int
    version: str = __version__

    @classmethod
    def of(cls, pipeline: BrainLDM) -> Self:
        """Those of a model."""
        dtype = str(pipeline.dtype).removeprefix("torch.")
        return cls(pipeline.hash, dtype, pipeline.networks.batch)


@dataclass(frozen=True)
class Making:
    """How volumes of a cohort are made; travels between machines.

    Args:
        sampling: of their latents.
        gate: what is checked.
        folder: of the cohort, on a file system that every process sees.
        shown: rows whose pictures are wanted.
        network: labels the heads; None labels none.
    """

    sampling: Sampling
    gate: Gate
    folder: CohortFolder
    shown: frozenset[int]
    network: Network | None = None


@dataclass(frozen=True)
class Made:
    """A volume on the disk.

    Args:
        record: of it.
        tile: a picture (PNG), if one was wanted.
    """

    record: Record
    tile: bytes | None


Unwritten = tuple[Volume, Record]
"""A volume, and its record without the hashes of its files."""


class Maker:
    """Makes batches of volumes.

    Args:
        pipeline: that stays loaded.
        making: how, and where to.
    """

    def __init__(self, pipeline: BrainLDM, making: Making) -> None:
        self.pipeline, self.making = pipeline, making

    def make(self, batches: Iterable[Batch]) -> Iterator[Made]:
        """Make volumes; each comes out once it is whole on the disk, in the order of the rows.

        Raises:
            BrainLDMError: a row that the model cannot make, or a disk that cannot be written.
        """
        waiting: deque[Future[Made]] = deque()
        with ThreadPoolExecutor(WRITERS) as writers:
            for batch in batches:
                for row, sample in zip(batch.rows, self._sample(batch.rows), strict=True):
                    if row.index in batch.wanted:
                        waiting.append(self._submit(writers, row, sample))
                    while waiting and (waiting[0].done() or len(waiting) > WAITING):
                        yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _sample(self, rows: Collection[Row]) -> list[Sample | None]:
        """Latents; with redraws, None for one that is not finite."""
        try:
            samples = self._denoise([row.conditions for row in rows], [row.seed for row in rows])
        except NotFiniteError:
            if not self._redraws:
                raise
            return [self._sample_one(row.conditions, row.seed) for row in rows]
        return list(samples)

    def _sample_one(self, conditions: Conditions, seed: int) -> Sample | None:
        try:
            return self._denoise([conditions], [seed])[0]
        except NotFiniteError:
            return None

    def _denoise(self, conditions: list[Conditions], seeds: list[int]) -> list[Sample]:
        config, sampling = self.pipeline.config, self.making.sampling
        requests = match_requests(config, conditions, seeds, sampling=sampling)
        samples = list(self.pipeline.sample(requests, sampling))
        if self.pipeline.device.type == "cuda":
            torch.cuda.current_stream(self.pipeline.device).synchronize()
        return samples

    def _submit(self, writers: ThreadPoolExecutor, row: Row, sample: Sample | None) -> Future[Made]:
        if self.pipeline.device.type == "cuda":
            return writers.submit(lambda: self._write(self._finish_beside(row, sample)))
        return writers.submit(self._write, self._finish(row, sample))

    def _finish_beside(self, row: Row, sample: Sample | None) -> Unwritten:
        """`_finish` while the GPU denoises."""
        stream = torch.cuda.Stream(self.pipeline.device)  # type: ignore[no-untyped-call]
        with torch.cuda.stream(stream):
            return self._finish(row, sample)

    def _finish(self, row: Row, sample: Sample | None) -> Unwritten:
        """Decode and check; with redraws, until a volume passes or seeds run out."""
        complete, drawn = self.pipeline.ranges.complete(row.conditions, row.seed)
        kept: Unwritten | None = None
        for redraws in range(REDRAWS + 1 if self._redraws else 1):
            if redraws:
                sample = self._sample_one(complete, redrawn(row.seed, redraws))
            made = self._look(row, sample, drawn, redraws)
            kept = made or kept
            if made and not made[1].flags:
                break
        if kept is None:
            raise NotFiniteError(
                f"sub-{row.label}: {REDRAWS + 1} seeds gave values that are NaN or infinite. Try "
                "--dtype float32, or look at where the weights are from."
            )
        return kept

    def _look(
        self, row: Row, sample: Sample | None, drawn: tuple[str, ...], redraws: int
    ) -> Unwritten | None:
        """Decode, measure and check one; None if it is not finite."""
        if sample is None:
            return None
        request = replace(sample.request, drawn=drawn)
        try:
            volume = replace(sample, request=request).develop()
        except NotFiniteError:
            if not self._redraws:
                raise
            return None
        gate = self.making.gate
        said = volume.metadata or {}
        provenance = Provenance.of(said)
        values = provenance.values
        measured = gate.measure(volume)
        faults = gate.faults(volume, values, measured)
        if gate.segmenter or gate.on_failure != "off":
            found = Checked(redraws=redraws, faults=faults, measured=measured)
            said = provenance.model_copy(update={"gate": found}).within(said)
        seed = redrawn(row.seed, redraws)
        record = Record(row.index, row.label, seed, redraws, faults, values, drawn, measured)
        return replace(volume, metadata=said), record

    @property
    def _redraws(self) -> bool:
        return self.making.gate.on_failure == "redraw"

    def _write(self, made: Unwritten) -> Made:
        volume, record = made
        network = self.making.network
        labels = network.label(volume).image if network else None
        record = self.making.folder.write(volume, record, labels)
        return Made(record, tile(volume) if record.row in self.making.shown else None)


def redrawn(seed: int, attempt: int) -> int:
    """The seed to try in place of a row's own: the same one whenever that is asked."""
    if attempt == 0:
        return seed
    digest = hashlib.blake2b(f"{seed} {attempt}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) % SEED_LIMIT
