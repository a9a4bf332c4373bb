"""What a model is: architecture, noise schedule, latent space, conditions, geometry, provenance.

A `ModelConfig` is saved as `config.json` beside the weights; a model without it does not load. The
published model's (Pinaya et al. 2022, arXiv 2209.07162) ships. Nothing here imports torch.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from brainldm.errors import ModelError

Positive = Annotated[int, Field(gt=0)]
Row = tuple[float, float, float, float]
_PUBLISHED = Path(__file__).with_name("weights") / "published" / "config.json"


class _Config(BaseModel):
    """Frozen, and an unknown key is an error: a typing mistake must not pass as a default."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class AutoencoderConfig(_Config):
    """The KL autoencoder (no attention), with MONAI's names; the defaults are the paper's."""

    in_channels: Positive = Field(default=1, description="channels of an image")
    out_channels: Positive = Field(default=1, description="channels of a reconstruction")
    channels: tuple[Positive, ...] = Field(
        default=(64, 128, 128, 128), description="channels of each level, from fine to coarse"
    )
    latent_channels: Positive = Field(default=3, description="channels of a latent")
    num_res_blocks: Positive = Field(default=2, description="residual blocks of a level")
    norm_num_groups: Positive = Field(default=32, description="groups of a norm")
    norm_eps: float = Field(default=1e-6, description="added to a norm's variance")

    @property
    def factor(self) -> int:
        """How many voxels a side go into one latent voxel."""
        return int(2 ** (len(self.channels) - 1))

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_groups(self.channels, self.norm_num_groups)
        return self


class UNetConfig(_Config):
    """The diffusion U-Net (residual up- and downsampling, cross-attention to one context token).

    `in_channels` counts the latent channels and one broadcast channel a condition;
    `num_head_channels` is the width of an attention head at each level, 0 where there is none.
    """

    in_channels: Positive = 7
    out_channels: Positive = 3
    channels: tuple[Positive, ...] = (256, 512, 768)
    num_res_blocks: Positive = 2
    attention_levels: tuple[bool, ...] = (False, True, True)
    num_head_channels: tuple[Annotated[int, Field(ge=0)], ...] = (0, 512, 768)
    context_dim: Positive = 4
    norm_num_groups: Positive = 32
    norm_eps: float = 1e-6

    @property
    def factor(self) -> int:
        """The number that each side of the latent must be a multiple of."""
        return int(2 ** (len(self.channels) - 1))

    @model_validator(mode="after")
    def _check(self) -> Self:
        levels = len(self.channels)
        if len(self.attention_levels) != levels or len(self.num_head_channels) != levels:
            raise ValueError(
                f"attention_levels and num_head_channels need one entry for each of the {levels} "
                f"levels in channels, not {len(self.attention_levels)} and "
                f"{len(self.num_head_channels)}"
            )
        for level, (channels, attention, head) in enumerate(
            zip(self.channels, self.attention_levels, self.num_head_channels, strict=True)
        ):
            if attention and (head == 0 or channels % head):
                raise ValueError(
                    f"level {level} has attention over {channels} channels, "
                    f"which heads of {head} channels do not divide"
                )
        _check_groups(self.channels, self.norm_num_groups)
        return self


class ScheduleConfig(_Config):
    """The noise the U-Net was trained with, and what it predicts."""

    num_train_timesteps: Positive = Field(default=1000, description="timesteps, T")
    beta_start: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.0015, description="variance of the noise that the first timestep adds"
    )
    beta_end: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.0205, description="variance of the noise that the last one adds"
    )
    kind: Literal["scaled_linear"] = Field(
        default="scaled_linear", description="how the variances rise: linear in their square root"
    )
    prediction: Literal["epsilon", "v", "flow"] = Field(
        default="epsilon",
        description="what the U-Net predicts: epsilon, the noise, or the velocity v or flow",
    )


class LatentConfig(_Config):
    """The latent's shape (C, X, Y, Z); the diffusion works on `scale` times the encoder's."""

    shape: tuple[Positive, Positive, Positive, Positive] = (3, 20, 28, 20)
    scale: Annotated[float, Field(gt=0)] = 1.0


class Bernoulli(_Config):
    """1 with `probability`, else 0."""

    kind: Literal["bernoulli"] = "bernoulli"
    probability: Annotated[float, Field(ge=0, le=1)]
    source: str


class Normal(_Config):
    """Normal, truncated to the variable's range."""

    kind: Literal["normal"] = "normal"
    mean: float
    sd: Annotated[float, Field(gt=0)]
    source: str


class LogNormal(_Config):
    """Lognormal, truncated to the variable's range; `sd` is that of the natural logarithm."""

    kind: Literal["lognormal"] = "lognormal"
    median: Annotated[float, Field(gt=0)]
    sd: Annotated[float, Field(gt=0)]
    source: str


class Categorical(_Config):
    """One of more than two labels, each with its probability."""

    kind: Literal["categorical"] = "categorical"
    probabilities: tuple[Annotated[float, Field(ge=0, le=1)], ...]
    source: str


class Uniform(_Config):
    """Uniform over the variable's range."""

    kind: Literal["uniform"] = "uniform"
    source: str


Distribution = Annotated[
    Bernoulli | Categorical | Normal | LogNormal | Uniform, Field(discriminator="kind")
]


