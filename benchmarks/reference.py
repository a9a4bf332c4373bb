"""What ours is held against: MONAI's networks and scheduler, wired as the published bundle does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from monai.networks.nets import AutoencoderKL, DiffusionModelUNet
from monai.networks.schedulers import DDIMScheduler
from torch import Tensor

from brainldm.checkpoint import load_config
from brainldm.config import AutoencoderConfig, UNetConfig


def monai_autoencoder(c: AutoencoderConfig) -> AutoencoderKL:
    """MONAI's autoencoder of a configuration."""
    return AutoencoderKL(
        spatial_dims=3,
        **c.model_dump(),
        attention_levels=(False,) * len(c.channels),
        with_encoder_nonlocal_attn=False,
        with_decoder_nonlocal_attn=False,
    )


def monai_unet(c: UNetConfig) -> DiffusionModelUNet:
    """MONAI's diffusion U-Net of a configuration."""
    settings = c.model_dump()
    return DiffusionModelUNet(
        spatial_dims=3,
        cross_attention_dim=settings.pop("context_dim"),
        **settings,
        resblock_updown=True,
        with_conditioning=True,
        transformer_num_layers=1,
        upcast_attention=True,
        use_flash_attention=False,
    )


class Reference:
    """A model of ours, in MONAI's layout in FOLDER/reference, as the bundle's sampler calls it."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.config = config = load_config(folder / "ours")
        self.device = device
        self.autoencoder = monai_autoencoder(config.autoencoder)
        self.unet = monai_unet(config.unet)
        for network, name in ((self.autoencoder, "autoencoder.pt"), (self.unet, "model.pt")):
            path = folder / "reference" / name
            network.load_state_dict(torch.load(path, map_location=device, weights_only=True))
            network.to(device).eval()

    def brain(
        self, z: Tensor, steps: int, conditions: Sequence[float], on_step: Callable[[], None]
    ) -> Tensor:
        """DDIM with the conditions as channels and as the one token, then the decoder.

        Args:
            z: noise, (1, C, X, Y, Z).
            steps: of DDIM.
            conditions: in [0, 1], as many as the model has.
            on_step: called after each.
        """
        schedule = self.config.schedule
        scheduler = DDIMScheduler(
            num_train_timesteps=1000,
            schedule="scaled_linear_beta",
            beta_start=schedule.beta_start,
            beta_end=schedule.beta_end,
            clip_sample=False,
            prediction_type="v_prediction" if schedule.prediction == "v" else "epsilon",
        )
        scheduler.set_timesteps(steps)
        z = z.to(self.device)
        context = torch.tensor([[conditions]], device=self.device)
        channels = context[0, 0][None, :, None, None, None].expand(-1, -1, *z.shape[2:])
        # 980, 960, ..., 0 as when the bundle was published; MONAI has changed them since.
        for t in range(1000 - 1000 // steps, -1, -(1000 // steps)):
            timestep = torch.tensor([t], device=self.device)
            output = self.unet(torch.cat([z, channels], 1), timesteps=timestep, context=context)
            z, _ = scheduler.step(output, t, z)
            on_step()
        self.latent = z
        return self.autoencoder.decode_stage_2_outputs(z / self.config.latent.scale)
