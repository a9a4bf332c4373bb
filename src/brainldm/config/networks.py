"""The networks, the noise that one of them takes away, and the latents between them."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from brainldm.config.base import LEVELS, Config, Few, Positive


class AutoencoderConfig(Config):
    """The KL autoencoder (no attention), with MONAI's names; the defaults are the paper's."""

    in_channels: Positive = Field(default=1, description="channels of an image")
    out_channels: Positive = Field(default=1, description="channels of a reconstruction")
    channels: tuple[Positive, ...] = Field(
        default=(64, 128, 128, 128),
        min_length=1,
        max_length=LEVELS,
        description="channels of each level, from fine to coarse",
    )
    latent_channels: Positive = Field(default=3, description="channels of a latent")
    num_res_blocks: Few = Field(default=2, description="residual blocks of a level")
    norm_num_groups: Positive = Field(default=32, description="groups of a norm")
    norm_eps: float = Field(default=1e-6, ge=0, description="added to a norm's variance")

    @property
    def factor(self) -> int:
        """How many voxels a side go into one latent voxel."""
        return int(2 ** (len(self.channels) - 1))

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_groups(self.channels, self.norm_num_groups)
        return self


class UNetConfig(Config):
    """The diffusion U-Net (residual up- and downsampling, cross-attention to one context token).

    `in_channels` counts the latent channels and one broadcast channel a condition;
    `num_head_channels` is the width of an attention head at each level, 0 where there is none.
    """

    in_channels: Positive = 7
    out_channels: Positive = 3
    channels: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=LEVELS)] = (
        256,
        512,
        768,
    )
    num_res_blocks: Few = 2
    attention_levels: tuple[bool, ...] = (False, True, True)
    num_head_channels: tuple[Annotated[int, Field(ge=0)], ...] = (0, 512, 768)
    context_dim: Positive = 4
    norm_num_groups: Positive = 32
    norm_eps: Annotated[float, Field(ge=0)] = 1e-6

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


class SegmenterConfig(Config):
    """The network that labels heads."""

    channels: tuple[Positive, ...] = Field(
        default=(24, 48, 96, 128),
        min_length=1,
        max_length=LEVELS,
        description="channels of each level, from blocks of 2 x 2 x 2 voxels to coarse",
    )
    blocks: tuple[Few, ...] = Field(
        default=(1, 1, 2, 2), description="residual blocks of each level, on the way down"
    )
    norm_num_groups: Positive = Field(default=8, description="groups of a norm")
    structures: Positive = Field(description="structures told apart, with what is none")

    @property
    def factor(self) -> int:
        """The number that each side of an image must be a multiple of."""
        return int(2 ** len(self.channels))

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.blocks) != len(self.channels):
            raise ValueError(
                f"blocks needs one entry for each of the {len(self.channels)} levels in channels, "
                f"not {len(self.blocks)}"
            )
        _check_groups(self.channels, self.norm_num_groups)
        return self


class ScheduleConfig(Config):
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


class LatentConfig(Config):
    """The latent's shape (C, X, Y, Z); the diffusion works on `scale` times the encoder's."""

    shape: tuple[Positive, Positive, Positive, Positive] = (3, 20, 28, 20)
    scale: Annotated[float, Field(gt=0)] = 1.0


def _check_groups(channels: tuple[int, ...], groups: int) -> None:
    if any(width % groups for width in channels):
        raise ValueError(f"channels {channels} are not all multiples of norm_num_groups {groups}")