class Variable(_Config):
    """One condition: `low` and `high`, in `unit`, are what the network sees as 0 and 1.

    `distribution` is what a condition that the user leaves out is drawn from, and its `source`
    says where it comes from. A category has `labels`: those of 0 and of 1, or more than two, each
    of which is then a number of the context that is 1 where the label holds and else 0.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
    unit: str = ""
    kind: Literal["category", "continuous"] = "continuous"
    low: float = 0.0
    high: float = 1.0
    labels: Annotated[tuple[str, ...], Field(min_length=2)] | None = None
    distribution: Distribution

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of its numbers in the context: its own, or one for each of many labels."""
        if self.labels is None or len(self.labels) == 2:
            return (self.name,)
        return tuple(f"{self.name}={label}" for label in self.labels)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"{self.name}: low {self.low} is not below high {self.high}")
        if (self.kind == "category") != (self.labels is not None):
            raise ValueError(f"{self.name}: a category needs labels, and nothing else has them")
        if self.labels is not None and len(set(self.labels)) < len(self.labels):
            raise ValueError(f"{self.name}: labels are there twice: {', '.join(self.labels)}")
        needed = {0: None, 2: "bernoulli"}.get(len(self.labels or ()), "categorical")
        kind = self.distribution.kind
        if needed != (kind if kind in ("bernoulli", "categorical") else None):
            raise ValueError(
                f"{self.name}: a category of two labels needs a bernoulli distribution, one of "
                "more a categorical one, and nothing else has either"
            )
        if isinstance(self.distribution, Categorical):
            chances = self.distribution.probabilities
            if len(chances) != len(self.columns) or not math.isclose(sum(chances), 1, abs_tol=1e-6):
                raise ValueError(f"{self.name}: each label needs a probability, with the sum 1")
        if self.distribution.kind == "lognormal" and self.low <= 0:
            raise ValueError(f"{self.name}: a lognormal distribution needs a low above 0")
        return self


class ModelConfig(_Config):
    """Everything about a model but its weights.

    `affine` takes a voxel (i, j, k) to millimetres of MNI152 space (RAS+), `shape` is (X, Y, Z)
    in voxels, `provenance` has at least a `description` and a `licence`, `weights` maps a file
    name to its SHA-256, and `hash` identifies the weights in any format or precision.
    `null_context` is what all conditions are for a head of no conditions in particular, None if
    the model was not trained with such.
    """

    name: str
    autoencoder: AutoencoderConfig
    unet: UNetConfig
    schedule: ScheduleConfig
    latent: LatentConfig
    conditions: tuple[Variable, ...]
    affine: tuple[Row, Row, Row, Row]
    shape: tuple[Positive, Positive, Positive]
    provenance: dict[str, str]
    null_context: float | None = None
    weights: dict[str, str] = {}
    hash: str = ""

    @classmethod
    def from_json(cls, text: str, where: str) -> Self:
        """Read a configuration; `where` names its origin in an error.

        Raises:
            ModelError: not JSON, an unknown key, or a value that is missing or wrong; every
                one is listed with its path.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            lines = [
                f"  {'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors()
            ]
            raise ModelError(
                f"{where} does not describe a brainldm model:\n" + "\n".join(lines) + "\n"
                "Convert the original weights again with `brainldm convert`, or correct the file."
            ) from error

    def to_json(self) -> str:
        """The text of `config.json`."""
        return self.model_dump_json(indent=2) + "\n"

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [variable.name for variable in self.conditions]
        if len(set(names)) < len(names):
            raise ValueError(f"conditions have names of their own each, not {names}")
        latent, grid = self.latent.shape[0], self.latent.shape[1:]
        numbers = sum(len(variable.columns) for variable in self.conditions)
        widths = {
            "autoencoder.latent_channels": (self.autoencoder.latent_channels, latent),
            "unet.out_channels": (self.unet.out_channels, latent),
            "unet.in_channels": (self.unet.in_channels, latent + numbers),
            "unet.context_dim": (self.unet.context_dim, numbers),
        }
        for field, (got, expected) in widths.items():
            if got != expected:
                raise ValueError(
                    f"{field} is {got}, but a latent of {latent} channels and {numbers} "
                    f"conditions need {expected}"
                )
        expected_shape = tuple(side * self.autoencoder.factor for side in grid)
        if self.shape != expected_shape:
            raise ValueError(
                f"shape is {self.shape}, but the latent {grid} decodes to {expected_shape}"
            )
        if any(side % self.unet.factor for side in grid):
            raise ValueError(
                f"latent.shape is {self.latent.shape}, but the U-Net needs sides that are "
                f"multiples of {self.unet.factor}"
            )
        if self.affine[3] != (0, 0, 0, 1) or math.isclose(_determinant(self.affine), 0):
            raise ValueError(f"affine must be invertible with last row 0 0 0 1, not {self.affine}")
        missing = {"description", "licence"} - self.provenance.keys()
        if missing:
            raise ValueError(f"provenance lacks {' and '.join(sorted(missing))}")
        return self


def _check_groups(channels: tuple[int, ...], groups: int) -> None:
    if any(width % groups for width in channels):
        raise ValueError(f"channels {channels} are not all multiples of norm_num_groups {groups}")


def _determinant(affine: tuple[Row, ...]) -> float:
    (a, b, c, _), (d, e, f, _), (g, h, i, _) = affine[:3]
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)


@cache
def published_config() -> ModelConfig:
    """The model of Pinaya et al. 2022, from the file that ships; its weights need not be there."""
    return ModelConfig.from_json(_PUBLISHED.read_text(encoding="utf-8"), str(_PUBLISHED))
