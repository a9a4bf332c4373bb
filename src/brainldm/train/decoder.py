"""A finished model's decoder, which learns to make heads of latents as the model makes them.

An encoder's latents are all that it has seen so far, and those of the diffusion are a little wrong,
each in a way of its own: white matter and cortex come out mottled. Shown both, it learns what they
mean (Zheng et al. 2025, 2510.11690, train a decoder on noisy latents so).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from brainldm.image.slices import draw_slices
from brainldm.metrics.similarity import psnr
from brainldm.models.autoencoder import AutoencoderKL
from brainldm.models.norm import channels_last
from brainldm.train.decoder_samples import DecoderSamples, Pairs
from brainldm.train.feed import Batch
from brainldm.train.image_stage import ImageStage
from brainldm.train.losses import image_losses
from brainldm.train.phases import Course
from brainldm.train.settings import DecoderSettings
from brainldm.train.stage import Findings


class Decoder(nn.Module):
    """The half of an autoencoder that makes images; its weights have the same names.

    Args:
        autoencoder: whose half this is.
    """

    def __init__(self, autoencoder: AutoencoderKL) -> None:
        super().__init__()
        self.post_quant_conv, self.decoder = autoencoder.post_quant_conv, autoencoder.decoder

    def forward(self, z: Float[Tensor, "b l i j k"]) -> Float[Tensor, "b c x y z"]:
        """(B, latent_channels, X, Y, Z) -> (B, out_channels, fX, fY, fZ)."""
        x: Tensor = self.decoder(self.post_quant_conv(z))
        return x


class DecoderStage(ImageStage[DecoderSettings]):
    """Latents through a decoder and, if asked for, before a discriminator.

    Args:
        decoder: to start from; its weights are changed.
        samples: to learn from.
        course: settings of the stage.
        held_out: numbers of heads to validate on.
        affine: (4, 4) of the heads, for pictures.
    """

    def __init__(
        self,
        decoder: Decoder,
        samples: DecoderSamples,
        course: Course[DecoderSettings],
        held_out: Sequence[int],
        affine: Sequence[Sequence[float]],
    ) -> None:
        output = decoder.decoder.blocks[-1]
        super().__init__("decoder", decoder.requires_grad_(), output, samples, course)
        self.blend = course.settings.blend
        self.pairs: Pairs = samples.pairs
        self.held_out = held_out
        self.affine = torch.tensor(affine).numpy()

    def reconstruct(
        self, network: nn.Module, batch: Batch, settings: DecoderSettings
    ) -> tuple[Float[Tensor, "b 1 x y z"], dict[str, Tensor]]:
        """Of the latents of the batch."""
        made = network(channels_last(batch["latent"]))
        return made, image_losses(batch["image"], made, settings.loss)

    def validate(self, network: nn.Module, step: int) -> Findings:
        """PSNR of held-out heads, from the encoder's latents and from those made anew."""
        figures: dict[str, list[float]] = {}
        pictures = {}
        device = next(network.parameters()).device
        for i, head in enumerate(self.held_out[: self._settings(0).run.validate_on]):
            image = self.pairs.load(head)[None]
            for what, latents in (("psnr", self.pairs.clean), ("psnr_remade", self.pairs.remade)):
                made = network(latents[head][:1].to(device)).float().clamp(0, 1).cpu()
                figures.setdefault(f"held-out/{what}", []).append(psnr(made, image))
            if i == 0:
                for what, each in (("image", image), ("remade", made)):
                    pictures[f"held-out/{what}"] = draw_slices(each[0, 0].numpy(), self.affine)
        return Findings({k: sum(v) / len(v) for k, v in figures.items()}, pictures)
