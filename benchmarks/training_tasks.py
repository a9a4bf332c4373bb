"""What `training.py` trains: our networks and MONAI's, on the same samples, with the same loss."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from brainldm.models.unet import DiffusionUNet
from brainldm.train.autoencoder import AutoencoderStage, new_autoencoder
from brainldm.train.checkpointing import checkpoint_blocks
from brainldm.train.diffusion import DiffusionStage, learn_all_but_idle
from brainldm.train.head_samples import HeadSamples
from brainldm.train.latent_samples import LatentSamples
from brainldm.train.latents import Encoded, Latents
from brainldm.train.phases import Course
from brainldm.train.presets import load_settings
from brainldm.train.settings import AutoencoderSettings, DiffusionSettings

CONDITIONS = 4
HEADS = 8


class Autoencoder:
    """Stage 1, on random images, with L1 and KL."""

    def __init__(self, preset: str, shape: tuple[int, ...], changes: list[str]) -> None:
        own = ["loss={}", "augment={}", "gentle_output=false"]
        self.settings = load_settings(preset, AutoencoderSettings, [*changes, *own])
        self.course, self.shape = Course(self.settings), shape

    def ours(self) -> Any:
        """Our network, with random weights."""
        network = new_autoencoder(self.settings.network, seed=0)
        if self.settings.run.checkpointing:
            checkpoint_blocks(network)
        return network

    def reference(self) -> Any:
        """The same of MONAI."""
        from monai.networks.nets import AutoencoderKL

        c = self.settings.network
        return AutoencoderKL(
            spatial_dims=3,
            **c.model_dump(),
            attention_levels=(False,) * len(c.channels),
            with_encoder_nonlocal_attn=False,
            with_decoder_nonlocal_attn=False,
        )

    def stage(self, network: Any) -> Any:
        """What learns from what."""
        torch.manual_seed(1)
        heads, names = list(torch.rand(HEADS, 1, *self.shape)), ["random"] * HEADS
        load, affine = heads.__getitem__, torch.eye(4).tolist()
        samples = HeadSamples(load, range(HEADS), names, self.course)
        return AutoencoderStage(network, samples, self.course, load, (), affine)

    def loss(self, network: Any, batch: dict[str, Any]) -> Any:
        """Of MONAI's network."""
        image = batch["image"]
        mean, sigma = network.encode(image)
        reconstruction = network.decode(mean + sigma * batch["noise"]).float()
        mean, sigma = mean.float(), sigma.float()
        kl = 0.5 * (mean**2 + sigma**2 - 2 * sigma.log() - 1).sum() / len(image)
        return F.l1_loss(reconstruction, image) + self.settings.loss.kl * kl


class Diffusion:
    """Stage 2, on random latents."""

    def __init__(self, preset: str, shape: tuple[int, ...], changes: list[str]) -> None:
        own = ["flip=false", "explained_weight=false"]
        self.settings = load_settings(preset, DiffusionSettings, [*changes, *own])
        self.course = Course(self.settings)
        first = load_settings(preset, AutoencoderSettings).network
        self.config = self.settings.network.complete(first.latent_channels, CONDITIONS)
        self.shape = (first.latent_channels, *(side // first.factor for side in shape))

    def ours(self) -> Any:
        """Our network, with random weights also where they start at zero, hiding what is before."""
        torch.manual_seed(0)
        network = learn_all_but_idle(DiffusionUNet(self.config))
        for parameter in network.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.02)
        if self.settings.run.checkpointing:
            checkpoint_blocks(network)
        return network

    def reference(self) -> Any:
        """The same of MONAI."""
        from monai.networks.nets import DiffusionModelUNet

        settings = self.config.model_dump()
        return DiffusionModelUNet(
            spatial_dims=3,
            cross_attention_dim=settings.pop("context_dim"),
            **settings,
            resblock_updown=True,
            with_conditioning=True,
            upcast_attention=True,
        )

    def stage(self, network: Any) -> Any:
        """What learns from what."""
        torch.manual_seed(1)
        latents = Latents([torch.randn(HEADS, 1, *self.shape).numpy()])
        encoded = Encoded(latents, 1.0, torch.rand(HEADS, CONDITIONS))
        names, cpu = ["random"] * HEADS, torch.device("cpu")
        samples = LatentSamples(encoded, range(HEADS), (), names, self.course, cpu)
        return DiffusionStage(network, samples, self.course, encoded, ())

    def loss(self, network: Any, batch: dict[str, Any]) -> Any:
        """Of MONAI's network: epsilon or v."""
        z0, noise, t, context = (batch[key][:, 0] for key in ("z0", "noise", "t", "context"))
        c = self.settings.schedule
        betas = torch.linspace(c.beta_start**0.5, c.beta_end**0.5, c.num_train_timesteps) ** 2
        kept = (1 - betas.double()).cumprod(0).float().to(z0.device)[t].view(-1, 1, 1, 1, 1)
        x = kept.sqrt() * z0 + (1 - kept).sqrt() * noise
        target = (
            noise if c.prediction == "epsilon" else kept.sqrt() * noise - (1 - kept).sqrt() * z0
        )
        channels = context[:, :, None, None, None].expand(-1, -1, *z0.shape[2:])
        output = network(torch.cat([x, channels], 1), timesteps=t, context=context[:, None])
        return F.mse_loss(output.float(), target)
