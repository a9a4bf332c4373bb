"""The settings of both stages, read from a preset and changed on the command line.

A preset is a YAML file with a section for each stage; a key that does not exist is an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from brainldm.config import AutoencoderConfig, ScheduleConfig, UNetConfig
from brainldm.errors import BrainLDMError, require

Positive = Annotated[int, Field(gt=0)]
Rate = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Training(_Settings):
    """How long and how fast; all of it decides what the weights become.

    `batch_size` counts all processes. The learning rate rises over `warmup` steps and falls to 0
    over the last `fall` of all. `ema_decay` is how much of the averaged weights a step keeps (less
    at the start), 0 for none. `held_out` is the share of subjects kept for validation.
    """

    steps: Positive
    batch_size: Positive = 1
    learning_rate: Rate
    warmup: Annotated[int, Field(ge=0)] = 0
    fall: Fraction = 0
    beta2: Annotated[float, Field(gt=0, lt=1)] = 0.999
    weight_decay: Weight = 0
    gradient_norm: Rate = 1
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "float32"
    seed: Annotated[int, Field(ge=0)] = 0
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.02


class Running(_Settings):
    """How it is run, which changes the weights by no more than rounding.

    `micro_batch` is how many samples a process takes at a time (all of its share if None);
    `checkpointing` computes activations twice instead of keeping them. `save_every` and
    `validate_every` are in steps; `validate_on` is how many held-out subjects are looked at, and
    `samples` how many heads stage 2 generates to see whether they follow their conditions.
    """

    micro_batch: Positive | None = None
    checkpointing: bool = False
    workers: Positive = 2
    save_every: Positive = 500
    validate_every: Positive = 1000
    validate_on: Positive = 16
    samples: Positive = 16
    sample_steps: Positive = 16
    tracker: str = "tensorboard"


class Perceptual(_Settings):
    """MONAI's PerceptualLoss on a quarter of the slices, with a ResNet-50 from `file`.

    `file` is a state dict of torchvision's ResNet-50; without it the loss is left out.
    """

    weight: Rate
    file: str | None = None


class Adversarial(_Settings):
    """Least-squares patch discriminator (MONAI's), which learns from step `start` on."""

    weight: Rate
    start: Annotated[int, Field(ge=0)] = 0
    layers: Positive = 3
    channels: Positive = 64
    learning_rate: Rate


class AutoencoderLoss(_Settings):
    """Weights of the parts beside L1, which counts 1.

    Errors below `beta` count by their square. `gradient` is the L1 of differences between
    neighbouring voxels; it stands in for a perceptual loss that has no weights, and is left out
    where there is one. `kl` is summed over the latent, and the mean over the batch.
    """

    beta: Weight = 0
    gradient: Weight = 0
    kl: Weight = 1e-8
    perceptual: Perceptual | None = None
    adversarial: Adversarial | None = None

    @property
    def gradient_weight(self) -> float:
        """Of the gradient loss, which gives way to a perceptual one."""
        return 0.0 if self.perceptual and self.perceptual.file else self.gradient


class Augment(_Settings):
    """What is drawn anew each time a head is seen.

    Mirror images, rotations (degrees) and shifts (voxels) and scalings up to these, and changes of
    intensity: a factor and a power within 1 +- `intensity`.
    """

    flip: bool = False
    rotate: Weight = 0
    shift: Weight = 0
    scale: Annotated[float, Field(ge=0, lt=1)] = 0
    intensity: Annotated[float, Field(ge=0, lt=1)] = 0


class AutoencoderSettings(_Settings):
    """Stage 1.

    `crop` is the size of a random part of a head to see at a step, multiples of the network's
    factor: much quicker than whole heads (None), but the group norms average over all that they
    see, so whole heads must have the last word. `gentle_output` lets the last convolution learn at
    a tenth of the rate.
    """

    network: AutoencoderConfig
    loss: AutoencoderLoss = AutoencoderLoss()
    augment: Augment = Augment()
    crop: tuple[Positive, Positive, Positive] | None = None
    gentle_output: bool = False
    training: Training
    run: Running = Running()


class UNetSection(_Settings):
    """The U-Net but for its inputs and outputs, which follow from latent and conditions."""

    channels: tuple[Positive, ...]
    num_res_blocks: Positive
    attention_levels: tuple[bool, ...]
    num_head_channels: tuple[int, ...]
    norm_num_groups: Positive = 32
    norm_eps: float = 1e-6

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


class DiffusionSettings(_Settings):
    """Stage 2.

    `flip` adds the mirror image of every head. `condition_dropout` is how often all conditions are
    replaced by `NULL_CONTEXT`. `min_snr` is the gamma of Hang et al. 2023 (2303.09556), or None.
    `explained_weight` lets voxels that the conditions explain count more. Timesteps are T u to
    `timestep_power`, u uniform: above 1, little noise comes more often.
    """

    network: UNetSection
    schedule: ScheduleConfig = ScheduleConfig()
    flip: bool = False
    condition_dropout: Annotated[float, Field(ge=0, lt=1)] = 0
    min_snr: Rate | None = None
    explained_weight: bool = False
    timestep_power: Rate = 1.0
    training: Training
    run: Running = Running()


class Preset(_Settings):
    """Both stages."""

    autoencoder: AutoencoderSettings
    diffusion: DiffusionSettings


Stage = TypeVar("Stage", AutoencoderSettings, DiffusionSettings)


def preset_names() -> list[str]:
    """The presets that ship with the package."""
    folder = resources.files("brainldm.train") / "presets"
    return sorted(file.name.removesuffix(".yaml") for file in folder.iterdir())


def load_settings(preset: str, stage: type[Stage], changes: Sequence[str] = ()) -> Stage:
    """A stage's settings.

    Args:
        preset: a name of `preset_names`, or a YAML file.
        stage: `AutoencoderSettings` or `DiffusionSettings`.
        changes: such as "training.learning_rate=1e-4"; the value is YAML.

    Raises:
        BrainLDMError: no such preset, a key that does not exist, or a wrong value, each with its
            path.
    """
    content = _read(preset)
    section = "autoencoder" if stage is AutoencoderSettings else "diffusion"
    for change in changes:
        _apply(content.setdefault(section, {}), change)
    try:
        settings: Stage = getattr(Preset.model_validate(content), section)
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise BrainLDMError(
            f"The settings of {preset} are wrong:\n" + "\n".join(lines) + "\nCorrect the preset or "
            "the --set options; --dry-run prints all settings."
        ) from error
    return settings


def to_yaml(settings: BaseModel) -> str:
    """Settings as text, as a preset has them."""
    text: str = _yaml().safe_dump(settings.model_dump(mode="json"), sort_keys=False, width=88)
    return text


def _read(preset: str) -> dict[str, Any]:
    yaml = _yaml()
    shipped = resources.files("brainldm.train") / "presets" / f"{preset}.yaml"
    try:
        if "/" not in preset and shipped.is_file():
            text = shipped.read_text(encoding="utf-8")
        else:
            text = Path(preset).read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BrainLDMError(
            f"Cannot read the preset {preset}: {error}. Expected one of "
            f"{', '.join(preset_names())}, or a YAML file like theirs."
        ) from error
    if not isinstance(content, dict):
        raise BrainLDMError(
            f"{preset} is not a preset: expected the sections autoencoder and diffusion."
        )
    return content


def _apply(section: Any, change: str) -> None:
    key, equals, text = change.partition("=")
    yaml = _yaml()
    *path, last = key.strip().split(".")
    try:
        if not (equals and last):
            raise ValueError
        value = yaml.safe_load(text)
        for name in path:
            if section.get(name) is None:
                section[name] = {}
            section = section[name]
        section[last] = value
    except (ValueError, TypeError, AttributeError, yaml.YAMLError):
        raise BrainLDMError(
            f"Cannot use --set {change}: expected KEY=VALUE with a key of the settings that "
            "--dry-run prints, for instance training.learning_rate=1e-4."
        ) from None


def _yaml() -> Any:
    require("train", "Training", "yaml")
    import yaml

    return yaml
