"""What a job does with the model: heads in the library."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from pydantic import TypeAdapter
from torch import Tensor

from brainldm.conditions import Conditions
from brainldm.config import ModelConfig
from brainldm.dataset.scans import Scan as Found
from brainldm.dataset.sidecar import Provenance
from brainldm.errors import MissingExtraError, UsageError, require
from brainldm.image.page import words
from brainldm.image.volume import Volume
from brainldm.metrics.similarity import psnr
from brainldm.pipeline.brain import BrainLDM
from brainldm.pipeline.choice import Model, Sampling
from brainldm.pipeline.request import Request, match_requests
from brainldm.prepare.reading import read_scan
from brainldm.prepare.whole import wholeness
from brainldm.register.images import moved
from brainldm.register.reference import Reference
from brainldm.register.rigid import check_place, register
from brainldm.serve.library import Library
from brainldm.serve.limits import Limits
from brainldm.serve.recipe import command, python
from brainldm.serve.schema import Asked, Head, Job, Scan, Stored, Sweep

Progress = Callable[[int, int, str], None]


def sampling_of(asked: Asked) -> Sampling:
    """How a request says that heads are sampled."""
    return Sampling(
        sampler=asked.sampler,
        steps=asked.steps,
        guidance=asked.guidance,
        eta=asked.eta,
        extrapolate=asked.extrapolate,
    )


def requests_of(asked: Asked, config: ModelConfig, limits: Limits, seed: int) -> list[Request]:
    """The samples that a request asks for; what the model cannot do is refused here.

    Raises:
        UsageError: as `match_requests`; or a sweep of too many heads, or of no number.
        ModelError: as `match_requests`.
    """
    given = {name: value for name, value in asked.conditions.items() if value is not None}
    people = [given]
    if isinstance(asked, Sweep):
        numbers = [v.name for v in config.conditions if not v.labels]
        if asked.condition not in numbers:
            raise UsageError(
                f"A sweep goes over {', '.join(numbers)}; got {asked.condition!r}: expected one of "
                "these."
            )
        if asked.count > limits.sweep:
            raise UsageError(
                f"A sweep of {asked.count} heads: expected {limits.sweep} at most. Ask for fewer, "
                "or plan a cohort (`brainldm cohort plan`)."
            )
        step = (asked.stop - asked.start) / (asked.count - 1)
        people = [{**given, asked.condition: asked.start + i * step} for i in range(asked.count)]
    conditions = [Conditions.of(each) for each in people]
    sampling = sampling_of(asked)
    return match_requests(config, conditions, [seed] * len(conditions), sampling=sampling)


class Work:
    """Does jobs.

    Args:
        model: that is loaded.
        choice: which it is.
        library: where heads go.
        limits: of what is done.
    """

    def __init__(self, model: BrainLDM, choice: Model, library: Library, limits: Limits) -> None:
        self.model, self.choice, self.library, self.limits = model, choice, library, limits

    def do(self, job: Job, progress: Progress, watch: Callable[[Tensor], None]) -> tuple[Head, ...]:
        """Make the heads of a job.

        Args:
            job: what is asked for.
            progress: called as progress(done, total, phase).
            watch: called with the latents after each denoising step, (B, C, X, Y, Z).

        Raises:
            BrainLDMError: what cannot be done as it was asked for.
        """
        asked: Stored = TypeAdapter(Stored).validate_python(job.request)
        if isinstance(asked, Scan):
            return self._scan(job, asked, progress)
        return self._heads(job, asked, progress, watch)

    def _heads(
        self, job: Job, asked: Asked, progress: Progress, watch: Callable[[Tensor], None]
    ) -> tuple[Head, ...]:
        sampling, seed = sampling_of(asked), int(asked.seed or 0)
        requests = requests_of(asked, self.model.config, self.limits, seed)
        heads = []
        volumes = self.model.stream(requests, sampling, progress=progress, watch=watch)
        for number, volume in enumerate(volumes):
            head = self._synthetic(job, number, volume, asked, sampling)
            self.library.write(head, volume)
            heads.append(head)
        return tuple(heads)

    def _synthetic(
        self, job: Job, number: int, volume: Volume, asked: Asked, sampling: Sampling
    ) -> Head:
        said = Provenance.of(volume.metadata)
        values, seed = said.values, int(said.seed or 0)
        name = asked.name or f"seed {seed}"
        if isinstance(asked, Sweep):
            changed = said.conditions[asked.condition]
            text = f"{words(asked.condition)} {changed.value:.4g} {changed.unit}"
            name = f"{name}, {text.rstrip()}"
        return Head(
            id=f"{job.id}-{number}",
            job=job.id,
            kind="synthetic",
            name=name[:80],
            created=time.time(),
            seed=seed,
            conditions={n: each.model_dump() for n, each in said.conditions.items()},
            drawn=list(said.drawn),
            file=f"brain_seed-{seed}_T1w.nii.gz",
            command=command(self.choice, values, seed, sampling),
            python=python(self.choice, values, seed, sampling),
        )

    def _scan(self, job: Job, asked: Scan, progress: Progress) -> tuple[Head, ...]:
        file = self.library.uploads / Path(asked.file).name
        progress(0, 3, "read")
        scan = read_scan(Found(asked.name or "scan", file, ()))
        progress(1, 3, "register")
        scan, notes = self._placed(scan)
        progress(2, 3, "reconstruct")
        prepared = self.model.prepare(scan)
        reconstruction = self.model.reconstruct(scan)
        decibels = psnr(reconstruction.array, prepared.array)
        first = Head(
            id=f"{job.id}-0",
            job=job.id,
            kind="scan",
            name=asked.name or "scan",
            created=time.time(),
            notes=notes,
            file="scan_T1w.nii.gz",
        )
        second = first.model_copy(
            update={
                "id": f"{job.id}-1",
                "kind": "reconstruction",
                "name": f"{first.name}, reconstructed"[:80],
                "file": "scan_reconstruction.nii.gz",
                "psnr": round(decibels, 2),
            }
        )
        heads = (first, second)
        for head, volume in zip(heads, (prepared, reconstruction), strict=True):
            self.library.write(head, volume)
        file.unlink(missing_ok=True)
        progress(3, 3, "reconstruct")
        return heads

    def _placed(self, scan: Volume) -> tuple[Volume, list[str]]:
        """A scan in MNI152 space, as `brainldm prepare` brings it there, and what it is like."""
        try:
            require("prepare", "Registering scans", "ants")
        except MissingExtraError as error:
            check_place(scan, self._reference)
            return scan, [f"{error} Until then a scan has to be registered already."]
        motion, alike = register(scan, self._reference)
        head = moved(scan, motion)
        remarks = wholeness(head, self._reference).remarks
        return head, [f"registered to MNI152, similarity {alike:.2f}", *remarks]

    @cached_property
    def _reference(self) -> Reference:
        require("prepare", "Looking at scans", "nilearn")
        place = self.library.folder / "template"
        Reference.write(place)
        return Reference.load(place)
