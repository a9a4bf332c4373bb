"""What a job does with the model: heads in the library."""

from __future__ import annotations

import time
from pathlib import Path

import torch
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
from brainldm.register.images import moved
from brainldm.register.place import Place
from brainldm.segment.network import Network
from brainldm.serve.editing import edited
from brainldm.serve.hand import Facts, Find, Show
from brainldm.serve.heads import Library
from brainldm.serve.limits import Limits
from brainldm.serve.preview import Preview
from brainldm.serve.recipe import command, python
from brainldm.serve.schema import Asked, Edit, Head, Job, Label, Scan, Stored, Sweep
from brainldm.workers import Progress

WARM_STEPS = 2


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


def _found(find: Find, id: str) -> Head:
    try:
        return find(id)
    except KeyError:
        raise UsageError(f"The head {id} was deleted before its turn.") from None


class Work:
    """Does jobs.

    Args:
        model: that is loaded.
        choice: which it is.
        library: where heads go.
        limits: of what is done.
        network: that labels heads.
    """

    def __init__(
        self,
        model: BrainLDM,
        choice: Model,
        library: Library,
        limits: Limits,
        network: Network,
    ) -> None:
        self.model, self.choice, self.shelf, self.limits = model, choice, library, limits
        self.network = network
        self._preview: Preview | None = None

    def facts(self) -> Facts:
        """Of the model."""
        dtype = str(self.model.dtype).removeprefix("torch.")
        return Facts(self.model.hash, str(self.model.device), dtype)

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Make a head that nobody sees: memory is taken, kernels chosen, previews fitted."""
        sampling = Sampling(steps=WARM_STEPS)
        requests = match_requests(self.model.config, {}, [0], sampling=sampling)
        [sample] = self.model.sample(requests, sampling)
        volume = sample.develop()
        image = torch.from_numpy(volume.array)
        self._preview = Preview(sample.latent.cpu(), image, volume.grid)

    def do(self, job: Job, find: Find, progress: Progress, show: Show) -> tuple[Head, ...]:
        """Do a job; see `Hand`."""
        asked: Stored = TypeAdapter(Stored).validate_python(job.request)
        if isinstance(asked, Scan):
            return self._scan(job, asked, progress)
        if isinstance(asked, Label):
            return self._label(asked, find, progress)
        if isinstance(asked, Edit):
            head = _found(find, asked.head)
            return (edited(job, asked, head, self.model, self.shelf, self.network, progress),)
        return self._heads(job, asked, progress, show)

    def _heads(self, job: Job, asked: Asked, progress: Progress, show: Show) -> tuple[Head, ...]:
        def watch(latents: Tensor) -> None:
            if self._preview:
                show(self._preview.draw(latents[0]))

        sampling, seed = sampling_of(asked), int(asked.seed or 0)
        requests = requests_of(asked, self.model.config, self.limits, seed)
        heads = []
        volumes = self.model.stream(requests, sampling, progress=progress, watch=watch)
        for number, volume in enumerate(volumes):
            head = self._synthetic(job, number, volume, asked, sampling)
            self.shelf.write(head, volume)
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

    def _label(self, asked: Label, find: Find, progress: Progress) -> tuple[Head, ...]:
        progress(0, 1, "label")
        head = _found(find, asked.head)
        labelled = self.shelf.label(head, self.network)
        progress(1, 1, "label")
        return (labelled,)

    def _scan(self, job: Job, asked: Scan, progress: Progress) -> tuple[Head, ...]:
        file = self.shelf.uploads / Path(asked.file).name
        total = 5  # with labels of both heads
        progress(0, total, "read")
        scan = read_scan(Found(asked.name or "scan", file, ()))
        progress(1, total, "register")
        scan, notes = self._placed(scan)
        progress(2, total, "reconstruct")
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
        heads = [first, second]
        for i, volume in enumerate((prepared, reconstruction)):
            self.shelf.write(heads[i], volume)
        for i, head in enumerate(heads):
            progress(3 + i, total, "label")
            heads[i] = self.shelf.label(head, self.network)
        file.unlink(missing_ok=True)
        progress(total, total, "label")
        return tuple(heads)

    def _placed(self, scan: Volume) -> tuple[Volume, list[str]]:
        """A scan in MNI152 space, as `brainldm prepare` brings it there, and what it is like."""
        try:
            require("prepare", "Registering scans", "ants")
        except MissingExtraError as error:
            remarks = Place.of(scan, registered=True).whole.remarks
            return scan, [f"{error} Until then a scan has to be registered already.", *remarks]
        place = Place.of(scan)
        said = f"registered to MNI152, similarity {place.similarity:.2f}"
        return moved(scan, place.motion), [said, *place.whole.remarks]
