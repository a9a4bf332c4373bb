"""The settings of all stages. Each says what it is; `--dry-run` prints that beside its value."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from brainldm.config import AutoencoderConfig, SamplerName, ScheduleConfig, UNetConfig
from brainldm.train.loop_settings import (
    Count,
    Fraction,
    Part,
    Positive,
    Rate,
    Settings,
    Shape,
    StageSettings,
    Training,
    Weight,
)


class HeadTraining(Training):
    """The same, on heads of people."""

    held_out: Part = Field(default=0.02, description="share of the subjects kept for validation")
    group: str | None = Field(
        default=None,
        description="column of participants.tsv whose equal cells belong together, such as the "
        "visits of a person: held out together",
    )


class Perceptual(Settings):
    """MONAI's PerceptualLoss, on a quarter of the slices."""

    weight: Rate = Field(description="of the perceptual loss")
    file: str | None = Field(
        default=None, description="state dict of torchvision's ResNet-50; null leaves the loss out"
    )


class Adversarial(Settings):
    """A least-squares patch discriminator (MONAI's)."""

    weight: Rate = Field(description="of the adversarial loss")
    start: Count = Field(
        default=0, description="step of the run from which on the discriminator learns and counts"
    )
    layers: Positive = Field(default=3, description="layers of the discriminator")
    channels: Positive = Field(default=64, description="channels of its first layer")
    learning_rate: Rate = Field(description="its highest learning rate")


class ImageLoss(Settings):
    """The parts beside the L1 of intensities, which counts 1."""

    beta: Weight = Field(
        default=0, description="errors below this count by their square (smooth L1)"
    )
    gradient: Weight = Field(
        default=0,
        description="L1 of differences between neighbours; gives way to a perceptual loss",
    )
    perceptual: Perceptual | None = Field(default=None, description="perceptual loss")
    adversarial: Adversarial | None = Field(default=None, description="patch-adversarial loss")

    @property
    def gradient_weight(self) -> float:
        """Of the gradient loss, which gives way to a perceptual one."""
        return 0.0 if self.perceptual and self.perceptual.file else self.gradient


class AutoencoderLoss(ImageLoss):
    """The same, and what holds the latent together."""

    kl: Weight = Field(default=1e-8, description="KL divergence to N(0, 1), summed over the latent")


class Augment(Settings):
    """What is drawn anew each time a head is seen."""

    flip: bool = Field(default=False, description="mirror images, left and right")
    rotate: Weight = Field(
        default=0, description="rotations about each axis, up to this many degrees"
    )
    shift: Weight = Field(default=0, description="shifts along each axis, up to this many voxels")
    scale: Part = Field(default=0, description="scaling, up to this fraction")
    intensity: Part = Field(
        default=0, description="a factor on intensities and a power of them, within 1 +- this"
    )


class _HeadStage(StageSettings):
    """What both stages have."""

    fixed = (*StageSettings.fixed, "training.held_out", "training.group")

    training: HeadTraining = Field(description="how long and how fast")


class ImageSettings(_HeadStage):
    """What both trainings of images have."""

    fixed = (*_HeadStage.fixed, "gentle_output")

    loss: ImageLoss = Field(default=ImageLoss(), description="what it minimises")
    crop: Shape | None = Field(
        default=None,
        description="size of a random part of a head to see; quick, but whole heads (null) must "
        "come last, since norms average over all that they see",
    )
    gentle_output: bool = Field(
        default=False,
        description="let the last convolution, which no norm follows, learn at a tenth of the rate",
    )


class AutoencoderSettings(ImageSettings):
    """Stage 1."""

    network: AutoencoderConfig = Field(description="the autoencoder's architecture")
    loss: AutoencoderLoss = Field(default=AutoencoderLoss(), description="what it minimises")
    augment: Augment = Field(
        default=Augment(), description="what is drawn anew each time a head is seen"
    )


class DecoderSettings(ImageSettings):
    """A decoder's last training, on latents as the model makes them."""

    fixed = (*ImageSettings.fixed, "flip", "blend")

    flip: bool = Field(default=False, description="also learn from the mirror image of every head")
    blend: Fraction = Field(
        default=1.0,
        gt=0,
        description="how far from the decoder as it was to the trained one the result lies, weight "
        "by weight (Wortsman et al. 2022, 2109.01903): less keeps more of what it could do",
    )
    remade: Fraction = Field(
        default=0.6,
        description="share of samples whose latent the model made anew out of noise; the others' "
        "is the encoder's",
    )


