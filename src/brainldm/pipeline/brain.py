"""The whole line, from a few numbers about a person to a head that nobody owns.

conditions -> context -> seeded latent noise -> denoise -> decode -> volume in MNI space

The model is that of Pinaya et al. 2022 (arXiv 2209.07162). Shapes are (B, C, X, Y, Z); those at the
margin are the published model's.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainldm.checkpoint import LoadedModel, load_config, load_into, load_model, save_model
from brainldm.conditions import ConditionRanges, Conditions
from brainldm.config import ModelConfig
from brainldm.dataset.sidecar import reconstruction_sidecar, synthetic_sidecar
from brainldm.errors import BrainLDMError, NotFiniteError
from brainldm.image.fit import fit_to_grid
from brainldm.image.grid import Grid
from brainldm.image.volume import Volume
from brainldm.models import slabs
from brainldm.models.autoencoder import AutoencoderKL
from brainldm.models.device import pick_device, pick_dtype
from brainldm.models.memory import batch_size, pick_memory, shortage
from brainldm.models.unet import DiffusionUNet, with_context
from brainldm.pipeline.request import (
    Sample,
    choose_sampling,
    initial_noise,
    match_requests,
    null_context,
)
from brainldm.sampling.schedules import Schedule
from brainldm.sampling.solvers import DEFAULT_SAMPLER, Solver, sample

Progress = Callable[[int, int, str], None]


class BrainLDM:
    """A latent diffusion model of T1-weighted heads.

    Args:
        config: what the model is.
        autoencoder: its weights loaded.
        unet: its weights loaded.
        hash: identifies the weights.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        dtype: "auto" (half precision where the processor has it, see `pick_dtype`), "float32",
            "bfloat16" or "float16". The U-Net's weights are cast to it.
        memory: "low" decodes in less memory and lets the U-Net go before, if `read_unet` is given;
            "normal"; or "auto", which is normal where that fits.
        compile: compile the U-Net when it is first called, on a GPU into CUDA graphs.
        read_unet: reads the U-Net again.

    Raises:
        BrainLDMError: a device that is not there, or an unknown dtype or memory.
    """

    def __init__(
        self,
        config: ModelConfig,
        autoencoder: AutoencoderKL,
        unet: DiffusionUNet,
        *,
        hash: str,
        device: str = "auto",
        dtype: str = "auto",
        memory: str = "auto",
        compile: bool = False,
        read_unet: Callable[[], DiffusionUNet] | None = None,
    ) -> None:
        self.config = config
        self.hash = hash
        self.device = pick_device(device)
        self.dtype = pick_dtype(dtype, self.device)
        self.memory = pick_memory(memory, config, self.device, self.dtype)
        self.autoencoder = autoencoder.to(self.device).eval().requires_grad_(False)
        self.compile = compile
        self._unet: DiffusionUNet | None = self._ready(unet)
        self._read_unet = read_unet
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
        """Load a model.

        Args:
            source: "demo" (ships with the package), "published" (what `brainldm download`
                fetched), a directory of ours, or a directory with the published files
                (`autoencoder.pt` and `model.pt`, or `autoencoder.pth` and `diffusion_model.pth`).
            device: "auto" (CUDA where there is one), "cpu", "cuda", "cuda:1" or "mps".
            dtype: "auto" (half precision where the processor has it), "float32", "bfloat16" or
                "float16".
            memory: "auto", "normal" or "low".
            compile: compile the U-Net, which costs minutes once and pays for many volumes.

        Raises:
            BrainLDMError: no such model, weights that do not fit or are damaged, a device that is
                not there, or an unknown dtype or memory.

        Warns:
            UserWarning: the memory will probably not suffice to generate.
        """
        place = pick_device(device)  # what is wrong is refused before gigabytes are read
        precision = pick_dtype(dtype, place)
        config = load_config(source)
        mode = pick_memory(memory, config, place, precision)
        if warning := shortage(config, place, precision, mode):
            warnings.warn(warning, stacklevel=2)

        def read_unet() -> DiffusionUNet:
            return _unet(load_model(source, dtype=precision), precision)

        loaded = load_model(source, dtype=precision)
        with torch.device("meta"):  # the networks take over the loaded weights
            autoencoder = AutoencoderKL(config.autoencoder)
        load_into(autoencoder, loaded.autoencoder, "the autoencoder")
        return cls(
            config,
            autoencoder,
            _unet(loaded, precision),
            hash=loaded.hash,
            device=device,
            dtype=dtype,
            memory=mode,
            compile=compile,
            read_unet=read_unet,
        )

    @property
    def affine(self) -> NDArray[np.float64]:
        """From a voxel of the model's own grid to mm of MNI152 space, (4, 4)."""
        return self.grid.matrix

    @property
    def unet(self) -> DiffusionUNet:
        """The diffusion network, read again if it was let go."""
        if self._unet is None:
            assert self._read_unet is not None
            self._unet = self._ready(self._read_unet())
        return self._unet

    def _ready(self, unet: DiffusionUNet) -> DiffusionUNet:
        unet = unet.to(self.device, self.dtype).eval().requires_grad_(False)
        if self.dtype != torch.float32:  # where it measured a quarter faster; slower in float32
            for kernel in (p for p in unet.parameters() if p.ndim == 5):
                kernel.data = kernel.contiguous(memory_format=torch.channels_last_3d)
        if self.compile:
            unet.compile(mode="reduce-overhead" if self.device.type == "cuda" else "default")
        return unet

    def save_pretrained(self, directory: str | Path) -> None:
        """Write `autoencoder.safetensors`, `unet.safetensors` and `config.json`.

        Raises:
            BrainLDMError: the directory cannot be written, or the weights were rounded when they
                were loaded.
        """
        if self.dtype != torch.float32:
            raise BrainLDMError(
                f"Expected a model in float32 to save, this one was rounded to {self.dtype} when "
                'it was loaded: load it with dtype="float32", or copy it with `brainldm convert`.'
            )
        save_model(directory, self.config, self.autoencoder.state_dict(), self.unet.state_dict())

    @torch.inference_mode()
    def generate(
        self,
        conditions: Conditions | Sequence[Conditions],
        seeds: Sequence[int] | None = None,
        *,
        steps: int | None = None,
        sampler: str | Solver = DEFAULT_SAMPLER,
        guidance: float = 1.0,
        noise: Tensor | None = None,
        clip: bool = True,
        extrapolate: bool = False,
        progress: Progress | None = None,
    ) -> list[Volume]:
        """Generate a volume for each seed.

        A seed gives the same volume (to rounding) alone as among others.

        Args:
            conditions: one for all samples, or one for each. What is left out is drawn with the
                seed, and `metadata` says so.
            seeds: one for each sample, from 0 to 2**63 - 1; random ones if None.
            steps: denoising steps; as many as are usual for the sampler if None.
            sampler: "unipc", "dpm++2m", "ddim", "ddpm", or a solver.
            guidance: how far the conditions are followed: 1 as trained, 0 not at all, more than 1
                beyond. Other than 1 needs a model trained with condition dropout, and twice the
                time.
            noise: (B, C, X, Y, Z), replaces the seeds, and its shape sets the size; the field of
                view keeps its centre. Only for samplers that draw no more noise on the way.
            clip: bring intensities outside the model's scale, [0, 1], to its ends; `metadata` says
                how many there were.
            extrapolate: accept conditions outside the model's ranges.
            progress: called as progress(done, total, phase), counting samples times steps in the
                phase "denoise" and samples in the phase "decode".

        Returns:
            A volume for each sample, with conditions, seed and provenance in `metadata`.

        Raises:
            BrainLDMError: conditions, seeds, steps, sampler, guidance or noise that this model
                cannot take; values that are not finite, with the step; or a GPU has too little
                memory.

        Warns:
            UserWarning: a GPU had too little memory: one by one and in the mode low from now on.
        """
        samples = self.sample(
            conditions,
            seeds,
            steps=steps,
            sampler=sampler,
            guidance=guidance,
            noise=noise,
            extrapolate=extrapolate,
            progress=progress,
        )
        volumes: list[Volume] = []
        for each in samples:
            volumes.append(self.develop(each, clip))
            if progress:
                progress(len(volumes), len(samples), "decode")
        return volumes

    @torch.inference_mode()
    def sample(
        self,
        conditions: Conditions | Sequence[Conditions],
        seeds: Sequence[int] | None = None,
        *,
        steps: int | None = None,
        sampler: str | Solver = DEFAULT_SAMPLER,
        guidance: float = 1.0,
        noise: Tensor | None = None,
        extrapolate: bool = False,
        progress: Progress | None = None,
    ) -> list[Sample]:
        """The first half of `generate`, which says what the arguments are: all but decoding.

        Returns:
            A latent for each sample, to `develop` at any time.

        Raises:
            BrainLDMError: as `generate`.
        """
        solver, steps = choose_sampling(self.config, sampler, steps, guidance)
        requests = match_requests(self.config, conditions, seeds, noise)
        people = [request.conditions for request in requests]
        # years, mL -> [0, 1]: (B, 4)
        context = torch.from_numpy(self.ranges.normalise(people, extrapolate)).to(self.device)

        latents: list[Tensor] = []
        size = min(len(requests), batch_size(self.config, self.device, self.dtype))
        while (start := len(latents)) < len(requests):
            batch = requests[start : start + size]
            # z_T: (B, 3, 20, 28, 20)
            z, source = initial_noise(batch, self.config.latent.shape)
            try:
                # z_T -> z_0
                z = sample(
                    self.denoiser(context[start : start + size], guidance),
                    z.to(self.device, torch.float32),
                    schedule=self.schedule,
                    solver=solver,
                    steps=steps,
                    prediction=self.config.schedule.prediction,
                    noise=source,
                    on_step=_on_step(progress, start, len(batch), len(requests)),
                )
            except torch.OutOfMemoryError:
                if size == 1:
                    raise BrainLDMError(
                        f"{self.device} has too little memory to denoise a latent of shape "
                        f"{tuple(z.shape)}. Use the CPU."
                    ) from None
                warnings.warn(
                    f"{self.device} has too little memory for {size} heads at a time; going on "
                    "one by one in the mode low.",
                    stacklevel=2,
                )
                size, self.memory = 1, "low"
                continue
            latents.extend(z)
        if self.memory == "low" and self._read_unet:
            self._unet = None
        sampling = {**solver.describe(), "steps": steps, "guidance": guidance}
        return [
            Sample(latent, request, sampling)
            for latent, request in zip(latents, requests, strict=True)
        ]

    @torch.inference_mode()
    def develop(self, sample: Sample, clip: bool = True) -> Volume:
        """The second half of `generate`: the volume of a latent that was sampled.

        Raises:
            BrainLDMError: as `decode`.
        """
        x = self.decode(sample.latent[None])  # (1, 1, 160, 224, 160)
        image = x[0, 0].cpu()
        outside = float(((image < 0) | (image > 1)).float().mean())
        metadata = synthetic_sidecar(
            self.config,
            self.hash,
            conditions=self.ranges.describe(sample.request.conditions),
            drawn=sample.request.drawn,
            seed=sample.request.seed,
            sampler=dict(sample.sampling),
            clipped=outside if clip else None,
        )
        array = image.clamp(0, 1) if clip else image
        return Volume(array.numpy(), self.grid.resized(image.shape).matrix, metadata)

    def denoiser(self, context: Tensor, guidance: float = 1.0) -> Callable[[Tensor, float], Tensor]:
        """The U-Net under fixed conditions, as a sampler calls it: (z_t, t) -> output.

        Args:
            context: (B, 4).
            guidance: w in (1 - w) output(no conditions) + w output(conditions), classifier-free
                guidance (Ho and Salimans 2022, 2207.12598, in other symbols).
        """
        unet, context = self.unet, context.to(self.dtype)

        def denoise(z: Tensor, t: float, context: Tensor = context) -> Tensor:
            x, token = with_context(z.to(self.dtype), context)
            timesteps = torch.full((len(z),), t, device=z.device)
            output: Tensor = unet(x, timesteps, token)
            return output.float()

        if guidance == 1:
            return denoise
        null = torch.full_like(context, null_context(self.config, guidance))

        def guided(z: Tensor, t: float) -> Tensor:
            without = denoise(z, t, null).clone()  # a compiled network writes where it wrote before
            return without + guidance * (denoise(z, t) - without)

        return guided

    def prepare(self, volume: Volume) -> Volume:
        """Bring a real scan to what the autoencoder was trained on, as `fit_to_grid` does."""
        return fit_to_grid(volume, self.grid)

    @torch.inference_mode()
    def encode(self, volume: Volume) -> Tensor:
        """The latent of a volume, (1, C, X, Y, Z): the posterior's mean, at the diffusion's scale.

        Raises:
            BrainLDMError: as `prepare`, which the volume goes through.
        """
        x = torch.from_numpy(self.prepare(volume).array)[None, None].to(self.device)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            mean: Tensor = self.autoencoder.encode(x)[0]
        return mean.float() * self.config.latent.scale

    @torch.inference_mode()
    def decode(self, latent: Tensor) -> Tensor:
        """Images (B, 1, X, Y, Z), float32 and not clipped, from latents (B, C, X, Y, Z).

        Raises:
            BrainLDMError: values that are not finite come out, or a GPU has too little memory.

        Warns:
            UserWarning: a GPU had too little memory, and the mode is low from now on.
        """
        z = latent.to(self.device) / self.config.latent.scale
        x: Tensor | None = None
        try:
            x = slabs.decode(self.autoencoder, z, self.dtype, low_memory=self.memory == "low")
        except torch.OutOfMemoryError:
            if self.memory == "low":
                raise BrainLDMError(
                    f"{self.device} has too little memory to decode a latent of shape "
                    f"{tuple(z.shape)}, even in the mode low. Use the CPU."
                ) from None
        if x is None:  # out here, since the exception holds what did not fit
            warnings.warn(
                f"{self.device} has too little memory; decoding again in the mode low.",
                stacklevel=2,
            )
            self.memory = "low"
            return self.decode(latent)
        if not x.isfinite().all():
            raise NotFiniteError(
                "The decoded image has values that are NaN or infinite: expected finite ones. "
                f"Try another precision than {self.dtype}, or look at where the weights and the "
                "latent are from."
            )
        return x

    def reconstruct(self, volume: Volume) -> Volume:
        """A volume after the autoencoder, encoded and decoded; intensities clipped to [0, 1].

        Raises:
            BrainLDMError: as `prepare`, which the volume goes through.
        """
        prepared = self.prepare(volume)
        array = self.decode(self.encode(prepared))[0, 0].clamp(0, 1).cpu().numpy()
        metadata = reconstruction_sidecar(self.config, self.hash, dict(prepared.metadata or {}))
        return Volume(array, self.affine, metadata)


def _unet(loaded: LoadedModel, dtype: torch.dtype) -> DiffusionUNet:
    with torch.device("meta"):
        unet = DiffusionUNet(loaded.config.unet).to(dtype)
    load_into(unet, loaded.unet, "the diffusion U-Net")
    return unet


def _on_step(
    progress: Progress | None, before: int, batch: int, count: int
) -> Callable[[int, int, Tensor], None] | None:
    """Translate steps of a batch into samples times steps of the whole."""
    if progress is None:
        return None

    def on_step(done: int, total: int, z: Tensor) -> None:
        progress(before * total + done * batch, count * total, "denoise")

    return on_step
