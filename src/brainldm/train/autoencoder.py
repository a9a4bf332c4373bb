"""Stage 1: the autoencoder, and a discriminator if asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from brainldm.config import AutoencoderConfig
from brainldm.errors import UsageError
from brainldm.image.slices import draw_slices
from brainldm.metrics.similarity import ms_ssim, psnr, pyramid, scales_that_fit
from brainldm.models.autoencoder import AutoencoderKL
from brainldm.models.norm import channels_last
from brainldm.models.sizes import check_sides
from brainldm.train.feed import Batch, Samples
from brainldm.train.head_samples import Load
from brainldm.train.losses import (
    autoencoder_losses,
    load_perceptual,
    new_discriminator,
    new_judge,
    perceptual_loss,
)
from brainldm.train.phases import Course
from brainldm.train.settings import AutoencoderSettings
from brainldm.train.stage import Findings, Stage

LOG_VARIANCE_START = -4.0


class AutoencoderStage(Stage):
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
        networks: dict[str, nn.Module] = {"autoencoder": model.requires_grad_()}
        losses = [span.settings.loss for span in course.spans]
        adversarial = next((loss.adversarial for loss in losses if loss.adversarial), None)
        if adversarial:
            seed = course.settings.training.seed
            networks["discriminator"] = new_discriminator(adversarial, seed)
            self.judge = new_judge()
        perceptual = next((p for loss in losses if (p := loss.perceptual) and p.file), None)
        self.perceptual = load_perceptual(perceptual) if perceptual else None
        super().__init__(networks, samples, course)
        self.load, self.held_out = load, held_out
        self.affine = torch.tensor(affine).numpy()

    def loss(
        self, name: str, networks: Mapping[str, nn.Module], batch: Batch, step: int
    ) -> dict[str, Tensor]:
        """The autoencoder's, which leaves its reconstructions in the batch, or the judge's."""
        image, loss = batch["image"], self._settings(step).loss
        if name == "discriminator":
            judge = networks[name]
            fake = self.judge(judge(batch["reconstruction"])[-1], False, True)
            real = self.judge(judge(image)[-1], True, True)
            return {"loss": (fake + real) / 2}
        reconstruction, mean, sigma = networks[name](channels_last(image), batch["noise"])
        batch["reconstruction"] = reconstruction.detach()
        parts = autoencoder_losses(image, reconstruction, mean, sigma, loss)
        if self.perceptual and loss.perceptual and loss.perceptual.file:
            seen = perceptual_loss(self.perceptual, image, reconstruction, batch["slices"])
            parts["perceptual"] = loss.perceptual.weight * seen
        if loss.adversarial and self.learns("discriminator", step):
            parts["adversarial"] = loss.adversarial.weight * self._verdict(reconstruction)
        return {"loss": torch.stack(list(parts.values())).sum(), **parts}

    def _settings(self, step: int) -> AutoencoderSettings:
        settings: AutoencoderSettings = self.course.at(step).settings
        return settings

    def _verdict(self, reconstruction: Float[Tensor, "b 1 x y z"]) -> Float[Tensor, ""]:
        """The discriminator's loss of a reconstruction, and its gradient for that alone.

        Those of the discriminator's weights are not wanted here, and would take part in what
        several processes exchange.
        """
        seen = reconstruction.detach().requires_grad_()
        patches = self.networks["discriminator"](seen)[-1]
        verdict: Tensor = self.judge(patches, True, False)
        # Summed over patches, lest half precision loses it.
        (gradient,) = torch.autograd.grad(verdict * patches.numel(), seen)
        change = ((reconstruction - seen.detach()) * gradient).float().sum()
        together: Tensor = verdict.detach() + change / patches.numel()
        return together

    def learns(self, name: str, step: int) -> bool:
        """The discriminator learns from its own start on."""
        adversarial = self._settings(step).loss.adversarial
        if name != "discriminator":
            return True
        return adversarial is not None and step >= adversarial.start

    def learning_rate(self, name: str, step: int) -> float:
        """The discriminator has its own."""
        adversarial = self._settings(step).loss.adversarial
        if name == "discriminator" and adversarial:
            return adversarial.learning_rate
        return super().learning_rate(name, step)

    def gentle(self, name: str) -> Iterable[nn.Parameter]:
        """The last convolution, if the settings say so.

        No norm follows it: at the rate of the others it makes the grey of air swing, and its
        gradient is many times theirs.
        """
        model = self.networks[name]
        if not (self._settings(0).gentle_output and isinstance(model, AutoencoderKL)):
            return ()
        return model.decoder.blocks[-1].parameters()

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


def check_sizes(
    shape: tuple[int, int, int], course: Course[AutoencoderSettings], what: str
) -> None:
    """Refuse images that a network of stage 1 cannot take in one of its phases.

    Args:
        shape: of the images, (X, Y, Z).
        course: settings of the stage.
        what: is of that shape, as the subject of the message.

    Raises:
        UsageError: sides that are no multiples of the factor, a crop larger than the images, or
            images too small for the discriminator.
    """
    factor = course.settings.network.factor
    check_sides(shape, factor, what)
    for span in course.spans:
        crop, adversarial = span.settings.crop, span.settings.loss.adversarial
        if crop:
            check_sides(crop, factor, "crop")
            if any(part > whole for part, whole in zip(crop, shape, strict=True)):
                raise UsageError(
                    f"crop is {crop}, larger than the images of {shape}: expected a part of them. "
                    "Choose a smaller one, or none (crop=null)."
                )
        seen = crop or shape
        # Each layer halves the sides, and two convolutions without padding to spare take one each.
        if adversarial and min(seen) < 3 * 2**adversarial.layers:
            raise UsageError(
                f"Images of {seen} are too small for a discriminator of {adversarial.layers} "
                f"layers: expected sides of {3 * 2**adversarial.layers} or more. Choose fewer "
                "loss.adversarial.layers, or a larger crop."
            )


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
