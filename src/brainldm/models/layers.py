"""Layers that both networks share. Tensors are (B, C, X, Y, Z)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class Conv(nn.Module):
    """A 3-D convolution as the parameter `conv`; by default one that keeps the grid.

    MONAI wraps each convolution in a block of that name; the wrapper keeps the weights
    interchangeable.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        padding: int | None = None,
    ) -> None:
        super().__init__()
        padding = kernel_size // 2 if padding is None else padding
        self.conv = nn.Conv3d(in_channels, out_channels, kernel_size, stride, padding)

    def forward(self, x: Float[Tensor, "b c x y z"]) -> Float[Tensor, "b o i j k"]:
        """(B, in_channels, X, Y, Z) -> (B, out_channels, X, Y, Z) at stride 1."""
        y: Tensor = self.conv(x)
        return y


def upsample(x: Float[Tensor, "b c x y z"]) -> Float[Tensor, "b c 2*x 2*y 2*z"]:
    """Nearest-neighbour upsampling by two: (B, C, X, Y, Z) -> (B, C, 2X, 2Y, 2Z)."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def upsampled(x: Float[Tensor, "b c x y z"], conv: Conv) -> Float[Tensor, "b o 2*x 2*y 2*z"]:
    """A convolution that keeps the grid, after nearest-neighbour upsampling by two.

    Args:
        x: (B, C, X, Y, Z).
        conv: 3 x 3 x 3.
    """
    inner = conv.conv
    # Not where something else stands in its place, such as a layer with low-rank changes.
    if x.device.type == "cpu" and type(inner) is nn.Conv3d:
        return F.conv_transpose3d(x, folded(inner.weight), inner.bias, stride=2, padding=1)
    y: Tensor = conv(upsample(x))
    return y


def folded(weight: Float[Tensor, "o i 3 3 3"]) -> Float[Tensor, "i o 4 4 4"]:
    """The kernels of the strided transposed convolution that is upsampling and a 3 x 3 x 3 one.

    Voxels that are the same are multiplied once: 27/8 times fewer operations.

    Args:
        weight: (O, I, 3, 3, 3).

    Returns:
        (I, O, 4, 4, 4).
    """
    kernel = F.pad(weight.flip(2, 3, 4), (1,) * 6)
    for axis in (2, 3, 4):
        kernel = kernel.narrow(axis, 0, 4) + kernel.narrow(axis, 1, 4)
    return kernel.transpose(0, 1)


def downsample(x: Float[Tensor, "b c x y z"]) -> Float[Tensor, "b c x//2 y//2 z//2"]:
    """The mean of each 2 x 2 x 2 voxels: (B, C, 2X, 2Y, 2Z) -> (B, C, X, Y, Z)."""
    return F.avg_pool3d(x.float(), 2).to(x.dtype)  # not made for half precision on the CPU


def zero(module: Conv) -> Conv:
    """Start a convolution at zero, so that the block it ends begins as the identity."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module
