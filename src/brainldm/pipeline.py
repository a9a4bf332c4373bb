"""The whole line, from a few numbers about a person to a head that nobody owns.

conditions -> context -> seeded latent noise -> denoise -> decode -> volume in MNI space

The model is that of Pinaya et al. 2022 (arXiv 2209.07162). Shapes are (B, C, X, Y, Z); those at the
margin are the published model's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainldm.checkpoint import load_into, load_model, save_model
from brainldm.conditions import ConditionRanges, Conditions
from brainldm.config import ModelConfig
from brainldm.device import pick_device, pick_dtype
from brainldm.models.autoencoder import AutoencoderKL
from brainldm.models.unet import DiffusionUNet, with_context
from brainldm.request import Request, initial_noise, match_requests
from brainldm.sampling.schedules import Schedule
from brainldm.sampling.solvers import Solver, pick_solver, sample
from brainldm.scans import fit_to_grid
from brainldm.sidecar import reconstruction_sidecar, synthetic_sidecar
from brainldm.volume import Volume

BATCH = 4
"""Samples denoised at a time; each is decoded alone, since decoding needs the most memory."""
Progress = Callable[[int, int, str], None]


class BrainLDM:
    """A latent diffusion model of T1-weighted heads.

    Args:
        config: what the model is.
        autoencoder: its weights loaded.
        unet: its weights loaded.
        hash: identifies the weights.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        dtype: "auto" (float32), "float32" or "bfloat16" (autocast).

    Raises:
        BrainLDMError: a device that is not there, or an unknown dtype.
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
    ) -> None:
        self.config = config
        self.hash = hash
        self.device = pick_device(device)
        self.dtype = pick_dtype(dtype)
        self.autoencoder = autoencoder.to(self.device).eval().requires_grad_(False)
        self.unet = unet.to(self.device).eval().requires_grad_(False)
        self.ranges = ConditionRanges(config.conditions)
        self.affine = np.array(config.affine, dtype=np.float64)
        self.schedule = Schedule.scaled_linear(
            config.schedule.num_train_timesteps,
            config.schedule.beta_start,
            config.schedule.beta_end,
        )

    @classmethod
    def from_pretrained(
        cls, source: str | Path = "demo", device: str = "auto", dtype: str = "auto"
    ) -> Self:
        """Load a model.

        Args:
            source: "demo" (ships with the package), "published" (what `brainldm download`
                fetched), a directory of ours, or a directory with the published files
                (`autoencoder.pt` and `model.pt`, or `autoencoder.pth` and `diffusion_model.pth`).
            device: "auto" (CUDA where there is one), "cpu", "cuda", "cuda:1" or "mps".
            dtype: "auto" (float32), "float32" or "bfloat16" (autocast).

        Raises:
            BrainLDMError: no such model, weights that do not fit or are damaged, a device that is
                not there, or an unknown dtype.
        """
        pick_device(device)  # refused before gigabytes are read
        loaded = load_model(source)
        with torch.device("meta"):  # the networks take over the loaded weights
            autoencoder = AutoencoderKL(loaded.config.autoencoder)
            unet = DiffusionUNet(loaded.config.unet)
        load_into(autoencoder, loaded.autoencoder, "the autoencoder")
        load_into(unet, loaded.unet, "the diffusion U-Net")
        return cls(loaded.config, autoencoder, unet, hash=loaded.hash, device=device, dtype=dtype)

    def save_pretrained(self, directory: str | Path) -> None:
        """Write `autoencoder.safetensors`, `unet.safetensors` and `config.json`.

        Raises:
            BrainLDMError: the directory cannot be written.
        """
        save_model(directory, self.config, self.autoencoder.state_dict(), self.unet.state_dict())

    @torch.inference_mode()
    def generate(
        self,
        conditions: Conditions | Sequence[Conditions],
        seeds: Sequence[int] | None = None,
        *,
        steps: int | None = None,
        sampler: str | Solver = "ddim",
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
            steps: denoising steps; the model's own number if None.
            sampler: "ddim", "ddpm", "dpm++2m", or a solver.
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
            BrainLDMError: conditions, seeds, steps, sampler or noise that this model cannot take.
        """
        solver = pick_solver(sampler)
        steps = self.config.schedule.steps if steps is None else steps
        requests = match_requests(self.config, conditions, seeds, noise)
        people = [request.conditions for request in requests]
        # years, mL -> [0, 1]: (B, 4)
        context = torch.from_numpy(self.ranges.normalise(people, extrapolate)).to(self.device)

        volumes: list[Volume] = []
        for start in range(0, len(requests), BATCH):
            batch = slice(start, start + BATCH)
            # z_T: (B, 3, 20, 28, 20)
            z, source = initial_noise(requests[batch], self.config.latent.shape)
            # z_T -> z_0
            z = sample(
                self.denoiser(context[batch]),
                z.to(self.device, torch.float32),
                schedule=self.schedule,
                solver=solver,
                steps=steps,
                prediction=self.config.schedule.prediction,
                noise=source,
                on_step=_on_step(progress, start, len(z), len(requests)),
            )
            for latent, request in zip(z, requests[batch], strict=True):
                x = self.decode(latent[None])  # (1, 1, 160, 224, 160)
                volumes.append(self._volume(x, request, solver, steps, clip))
                if progress:
                    progress(len(volumes), len(requests), "decode")
        return volumes

    def denoiser(self, context: Tensor) -> Callable[[Tensor, int], Tensor]:
        """The U-Net under fixed conditions, as a sampler calls it: (z_t, t) -> output.

        Args:
            context: (B, 4).
        """

        def denoise(z: Tensor, t: int) -> Tensor:
            x, token = with_context(z, context)
            timesteps = torch.full((len(z),), t, device=z.device)
            with self._precision():
                output: Tensor = self.unet(x, timesteps, token)
            return output.float()

        return denoise

    def prepare(self, volume: Volume) -> Volume:
        """Bring a real scan to what the autoencoder was trained on, as `fit_to_grid` does."""
        return fit_to_grid(volume, self.affine, self.config.shape)

    @torch.inference_mode()
    def encode(self, volume: Volume) -> Tensor:
        """The latent of a volume, (1, C, X, Y, Z): the posterior's mean, at the diffusion's scale.

        Raises:
            BrainLDMError: as `prepare`, which the volume goes through.
        """
        x = torch.from_numpy(self.prepare(volume).array)[None, None].to(self.device)
        with self._precision():
            mean: Tensor = self.autoencoder.encode(x)[0]
        return mean.float() * self.config.latent.scale

    @torch.inference_mode()
    def decode(self, latent: Tensor) -> Tensor:
        """Images (B, 1, X, Y, Z), float32 and not clipped, from latents (B, C, X, Y, Z)."""
        z = latent.to(self.device) / self.config.latent.scale
        with self._precision():
            x: Tensor = self.autoencoder.decode(z)
        return x.float()

    def reconstruct(self, volume: Volume) -> Volume:
        """A volume after the autoencoder, encoded and decoded; intensities clipped to [0, 1].

        Raises:
            BrainLDMError: as `prepare`, which the volume goes through.
        """
        prepared = self.prepare(volume)
        array = self.decode(self.encode(prepared))[0, 0].clamp(0, 1).cpu().numpy()
        metadata = reconstruction_sidecar(self.config, self.hash, dict(prepared.metadata or {}))
        return Volume(array, self.affine, metadata)

    def _precision(self) -> torch.autocast:
        return torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16
        )

    def _volume(
        self, x: Tensor, request: Request, solver: Solver, steps: int, clip: bool
    ) -> Volume:
        """An image (1, 1, X, Y, Z) with its place in the world and its sidecar."""
        image = x[0, 0].cpu()
        outside = float(((image < 0) | (image > 1)).float().mean())
        metadata = synthetic_sidecar(
            self.config,
            self.hash,
            conditions=self.ranges.describe(request.conditions),
            drawn=request.drawn,
            seed=request.seed,
            sampler={**solver.describe(), "steps": steps},
            clipped=outside if clip else None,
        )
        array = image.clamp(0, 1) if clip else image
        return Volume(array.numpy(), self._affine_for(image.shape), metadata)

    def _affine_for(self, shape: Sequence[int]) -> NDArray[np.float64]:
        """The affine of a grid of another size about the same centre."""
        affine = self.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ ((np.array(self.config.shape) - np.array(shape)) / 2)
        return affine


def _on_step(
    progress: Progress | None, before: int, batch: int, count: int
) -> Callable[[int, int, Tensor], None] | None:
    """Translate steps of a batch into samples times steps of the whole."""
    if progress is None:
        return None

    def on_step(done: int, total: int, z: Tensor) -> None:
        progress(before * total + done * batch, count * total, "denoise")

    return on_step