class UNetSection(Settings):
    """The U-Net but for its inputs and outputs, which follow from latent and conditions."""

    channels: tuple[Positive, ...] = Field(description="channels of each level")
    num_res_blocks: Positive = Field(description="residual blocks of a level")
    attention_levels: tuple[bool, ...] = Field(description="which levels have attention")
    num_head_channels: tuple[int, ...] = Field(
        description="channels of an attention head, by level; 0 where there is none"
    )
    norm_num_groups: Positive = Field(default=32, description="groups of a norm")
    norm_eps: float = Field(default=1e-6, description="added to a norm's variance")

    @model_validator(mode="after")
    def _check(self) -> Self:
        UNetConfig(**self.model_dump())
        return self

    def complete(self, latent_channels: int, conditions: int) -> UNetConfig:
        """The whole configuration; `conditions` is how many numbers there are in the context."""
        return UNetConfig(
            **self.model_dump(),
            in_channels=latent_channels + conditions,
            out_channels=latent_channels,
            context_dim=conditions,
        )


class Emphasis(Settings):
    """What one condition changes, made larger."""

    strength: Rate = Field(description="how much that counts: 1 as trained, more to enlarge it")
    against: float = Field(
        description="the condition's value, in its unit, at which nothing is changed"
    )
    along: dict[str, float] = Field(
        default={},
        description="how much other conditions change along with it, in their units for one of "
        "its unit, so that it changes nothing beside what it should",
    )


class About(Settings):
    """What the model says of itself; what is left out is said from the data."""

    name: str | None = Field(
        default=None, description="the model's name; null: that of the run's folder"
    )
    description: str | None = Field(default=None, description="what it is, in a sentence")
    training_data: str | None = Field(default=None, description="what it was trained on")
    licence: str | None = Field(default=None, description="licence of the weights")
    limitations: str | None = Field(default=None, description="what it is not for")


class DiffusionSettings(_HeadStage):
    """Stage 2."""

    fixed = (
        *_HeadStage.fixed,
        *("schedule", "flip", "explained_weight", "centre", "sampler", "ranges", "about"),
    )

    network: UNetSection = Field(description="the U-Net's architecture")
    schedule: ScheduleConfig = Field(
        default=ScheduleConfig(), description="noise, and what is predicted of it"
    )
    flip: bool = Field(default=False, description="also learn from the mirror image of every head")
    condition_dropout: Part = Field(
        default=0, description="share of samples without conditions, for guidance"
    )
    guidance: Rate | None = Field(
        default=None,
        description="learn from the model to start from, guided with this strength, which then "
        "costs nothing (2210.03142); null: learn from heads",
    )
    emphasis: dict[str, Emphasis] = Field(
        default={},
        description="learn from the model to start from, with what single conditions change made "
        "larger (after 2206.01714): by name, how much, and against which of its values",
    )
    centre: Positive | None = Field(
        default=None,
        description="learn from the model to start from, moved to where heads of the data lie on "
        "the mean: of how many heads of its own that is found",
    )
    min_snr: Rate | None = Field(
        default=None, description="gamma of min-SNR weighting (2303.09556); null: none"
    )
    explained_weight: bool = Field(
        default=False, description="let voxels that the conditions explain count more"
    )
    timestep_power: Rate = Field(
        default=1.0,
        description="timesteps are T u^this, u uniform: above 1, little noise is drawn more often",
    )
    sampler: SamplerName | None = Field(
        default=None,
        description="with which heads are sampled unless another is asked for; null: as those of "
        "the model to start from, or unipc",
    )
    pairs: bool = Field(
        default=False,
        description="two heads of a group at a time, under one noise, so that what conditions "
        "change stands out; batch_size counts pairs",
    )
    ranges: dict[str, tuple[float, float]] = Field(
        default={},
        description="ends of a condition's scale, by name, in place of the data's",
    )
    about: About = Field(default=About(), description="what the model says of itself")

    @property
    def taught(self) -> bool:
        """Whether a model is learned from, and not heads."""
        return self.guidance is not None or bool(self.emphasis) or self.centre is not None

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.pairs and not self.training.group:
            raise ValueError(
                "pairs needs training.group, the column that says who belongs together"
            )
        if self.emphasis and self.condition_dropout:
            raise ValueError(
                "emphasis needs conditions in all samples: leave out condition_dropout"
            )
        if self.centre and (self.emphasis or self.guidance is not None):
            raise ValueError(
                "centre is measured on the model as it is: teach guidance and emphasis to it in a "
                "training of their own first"
            )
        return self


class Preset(Settings):
    """All stages, or some of them."""

    autoencoder: AutoencoderSettings | None = None
    diffusion: DiffusionSettings | None = None
    decoder: DecoderSettings | None = None
