"""The whole line, from a few numbers about a person to a head that nobody owns.

conditions -> context -> seeded latent noise -> denoise -> decode -> volume in MNI space

The model is that of Pinaya et al. 2022 (arXiv 2209.07162). Shapes are (B, C, X, Y, Z); those at the
margin are the published model's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from brainldm.checkpoint import save_model
from brainldm.conditions import ConditionRanges
from brainldm.dataset.sidecar import reconstruction_sidecar
from brainldm.errors import ModelError, UsageError
from brainldm.image.fit import fit_to_grid
from brainldm.image.grid import Grid
from brainldm.image.volume import Volume
from brainldm.models.device import pick_device, pick_dtype
from brainldm.models.unet import DiffusionUNet
from brainldm.pipeline.batches import Watch, batches
from brainldm.pipeline.choice import Model, Sampling
from brainldm.pipeline.display import as_html, as_text, bars, facts
from brainldm.pipeline.editing import Editing
from brainldm.pipeline.loading import Networks
from brainldm.pipeline.request import Person, Request, match_requests, one_way
from brainldm.pipeline.sample import Sample
from brainldm.sampling.guidance import denoiser
from brainldm.sampling.loop import sample
from brainldm.sampling.schedules import Schedule
from brainldm.sampling.solvers import Solver
from brainldm.workers import Progress


class BrainLDM(Editing):
    """A latent diffusion model of T1-weighted heads; `from_pretrained` loads one.

    Args:
        networks: its two networks, on a device.
    """

    def __init__(self, networks: Networks) -> None:
        self.networks, self.autoencoder = networks, networks.autoencoder
        self.hash, self.device, self.dtype = networks.hash, networks.device, networks.dtype
        self.config = config = networks.config
        self.ranges = ConditionRanges(config.conditions)
        self.grid = Grid.of(config.shape, config.affine)
        self.schedule = Schedule.of(config.schedule)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path = "demo",
        device: str = "auto",
        dtype: str = "auto",
        memory: str = "auto",
        compile: bool = False,
    ) -> Self:
        """Load a model: `load` for the `Model` of these arguments."""
        return cls.load(
            Model(source=source, device=device, dtype=dtype, memory=memory, compile=compile)
        )

    @classmethod
    def load(cls, choice: Model) -> Self:
        """Load a model.

        Raises:
            BrainLDMError: no such model, weights that do not fit or are damaged, a device that is
                not there, or an unknown dtype or memory.

        Warns:
            UserWarning: the memory will probably not suffice to generate.
        """
        return cls(Networks.read(choice))

    @property
    def affine(self) -> NDArray[np.float64]:
        """From a voxel of the model's own grid to mm of MNI152 space, (4, 4)."""
        return self.grid.matrix

    @property
    def unet(self) -> DiffusionUNet:
        """The diffusion network, read again if it was let go."""
        return self.networks.unet

    def to(self, device: str | torch.device) -> Self:
        """Move the model to a device, in the precision that it has, and give it back.

        Args:
            device: as in `Model`.

        Raises:
            UsageError: there is no such device, or it cannot compute in this precision: load the
                model anew, with another `dtype`.
        """
        place = pick_device(str(device))
        pick_dtype(str(self.dtype).removeprefix("torch."), place)
        self.networks.to(place)
        self.device = place
        return self

    def __repr__(self) -> str:
        return as_text(facts(self.config, self.device, self.dtype))

    def _repr_html_(self) -> str:
        return as_html(facts(self.config, self.device, self.dtype))

    def save_pretrained(self, directory: str | Path) -> None:
        """Write `autoencoder.safetensors`, `unet.safetensors` and `config.json`.

        What was rounded to bfloat16 or float16 as it was loaded is written as it was before.

        Raises:
            ModelError: it was rounded and is another by now, or is gone from where it was read.
            BrainLDMError: the directory cannot be written.
        """
        unet = self.networks.unrounded()
        if unet is None:
            raise ModelError(
                f"Expected a model in float32 to save, this one was rounded to {self.dtype} when "
                "it was loaded, and was changed since, or where it was read from holds another: "
                'load it with dtype="float32".'
            )
        save_model(directory, self.config, self.autoencoder.state_dict(), unet)

    def generate(
        self,
        conditions: Person | Sequence[Person] | None = None,
        seeds: Sequence[int] | None = None,
        *,
        seed: int | None = None,
        steps: int | None = None,
        sampler: str | Solver | None = None,
        guidance: float = 1.0,
        noise: Tensor | None = None,
        clip: bool = True,
        extrapolate: bool = False,
        progress: Progress | bool | None = None,
        **person: str | float | None,
    ) -> list[Volume]:
        """Generate a volume for each seed, as in `model.generate(sex="F", age=60, seed=7)`.

        A seed gives the same volume (to rounding) alone as among others.

        Args:
            conditions: one for all samples, or one for each: a `Conditions`, or a dictionary by
                the names of the conditions. What is left out is drawn with the seed, and `metadata`
                says so.
            seeds: one for each sample, from 0 to 2**63 - 1; random ones if None.
            seed: of a single sample, in place of `seeds`.
            steps: as in `Sampling`, and so are `sampler`, `guidance` and `extrapolate`.
            sampler: "unipc", "dpm++2m", "dpm++2m-sde", "ddim", "ddpm", or a solver; the model's
                own if None.
            guidance: how far the conditions are followed, 1 as trained.
            noise: (B, C, X, Y, Z), replaces the seeds, and its shape sets the size; the field of
                view keeps its centre. Only for samplers that draw no more noise on the way.
            clip: bring intensities outside the model's scale, [0, 1], to its ends; `metadata` says
                how many there were.
            extrapolate: accept conditions outside the model's ranges.
            progress: called as progress(done, total, phase), counting samples times steps in the
                phase "denoise" and samples in the phase "decode"; True for bars, False for none. If
                None, there are bars in a terminal or a notebook.
            person: conditions by their names, in place of `conditions`.

        Returns:
            A volume for each sample, with conditions, seed and provenance in `metadata`.

        Raises:
            BrainLDMError: conditions, seeds, steps, sampler, guidance or noise that this model
                cannot take; values that are not finite, with the step; or a GPU has too little
                memory.

        Warns:
            UserWarning: a GPU had too little memory: one by one and in low-memory mode from now on.
        """
        sampling = Sampling(
            sampler=sampler, steps=steps, guidance=guidance, extrapolate=extrapolate
        )
        people = one_way(conditions, person)
        if seed is not None:
            if seeds is not None:
                raise UsageError("seed and seeds were both given: expected one of them.")
            seeds = [seed]
        requests = match_requests(self.config, people, seeds, noise, sampling=sampling)
        with bars(progress) as shown:
            return list(self.stream(requests, sampling, clip=clip, progress=shown))

    def stream(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        *,
        clip: bool = True,
        progress: Progress | None = None,
        watch: Watch | None = None,
    ) -> Iterator[Volume]:
        """The volumes of `match_requests`, each as soon as it is made; otherwise as `generate`."""
        for done, latent in enumerate(self.sample(requests, sampling, progress, watch), 1):
            yield latent.develop(clip)  # z_0 -> (160, 224, 160)
            if progress:
                progress(done, len(requests), "decode")

    def sample(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        progress: Progress | None = None,
        watch: Watch | None = None,
    ) -> Iterator[Sample]:
        """The first half of `stream`: latents, to develop at any time."""
        latents = self._denoise(requests, sampling, progress, watch)
        return self.networks.in_turn(latents)

    @torch.inference_mode()
    def _denoise(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        progress: Progress | None,
        watch: Watch | None,
    ) -> Iterator[Sample]:
        walk = partial(
            sample,
            schedule=self.schedule,
            solver=sampling.solver(self.config),
            steps=sampling.number_of_steps(self.config),
            prediction=self.config.schedule.prediction,
        )
        guided = partial(denoiser, guidance=sampling.guidance, null=self.config.null_context or 0.0)
        for batch in batches(requests, self.networks.batch, progress, watch):
            context = batch.context.to(self.device)  # (B, 4), years, mL -> [0, 1]
            z, noise = batch.noise(self.config.latent.shape)  # (B, 3, 20, 28, 20)
            denoise = guided(self.networks.predict, context)
            z = walk(denoise, z.to(self.device), noise=noise, on_step=batch.on_step)  # z_T -> z_0
            for latent, request in zip(z, batch.requests, strict=True):
                yield Sample(latent, request, sampling, self.networks)

    def prepare(self, volume: Volume) -> Volume:
        """Bring a real scan to what the autoencoder was trained on, as `fit_to_grid` does."""
        return fit_to_grid(volume, self.grid)

    @torch.inference_mode()
    def encode(self, volume: Volume) -> Float[Tensor, "1 c x y z"]:
        """The latent of a volume: the posterior's mean, at the diffusion's scale.

        Raises:
            DataError: as `prepare`, which the volume goes through.
        """
        x = torch.from_numpy(self.prepare(volume).array)
        return self.networks.encode(x[None, None])  # (1, 1, 160, 224, 160) -> (1, 3, 20, 28, 20)

    @torch.inference_mode()
    def decode(self, latent: Float[Tensor, "b c i j k"]) -> Float[Tensor, "b 1 x y z"]:
        """Images, float32 and not clipped, of latents at the diffusion's scale.

        Raises:
            NotFiniteError: an image has values that are NaN or infinite.
            ModelError: a GPU has too little memory.

        Warns:
            UserWarning: a GPU had too little memory, and the low-memory mode holds from now on.
        """
        return self.networks.decode(latent)

    def reconstruct(self, volume: Volume) -> Volume:
        """A volume after the autoencoder, encoded and decoded; intensities clipped to [0, 1].

        Raises:
            BrainLDMError: as `prepare`, which the volume goes through.
        """
        prepared = self.prepare(volume)
        array = self.decode(self.encode(prepared))[0, 0].clamp(0, 1).cpu().numpy()
        metadata = reconstruction_sidecar(self.config, self.hash, dict(prepared.metadata or {}))
        return Volume(array, self.affine, metadata, scaled=True)
