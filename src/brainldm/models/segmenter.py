"""The network that labels heads: a U-Net on blocks of 2 x 2 x 2 voxels.

The voxels of a block are channels of the input, and the scores of each of them channels of the
output (Shi et al. 2016, 1609.05158), so that nothing is computed at full resolution.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from brainldm.config import SegmenterConfig
from brainldm.models.layers import Conv, zero
from brainldm.models.norm import GroupNorm
from brainldm.models.sizes import check_sides

GAIN = 10.0
"""Of the scores: Adam moves all weights at one pace, and those of the scores have far to go."""


def to_blocks(x: Shaped[Tensor, "b c x y z"]) -> Shaped[Tensor, "b 8*c x//2 y//2 z//2"]:
    """(B, C, X, Y, Z) -> (B, 8 C, X/2, Y/2, Z/2): the voxels of a block become channels."""
    b, c, x_, y, z = x.shape
    blocks = x.view(b, c, x_ // 2, 2, y // 2, 2, z // 2, 2).permute(0, 3, 5, 7, 1, 2, 4, 6)
    return blocks.reshape(b, 8 * c, x_ // 2, y // 2, z // 2)


def from_blocks(x: Shaped[Tensor, "b c x y z"]) -> Shaped[Tensor, "b c//8 2*x 2*y 2*z"]:
    """(B, 8 C, X, Y, Z) -> (B, C, 2X, 2Y, 2Z): the inverse of `to_blocks`."""
    b, c, x_, y, z = x.shape
    voxels = x.view(b, 2, 2, 2, c // 8, x_, y, z).permute(0, 4, 5, 1, 6, 2, 7, 3)
    return voxels.reshape(b, c // 8, 2 * x_, 2 * y, 2 * z)


class Block(nn.Module):
    """Two convolutions, each after GroupNorm and SiLU, beside a shortcut."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = GroupNorm(groups, channels), GroupNorm(groups, channels)
        self.conv1, self.conv2 = Conv(channels, channels), zero(Conv(channels, channels))

    def forward(self, x: Float[Tensor, "b c x y z"]) -> Float[Tensor, "b c x y z"]:
        """(B, C, X, Y, Z) -> the same shape."""
        h = self.conv1(self.norm1(x, silu=True))
        y: Tensor = x + self.conv2(self.norm2(h, silu=True))
        return y


class SegmentationNetwork(nn.Module):
    """An image at 1 mm to scores of structures, and of the side that they are on.

    Args:
        config: channels and blocks of each level, and how many structures.
    """

    def __init__(self, config: SegmenterConfig) -> None:
        super().__init__()
        channels, groups = config.channels, config.norm_num_groups
        self.factor = config.factor
        self.conv_in = Conv(8, channels[0])
        self.down_blocks = nn.ModuleList(
            nn.Sequential(*(Block(width, groups) for _ in range(count)))
            for width, count in zip(channels, config.blocks, strict=True)
        )
        pairs = list(pairwise(channels))
        self.downsamplers = nn.ModuleList(nn.Conv3d(a, b, 2, 2) for a, b in pairs)
        self.upsamplers = nn.ModuleList(nn.ConvTranspose3d(b, a, 2, 2) for a, b in pairs)
        self.up_blocks = nn.ModuleList(Block(width, groups) for width in channels[:-1])
        self.norm_out = GroupNorm(groups, channels[0])
        self.conv_out = zero(Conv(channels[0], 8 * (config.structures + 1), 1))

    def forward(self, x: Float[Tensor, "b 1 x y z"]) -> Float[Tensor, "b o x//2 y//2 z//2"]:
        """Evaluate the network.

        Args:
            x: (B, 1, X, Y, Z); each side a multiple of the factor.

        Returns:
            In blocks (`from_blocks` undoes it): the scores of the structures before their softmax,
            and, last, that of the right side before its sigmoid, (B, 8 (K + 1), X/2, Y/2, Z/2).

        Raises:
            DataError: a side that is not such a multiple.
        """
        check_sides(x.shape[2:], self.factor, "The image")
        h = self.conv_in(to_blocks(x).contiguous(memory_format=torch.channels_last_3d))
        skips: list[Tensor] = []
        for level, block in enumerate(self.down_blocks):
            h = block(h)
            if level < len(self.downsamplers):
                skips.append(h)
                h = self.downsamplers[level](h)
        for level in reversed(range(len(self.upsamplers))):
            h = self.up_blocks[level](self.upsamplers[level](h) + skips.pop())
        return self._scores(self.norm_out(h, silu=True))

    def _scores(self, h: Float[Tensor, "b c x y z"]) -> Float[Tensor, "b o x y z"]:
        """The last convolution, as the product of matrices that it is: quick, channels last."""
        weight, bias = (GAIN * each for each in self.conv_out.parameters())
        rows = F.linear(h.movedim(1, -1), weight.flatten(1), bias)
        return rows.movedim(-1, 1)
