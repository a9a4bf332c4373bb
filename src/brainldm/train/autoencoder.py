"""Stage 1: the autoencoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from brainldm.config import AutoencoderConfig
from brainldm.image.slices import draw_slices
from brainldm.metrics.similarity import ms_ssim, psnr, pyramid, scales_that_fit
from brainldm.models.autoencoder import AutoencoderKL
from brainldm.models.norm import channels_last
from brainldm.train.feed import Batch, Samples
from brainldm.train.head_samples import Load
from brainldm.train.image_stage import ImageStage
from brainldm.train.losses import autoencoder_losses
from brainldm.train.phases import Course
from brainldm.train.settings import AutoencoderSettings
from brainldm.train.stage import Findings

LOG_VARIANCE_START = -4.0


class AutoencoderStage(ImageStage[AutoencoderSettings]):
    """Heads through the autoencoder and, if asked for, before a discriminator.

    Args:
        model: to start from; its weights are changed.
        samples: heads to learn from, as `HeadSamples` gives them.
        course: settings of the stage.
        load: of a head, to validate on.
        held_out: numbers of those.
        affine: (4, 4) of the heads, for pictures.
    """

    def __init__(
        self,
        model: AutoencoderKL,
        samples: Samples,
        course: Course[AutoencoderSettings],
        load: Load,
        held_out: Sequence[int],
        affine: Sequence[Sequence[float]],
    ) -> None:
        super().__init__(
            "autoencoder", model.requires_grad_(), model.decoder.blocks[-1], samples, course
        )
        self.load, self.held_out = load, held_out
        self.affine = torch.tensor(affine).numpy()

    def reconstruct(
        self, network: nn.Module, batch: Batch, settings: AutoencoderSettings
    ) -> tuple[Float[Tensor, "b 1 x y z"], dict[str, Tensor]]:
        """Through one draw of the posterior."""
        image = batch["image"]
        reconstruction, mean, sigma = network(channels_last(image), batch["noise"])
        losses = autoencoder_losses(image, reconstruction, mean, sigma, settings.loss)
        return reconstruction, losses

    def validate(self, network: nn.Module, step: int) -> Findings:
        """PSNR and MS-SSIM of held-out heads through their posterior's mean."""
        heads = self.held_out[: self._settings(0).run.validate_on]
        figures: dict[str, list[float]] = {}
        pictures = {}
        device = next(network.parameters()).device
        for i, head in enumerate(heads):
            image = self.load(head)[None].to(device)
            reconstruction = network(image, self._no_noise(image))[0].float().clamp(0, 1)
            figures.setdefault("psnr", []).append(psnr(reconstruction, image))
            if scales_that_fit(image.shape[2:]):
                scales = [pyramid(each[:, 0]) for each in (reconstruction, image)]
                name = f"ms_ssim_{len(scales[0])}_scales"
                figures.setdefault(name, []).append(ms_ssim(*scales).item())
            if i == 0:
                for what, each in (("image", image), ("reconstruction", reconstruction)):
                    array = each[0, 0].float().cpu().numpy()
                    pictures[f"held-out/{what}"] = draw_slices(array, self.affine)
        means = {f"held-out/{k}": sum(v) / len(v) for k, v in figures.items()}
        return Findings(means, pictures)

    def _no_noise(self, image: Float[Tensor, "b 1 x y z"]) -> Float[Tensor, "b c u v w"]:
        c = self._settings(0).network
        sides = [side // c.factor for side in image.shape[2:]]
        return image.new_zeros(len(image), c.latent_channels, *sides)


def new_autoencoder(config: AutoencoderConfig, seed: int) -> AutoencoderKL:
    """An untrained autoencoder with a narrow posterior: at unit variance the noise would hide the
    mean, and training would stall.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoencoderKL(config)
    with torch.no_grad():
        model.quant_conv_log_sigma.get_parameter("conv.bias").fill_(LOG_VARIANCE_START)
    return model
