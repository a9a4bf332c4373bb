"""Layers that both networks share. Tensors are (B, C, X, Y, Z)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class Conv(nn.Module):
    """A 3-D convolution of odd kernel size that keeps the grid, as the parameter `conv`.

    MONAI wraps each convolution in a block of that name; the wrapper keeps the weights
    interchangeable.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv3d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, X, Y, Z) -> (B, out_channels, X, Y, Z)."""
        y: Tensor = self.conv(x)
        return y


def upsample(x: Tensor) -> Tensor:
    """Nearest-neighbour upsampling by two: (B, C, X, Y, Z) -> (B, C, 2X, 2Y, 2Z)."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def zero(module: Conv) -> Conv:
    """Start a convolution at zero, so that the block it ends begins as the identity."""
    nn.init.zeros_(module.conv.weight)
    assert module.conv.bias is not None  # for the type checker: Conv always has one
    nn.init.zeros_(module.conv.bias)
    return module
