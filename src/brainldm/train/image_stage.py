"""What both trainings of images share: losses, and a discriminator if asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from brainldm.errors import UsageError
from brainldm.models.sizes import check_sides
from brainldm.train.feed import Batch, Samples
from brainldm.train.losses import (
    load_perceptual,
    new_discriminator,
    new_judge,
    perceptual_loss,
)
from brainldm.train.phases import Course
from brainldm.train.settings import AutoencoderSettings, DecoderSettings
from brainldm.train.stage import Stage

Settings = TypeVar("Settings", AutoencoderSettings, DecoderSettings)


class ImageStage(Stage, Generic[Settings]):
    """A network that makes images and, if asked for, a discriminator that judges them.

    Args:
        name: of the network.
        network: whose weights are changed.
        output: its last convolution.
        samples: to learn from, with `image` (1, X, Y, Z) and `slices`.
        course: settings of the stage.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        output: nn.Module,
        samples: Samples,
        course: Course[Settings],
    ) -> None:
        networks, self.output = {name: network}, output
        losses = [span.settings.loss for span in course.spans]
        adversarial = next((loss.adversarial for loss in losses if loss.adversarial), None)
        if adversarial:
            seed = course.settings.training.seed
            networks["discriminator"] = new_discriminator(adversarial, seed)
            self.judge = new_judge()
        perceptual = next((p for loss in losses if (p := loss.perceptual) and p.file), None)
        self.perceptual = load_perceptual(perceptual) if perceptual else None
        super().__init__(networks, samples, course)

    @abstractmethod
    def reconstruct(
        self, network: nn.Module, batch: Batch, settings: Settings
    ) -> tuple[Float[Tensor, "b 1 x y z"], dict[str, Tensor]]:
        """Images that should be like those of the batch, and how far they are from it: losses."""

    def loss(
        self, name: str, networks: Mapping[str, nn.Module], batch: Batch, step: int
    ) -> dict[str, Tensor]:
        """The network's, which leaves its reconstructions in the batch, or the judge's."""
        image, loss = batch["image"], self._settings(step).loss
        if name == "discriminator":
            judge = networks[name]
            fake = self.judge(judge(batch["reconstruction"])[-1], False, True)
            real = self.judge(judge(image)[-1], True, True)
            return {"loss": (fake + real) / 2}
        reconstruction, parts = self.reconstruct(networks[name], batch, self._settings(step))
        batch["reconstruction"] = reconstruction.detach()
        if self.perceptual and loss.perceptual and loss.perceptual.file:
            seen = perceptual_loss(self.perceptual, image, reconstruction, batch["slices"])
            parts["perceptual"] = loss.perceptual.weight * seen
        if loss.adversarial and self.learns("discriminator", step):
            parts["adversarial"] = loss.adversarial.weight * self._verdict(reconstruction)
        return {"loss": torch.stack(list(parts.values())).sum(), **parts}

    def _settings(self, step: int) -> Settings:
        settings: Settings = self.course.at(step).settings
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
        if name == "discriminator" or not self._settings(0).gentle_output:
            return ()
        return self.output.parameters()


def check_sizes(
    shape: tuple[int, int, int], factor: int, course: Course[Settings], what: str
) -> None:
    """Refuse images that a training cannot take in one of its phases.

    Args:
        shape: of the images, (X, Y, Z).
        factor: between image and latent.
        course: settings of the stage.
        what: is of that shape, as the subject of the message.

    Raises:
        UsageError: sides that are no multiples of the factor, a crop larger than the images, or
            images too small for the discriminator.
    """
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


def left_out(course: Course[Settings]) -> str:
    """What an estimate does not count, as a note on the number of parameters."""
    adversarial = any(span.settings.loss.adversarial for span in course.spans)
    return " (without the discriminator)" if adversarial else ""
