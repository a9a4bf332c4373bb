"""The KL-regularised autoencoder of Pinaya et al. 2022 (arXiv 2209.07162).

Residual blocks, no attention; each level but the last halves the grid, so that the published model
maps (B, 1, 160, 224, 160) to (B, 3, 20, 28, 20). Numerically MONAI's `AutoencoderKL` without
attention.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from brainldm.config import AutoencoderConfig
from brainldm.models.layers import Conv, upsampled
from brainldm.models.norm import GroupNorm
from brainldm.models.sizes import check_sides


class ResBlock(nn.Module):
    """Two convolutions, each after GroupNorm and SiLU, beside a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, groups: int, eps: float) -> None:
        super().__init__()
        self.norm1 = GroupNorm(groups, in_channels, eps)
        self.conv1 = Conv(in_channels, out_channels)
        self.norm2 = GroupNorm(groups, out_channels, eps)
        self.conv2 = Conv(out_channels, out_channels)
        self.nin_shortcut = (
            nn.Identity() if in_channels == out_channels else Conv(in_channels, out_channels, 1)
        )

    def forward(self, x: Float[Tensor, "b c x y z"]) -> Float[Tensor, "b o x y z"]:
        """(B, in_channels, X, Y, Z) -> (B, out_channels, X, Y, Z)."""
        # A line for each, so that what a convolution has read is let go before the next one.
        h = self.norm1(x, silu=True)
        h = self.conv1(h)
        h = self.norm2(h, silu=True)
        h = self.conv2(h)
        y: Tensor = self.nin_shortcut(x) + h
        return y


class Downsample(nn.Module):
    """A strided convolution that halves the grid, padded at the far end only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv(channels, channels, stride=2, padding=0)

    def forward(self, x: Float[Tensor, "b c x y z"]) -> Float[Tensor, "b c x//2 y//2 z//2"]:
        """(B, C, X, Y, Z) -> (B, C, X/2, Y/2, Z/2)."""
        y: Tensor = self.conv(F.pad(x, (0, 1, 0, 1, 0, 1)))
        return y


class Upsample(nn.Module):
    """Nearest-neighbour upsampling by two, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.postconv = Conv(channels, channels)

    def forward(self, x: Float[Tensor, "b c x y z"]) -> Float[Tensor, "b c 2*x 2*y 2*z"]:
        """(B, C, X, Y, Z) -> (B, C, 2X, 2Y, 2Z)."""
        return upsampled(x, self.postconv)


class Stack(nn.Module):
    """Blocks one after another, as the parameter list `blocks`."""

    def __init__(self, blocks: Iterator[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Float[Tensor, "b c x y z"]) -> Float[Tensor, "b o i j k"]:
        """Apply every block in turn."""
        for block in self.blocks:
            x = block(x)
        return x


def encoder_blocks(c: AutoencoderConfig) -> Iterator[nn.Module]:
    """The encoder's blocks, (B, in_channels, ...) -> (B, latent_channels, ...)."""
    yield Conv(c.in_channels, c.channels[0])
    width = c.channels[0]
    for level, channels in enumerate(c.channels):
        for _ in range(c.num_res_blocks):
            yield ResBlock(width, channels, c.norm_num_groups, c.norm_eps)
            width = channels
        if level < len(c.channels) - 1:
            yield Downsample(width)
    yield GroupNorm(c.norm_num_groups, width, c.norm_eps)
    yield Conv(width, c.latent_channels)


def decoder_blocks(c: AutoencoderConfig) -> Iterator[nn.Module]:
    """The decoder's blocks, (B, latent_channels, ...) -> (B, out_channels, ...)."""
    width = c.channels[-1]
    yield Conv(c.latent_channels, width)
    for level, channels in enumerate(reversed(c.channels)):
        for _ in range(c.num_res_blocks):
            yield ResBlock(width, channels, c.norm_num_groups, c.norm_eps)
            width = channels
        if level < len(c.channels) - 1:
            yield Upsample(width)
    yield GroupNorm(c.norm_num_groups, width, c.norm_eps)
    yield Conv(width, c.out_channels)


class AutoencoderKL(nn.Module):
    """Encoder, decoder, and a Gaussian posterior between them.

    Args:
        config: channels, blocks and norms; its `factor` is that between image and latent grid.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.factor = config.factor
        self.encoder = Stack(encoder_blocks(config))
        self.decoder = Stack(decoder_blocks(config))
        self.quant_conv_mu = Conv(config.latent_channels, config.latent_channels, 1)
        self.quant_conv_log_sigma = Conv(config.latent_channels, config.latent_channels, 1)
        self.post_quant_conv = Conv(config.latent_channels, config.latent_channels, 1)

    def encode(
        self, x: Float[Tensor, "b c x y z"]
    ) -> tuple[Float[Tensor, "b l i j k"], Float[Tensor, "b l i j k"]]:
        """Mean and standard deviation of the posterior of an image.

        Args:
            x: (B, in_channels, X, Y, Z), each side a multiple of the factor.

        Returns:
            Two tensors (B, latent_channels, X/f, Y/f, Z/f).

        Raises:
            DataError: a side that is not such a multiple.
        """
        check_sides(x.shape[2:], self.factor, "The image")
        h = self.encoder(x)
        mean: Tensor = self.quant_conv_mu(h)
        log_variance = self.quant_conv_log_sigma(h).clamp(-30.0, 20.0)
        return mean, torch.exp(log_variance / 2)

    def decode(self, z: Float[Tensor, "b l i j k"]) -> Float[Tensor, "b c x y z"]:
        """(B, latent_channels, X, Y, Z) -> (B, out_channels, fX, fY, fZ)."""
        x: Tensor = self.decoder(self.post_quant_conv(z))
        return x

    def forward(
        self, x: Float[Tensor, "b c x y z"], noise: Float[Tensor, "b l i j k"] | None = None
    ) -> tuple[Float[Tensor, "b c x y z"], Float[Tensor, "b l i j k"], Float[Tensor, "b l i j k"]]:
        """Reconstruct through one draw of the posterior, as training does.

        Args:
            x: (B, in_channels, X, Y, Z).
            noise: standard normal, (B, latent_channels, X/f, Y/f, Z/f); drawn if None.

        Returns:
            The reconstruction, as large as x, and the posterior's mean and standard deviation.
        """
        mean, sigma = self.encode(x)
        noise = torch.randn_like(sigma) if noise is None else noise
        return self.decode(mean + sigma * noise), mean, sigma
