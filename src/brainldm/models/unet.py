"""The diffusion U-Net of Pinaya et al. 2022 (arXiv 2209.07162) on latents.

Residual blocks that take the time step, which also halve and double the grid; at the lower levels
a transformer block after each. The conditions enter as channels of the input and as the one token
of the cross-attention. Numerically MONAI's `DiffusionModelUNet` with `with_conditioning` and
`resblock_updown`.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Real
from torch import Tensor, nn
from torch.nn import functional as F

from brainldm.config import UNetConfig
from brainldm.models.attention import SpatialTransformer
from brainldm.models.layers import Conv, downsample, upsample, upsampled, zero
from brainldm.models.norm import GroupNorm
from brainldm.models.sizes import check_sides


def timestep_embedding(timesteps: Real[Tensor, " b"], width: int) -> Float[Tensor, "b w"]:
    """Sinusoidal embedding of time steps (Ho et al. 2020, 2006.11239): (B,) -> (B, width)."""
    half = width // 2
    frequencies = torch.exp(
        -math.log(10000) * torch.arange(half, dtype=torch.float32, device=timesteps.device) / half
    )
    angles = timesteps[:, None].float() * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def with_context(
    z: Float[Tensor, "b c x y z"], context: Float[Tensor, "b n"]
) -> tuple[Float[Tensor, "b c+n x y z"], Float[Tensor, "b 1 n"]]:
    """The two ways in which conditions enter the network.

    Args:
        z: noisy latents, (B, C, X, Y, Z).
        context: the conditions in [0, 1], (B, N).

    Returns:
        The latents and a constant channel for each condition, (B, C + N, X, Y, Z), and the one
        token of the cross-attention, (B, 1, N).
    """
    channels = context[:, :, None, None, None].expand(-1, -1, *z.shape[2:])
    return torch.cat([z, channels], dim=1), context[:, None]


class ResBlock(nn.Module):
    """Two convolutions with the time step added between them, beside a shortcut.

    Args:
        resample: "up" or "down" doubles or halves the grid after the first norm.
    """

    def __init__(
        self, c: UNetConfig, in_channels: int, out_channels: int, resample: str | None = None
    ) -> None:
        super().__init__()
        self.resample = resample
        self.norm1 = GroupNorm(c.norm_num_groups, in_channels, c.norm_eps)
        self.conv1 = Conv(in_channels, out_channels)
        self.time_emb_proj = nn.Linear(4 * c.channels[0], out_channels)
        self.norm2 = GroupNorm(c.norm_num_groups, out_channels, c.norm_eps)
        self.conv2 = zero(Conv(out_channels, out_channels))
        self.skip_connection = (
            nn.Identity() if in_channels == out_channels else Conv(in_channels, out_channels, 1)
        )

    def forward(
        self, x: Float[Tensor, "b c x y z"], time: Float[Tensor, "b t"]
    ) -> Float[Tensor, "b o i j k"]:
        """x (B, in_channels, X, Y, Z), time (B, 4 * channels[0]) after its SiLU."""
        h = self.norm1(x, silu=True)
        if self.resample == "up":
            x, h = upsample(x), upsampled(h, self.conv1)
        elif self.resample == "down":
            x, h = downsample(x), self.conv1(downsample(h))
        else:
            h = self.conv1(h)
        h = h + self.time_emb_proj(time)[:, :, None, None, None]
        h = self.conv2(self.norm2(h, silu=True))
        y: Tensor = self.skip_connection(x) + h
        return y


class DownBlock(nn.Module):
    """One level of the way down: residual blocks, then half the grid unless it is the last."""

    def __init__(self, c: UNetConfig, level: int) -> None:
        super().__init__()
        channels = c.channels[level]
        incoming = [c.channels[max(level - 1, 0)]] + [channels] * (c.num_res_blocks - 1)
        self.resnets = nn.ModuleList(ResBlock(c, width, channels) for width in incoming)
        if c.attention_levels[level]:
            self.attentions = nn.ModuleList(SpatialTransformer(c, level) for _ in incoming)
        if level < len(c.channels) - 1:
            self.downsampler = ResBlock(c, channels, channels, "down")
        self.attends = c.attention_levels[level]
        self.resamples = level < len(c.channels) - 1

    def forward(
        self,
        h: Float[Tensor, "b c x y z"],
        time: Float[Tensor, "b t"],
        context: Float[Tensor, "b m n"],
    ) -> list[Tensor]:
        """Every result on the way; the last one goes on down."""
        results = []
        for i, resnet in enumerate(self.resnets):
            h = resnet(h, time)
            if self.attends:
                h = self.attentions[i](h, context)
            results.append(h)
        if self.resamples:
            results.append(self.downsampler(h, time))
        return results


class MiddleBlock(nn.Module):
    """Residual block, transformer, residual block at the lowest level."""

    def __init__(self, c: UNetConfig) -> None:
        super().__init__()
        level = len(c.channels) - 1
        self.resnet_1 = ResBlock(c, c.channels[level], c.channels[level])
        self.attention = SpatialTransformer(c, level)
        self.resnet_2 = ResBlock(c, c.channels[level], c.channels[level])

    def forward(
        self,
        h: Float[Tensor, "b c x y z"],
        time: Float[Tensor, "b t"],
        context: Float[Tensor, "b m n"],
    ) -> Float[Tensor, "b c x y z"]:
        """(B, C, X, Y, Z) -> (B, C, X, Y, Z)."""
        h = self.attention(self.resnet_1(h, time), context)
        y: Tensor = self.resnet_2(h, time)
        return y


class UpBlock(nn.Module):
    """One level of the way up, which takes the results of the way down last in, first out."""

    def __init__(self, c: UNetConfig, level: int) -> None:
        super().__init__()
        channels = c.channels[level]
        below = c.channels[min(level + 1, len(c.channels) - 1)]
        above = c.channels[max(level - 1, 0)]
        incoming = [below] + [channels] * c.num_res_blocks
        skips = [channels] * c.num_res_blocks + [above]
        self.resnets = nn.ModuleList(
            ResBlock(c, width + skip, channels) for width, skip in zip(incoming, skips, strict=True)
        )
        if c.attention_levels[level]:
            self.attentions = nn.ModuleList(SpatialTransformer(c, level) for _ in incoming)
        if level > 0:
            self.upsampler = ResBlock(c, channels, channels, "up")
        self.attends = c.attention_levels[level]
        self.resamples = level > 0

    def forward(
        self,
        h: Float[Tensor, "b c x y z"],
        skips: list[Tensor],
        time: Float[Tensor, "b t"],
        context: Float[Tensor, "b m n"],
    ) -> Float[Tensor, "b o i j k"]:
        """(B, below, X, Y, Z) -> (B, channels, ...), removing from `skips` what it uses."""
        for i, resnet in enumerate(self.resnets):
            h = resnet(torch.cat([h, skips.pop()], dim=1), time)
            if self.attends:
                h = self.attentions[i](h, context)
        return self.upsampler(h, time) if self.resamples else h


class DiffusionUNet(nn.Module):
    """Predicts noise (or velocity) in latents under conditions.

    Args:
        config: channels, blocks, attention and norms.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        c = config
        width = c.channels[0]
        self.conv_in = Conv(c.in_channels, width)
        self.width = width
        self.factor = c.factor
        self.time_embed = nn.Sequential(
            nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, 4 * width)
        )
        levels = range(len(c.channels))
        self.down_blocks = nn.ModuleList(DownBlock(c, level) for level in levels)
        self.middle_block = MiddleBlock(c)
        self.up_blocks = nn.ModuleList(UpBlock(c, level) for level in reversed(levels))
        self.out = nn.Sequential(
            GroupNorm(c.norm_num_groups, width, c.norm_eps),
            nn.SiLU(),
            zero(Conv(width, c.out_channels)),
        )

    def forward(
        self,
        x: Float[Tensor, "b c x y z"],
        timesteps: Real[Tensor, " b"],
        context: Float[Tensor, "b m n"],
    ) -> Float[Tensor, "b o x y z"]:
        """Evaluate the network.

        Args:
            x: (B, in_channels, X, Y, Z), noisy latents and the conditions as constant channels;
                each side a multiple of 2 ** (levels - 1).
            timesteps: (B,), integers from 0.
            context: (B, M, context_dim), the conditions as one token (M = 1).

        Returns:
            (B, out_channels, X, Y, Z).

        Raises:
            DataError: a side that is not such a multiple.
        """
        check_sides(x.shape[2:], self.factor, "The latent")
        embedding = timestep_embedding(timesteps, self.width)
        time = F.silu(self.time_embed(embedding.to(x.dtype)))
        h = self.conv_in(x)
        skips = [h]
        for down in self.down_blocks:
            skips.extend(down(h, time, context))
            h = skips[-1]
        h = self.middle_block(h, time, context)
        for up in self.up_blocks:
            h = up(h, skips, time, context)
        y: Tensor = self.out(h)
        return y
