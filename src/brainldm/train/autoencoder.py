"""Stage 1: the autoencoder.

L1 and the KL divergence to N(0, 1), with what makes edges sharp: a perceptual loss where the user
has weights for one, else the L1 of gradients; and a patch-adversarial loss (Pinaya et al. 2022,
2209.07162, section 2.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from brainldm.config import AutoencoderConfig
from brainldm.errors import BrainLDMError, require
from brainldm.image.slices import draw_slices
from brainldm.metrics.similarity import ms_ssim, psnr, pyramid, scales_that_fit
from brainldm.models.autoencoder import AutoencoderKL
from brainldm.models.norm import channels_last
from brainldm.models.sizes import check_sides
from brainldm.train.augment import augment, random_crop
from brainldm.train.draws import Draw
from brainldm.train.settings import Adversarial, AutoencoderLoss, AutoencoderSettings, Perceptual
from brainldm.train.stage import Batch, Findings, Stage

LOG_VARIANCE_START = -4.0
SLICES = 0.25
"""Of all, seen by the perceptual loss."""

Load = Callable[[int], Tensor]
"""The n-th head, (1, X, Y, Z) in [0, 1]."""


class AutoencoderStage(Stage):
    """Heads through the autoencoder and, if asked for, before a discriminator.

    Args:
        model: to start from; its weights are changed.
        load: of a head.
        learn: numbers of the heads to learn from.
        held_out: numbers of those to validate on.
        names: of all heads, for messages.
        settings: of the stage.
        affine: (4, 4) of the heads, for pictures.
    """

    def __init__(
        self,
        model: AutoencoderKL,
        load: Load,
        learn: Sequence[int],
        held_out: Sequence[int],
        names: Sequence[str],
        settings: AutoencoderSettings,
        affine: Sequence[Sequence[float]],
    ) -> None:
        networks: dict[str, nn.Module] = {"autoencoder": model.requires_grad_()}
        self.settings = settings
        adversarial, perceptual = settings.loss.adversarial, settings.loss.perceptual
        if adversarial:
            networks["discriminator"] = _discriminator(adversarial, settings.training.seed)
            self.judge = _judge()
        self.perceptual = _perceptual(perceptual) if perceptual and perceptual.file else None
        super().__init__(networks, settings.training, settings.run)
        self.head, self.learn, self.held_out, self.names = load, learn, held_out, names
        self.affine = torch.tensor(affine).numpy()

    def load(self, draw: Draw) -> Batch:
        """A head, changed a little, and the noise of its posterior."""
        image = self.head(self.learn[draw.index(len(self.learn))])
        if self.settings.crop:
            image = random_crop(image, self.settings.crop, draw.generator("crop"))
        image = augment(image, self.settings.augment, draw.generator("augment"))
        factor, channels = self.settings.network.factor, self.settings.network.latent_channels
        shape = (channels, *(side // factor for side in image.shape[1:]))
        noise = torch.randn(shape, generator=draw.generator("posterior"))
        slices = torch.tensor(draw.number("slices"))
        return {"image": image.contiguous(), "noise": noise, "slices": slices}

    def subject(self, draw: Draw) -> str:
        """Whose head that is."""
        return self.names[self.learn[draw.index(len(self.learn))]]

    def loss(
        self, name: str, networks: Mapping[str, nn.Module], batch: Batch, step: int
    ) -> dict[str, Tensor]:
        """The autoencoder's, which leaves its reconstructions in the batch, or the judge's."""
        image, loss = batch["image"], self.settings.loss
        if name == "discriminator":
            judge = networks[name]
            fake = self.judge(judge(batch["reconstruction"])[-1], False, True)
            real = self.judge(judge(image)[-1], True, True)
            return {"loss": (fake + real) / 2}
        reconstruction, mean, sigma = networks[name](channels_last(image), batch["noise"])
        batch["reconstruction"] = reconstruction.detach()
        parts = autoencoder_losses(image, reconstruction, mean, sigma, loss)
        if self.perceptual and loss.perceptual:
            seen = _seen(self.perceptual, image, reconstruction, batch["slices"])
            parts["perceptual"] = loss.perceptual.weight * seen
        if loss.adversarial and self.learns("discriminator", step):
            parts["adversarial"] = loss.adversarial.weight * self._verdict(reconstruction)
        return {"loss": torch.stack(list(parts.values())).sum(), **parts}

    def _verdict(self, reconstruction: Tensor) -> Tensor:
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
        adversarial = self.settings.loss.adversarial
        if name != "discriminator":
            return True
        return adversarial is not None and step >= adversarial.start

    def learning_rate(self, name: str) -> float:
        """The discriminator has its own."""
        adversarial = self.settings.loss.adversarial
        if name == "discriminator" and adversarial:
            return adversarial.learning_rate
        return self.training.learning_rate

    def gentle(self, name: str) -> Iterable[nn.Parameter]:
        """The last convolution, if the settings say so.

        No norm follows it: at the rate of the others it makes the grey of air swing, and its
        gradient is many times theirs.
        """
        model = self.networks[name]
        if not (self.settings.gentle_output and isinstance(model, AutoencoderKL)):
            return ()
        return model.decoder.blocks[-1].parameters()

    def validate(self, network: nn.Module, step: int) -> Findings:
        """PSNR and MS-SSIM of held-out heads through their posterior's mean."""
        heads = self.held_out[: self.run.validate_on]
        figures: dict[str, list[float]] = {}
        pictures = {}
        device = next(network.parameters()).device
        for i, head in enumerate(heads):
            image = self.head(head)[None].to(device)
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

    def _no_noise(self, image: Tensor) -> Tensor:
        c = self.settings.network
        sides = [side // c.factor for side in image.shape[2:]]
        return image.new_zeros(len(image), c.latent_channels, *sides)


def check_sizes(shape: tuple[int, int, int], settings: AutoencoderSettings, what: str) -> None:
    """Refuse images that a network of stage 1 cannot take.

    Args:
        shape: of the images, (X, Y, Z).
        settings: of the stage.
        what: is of that shape, as the subject of the message.

    Raises:
        BrainLDMError: sides that are no multiples of the factor, a crop larger than the images, or
            images too small for the discriminator.
    """
    check_sides(shape, settings.network.factor, what)
    if settings.crop:
        check_sides(settings.crop, settings.network.factor, "crop")
        if any(part > whole for part, whole in zip(settings.crop, shape, strict=True)):
            raise BrainLDMError(
                f"crop is {settings.crop}, larger than the images of {shape}: expected a part of "
                "them. Choose a smaller one, or none (crop=null)."
            )
    seen, adversarial = settings.crop or shape, settings.loss.adversarial
    # Each layer halves the sides, and two convolutions without padding to spare take one each.
    if adversarial and min(seen) < 3 * 2**adversarial.layers:
        raise BrainLDMError(
            f"Images of {seen} are too small for a discriminator of {adversarial.layers} layers: "
            f"expected sides of {3 * 2**adversarial.layers} or more. Choose fewer "
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


def autoencoder_losses(
    image: Tensor, reconstruction: Tensor, mean: Tensor, sigma: Tensor, weights: AutoencoderLoss
) -> dict[str, Tensor]:
    """L1 of intensities and of gradients, and the KL divergence to N(0, 1), weighted.

    Args:
        image: (B, 1, X, Y, Z).
        reconstruction: the same shape.
        mean: of the posterior, (B, C, x, y, z).
        sigma: its standard deviation, the same shape.
        weights: of the parts.
    """
    error = reconstruction.float() - image
    parts = {"l1": _l1(error, weights.beta)}
    if weights.gradient_weight:
        differences = [_l1(error.diff(dim=axis), weights.beta) for axis in (2, 3, 4)]
        parts["gradient"] = weights.gradient_weight / 3 * torch.stack(differences).sum()
    mean, sigma = mean.float(), sigma.float()
    kl = 0.5 * (mean**2 + sigma**2 - 2 * sigma.log() - 1).sum() / len(image)
    return {**parts, "kl": weights.kl * kl}


def _l1(error: Tensor, beta: float) -> Tensor:
    return nn.functional.smooth_l1_loss(error, torch.zeros_like(error), beta=beta)


def _discriminator(settings: Adversarial, seed: int) -> nn.Module:
    require("train", "The adversarial loss", "monai")
    from monai.networks.nets.patchgan_discriminator import PatchDiscriminator

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        network: nn.Module = PatchDiscriminator(
            spatial_dims=3,
            channels=settings.channels,
            in_channels=1,
            num_layers_d=settings.layers,
            # Not batch norm: a sample's verdict must not depend on who is with it on a process.
            norm=("INSTANCE", {"affine": True}),
        )
    return network


def _judge() -> Any:
    from monai.losses.adversarial_loss import PatchAdversarialLoss

    return PatchAdversarialLoss(criterion="least_squares")


def _perceptual(settings: Perceptual) -> nn.Module:
    require("train", "The perceptual loss", "monai")
    require("perceptual", "The perceptual loss", "torchvision")
    from monai.losses.perceptual import PerceptualLoss

    path = Path(settings.file or "")
    if not path.is_file():
        raise BrainLDMError(
            f"There is no file {path} of weights for the perceptual loss: expected a state dict of "
            "torchvision's ResNet-50. Correct loss.perceptual.file, or leave it out."
        )
    try:
        network: nn.Module = PerceptualLoss(
            3, "resnet50", fake_3d_ratio=SLICES, pretrained_path=str(path)
        )
    except Exception as error:  # damaged bytes can fail anywhere in the reader
        raise BrainLDMError(
            f"Cannot use {path} for the perceptual loss: {str(error).splitlines()[0]}. Expected a "
            "state dict of torchvision's ResNet-50."
        ) from error
    return network.requires_grad_(False)


def _seen(perceptual: nn.Module, image: Tensor, reconstruction: Tensor, seeds: Tensor) -> Tensor:
    """The mean over samples, each with slices of its own: MONAI draws them from the global seed."""
    perceptual.to(image.device)
    losses = []
    for x, y, seed in zip(image, reconstruction.float(), seeds.tolist(), strict=True):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            losses.append(perceptual(y[None], x[None]))
    return torch.stack(losses).mean()
