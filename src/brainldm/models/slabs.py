"""The decoder slab by slab: the same numbers in a fraction of the memory and the operations.

Every activation is a `Field`, read a few planes of the first axis at a time. What a later layer
needs more than once is held; all else is computed where it is read, and forgotten. GroupNorm needs
the whole volume, so its statistics are gathered while a field is held (or in a pass of their own),
and the result does not depend on where the slabs are cut.

Nearest-neighbour upsampling and the 3 x 3 x 3 convolution after it are one convolution with
2 x 2 x 2 kernels for each of the eight voxels that a voxel becomes: 27/8 times fewer operations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from brainldm.models.autoencoder import AutoencoderKL, ResBlock, Upsample
from brainldm.models.layers import Conv

Read = Callable[[int, int], Tensor]
SLAB_VOXELS = {"cpu": 2**16, "cuda": 2**21, "mps": 2**21}
"""About as many voxels a slab: on a CPU they stay in its cache from one layer to the next, a GPU
needs more of them to be busy."""


@dataclass(frozen=True)
class Field:
    """An activation (1, C, X, Y, Z), of which planes are read.

    Args:
        shape: (1, C, X, Y, Z).
        dtype: of what is read.
        device: where it is computed.
        read: (start, stop) -> (1, C, stop - start, Y, Z), within 0 and X.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    read: Read

    def slabs(self) -> list[tuple[int, int]]:
        """Where the planes are cut, always at an even plane."""
        _, _, x, y, z = self.shape
        planes = max(2, SLAB_VOXELS[self.device.type] // (y * z) // 2 * 2)
        return [(start, min(start + planes, x)) for start in range(0, x, planes)]

    def read_padded(self, start: int, stop: int) -> Tensor:
        """Planes, where those beyond either end are zero."""
        x = self.shape[2]
        planes = self.read(max(start, 0), min(stop, x))
        missing = max(-start, 0), max(stop - x, 0)
        return F.pad(planes, (0, 0, 0, 0, *missing)) if any(missing) else planes


class Moments:
    """Mean and variance of each channel, gathered slab by slab (Chan et al. 1979)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Tensor | float = 0.0
        self.squares: Tensor | float = 0.0

    def add(self, x: Tensor) -> None:
        """Take in (1, C, X, Y, Z)."""
        # Planes stay in a CPU's cache; a GPU would wait for one small operation after the other.
        parts = torch.split(x, 1, 2) if x.device.type == "cpu" else (x,)
        for part in parts:
            self._add(part.movedim(1, -1).flatten(0, -2))

    def _add(self, rows: Tensor) -> None:
        # Channels-last rows, and in place: several times faster than torch.var_mean on the CPU.
        values = rows.to(torch.float32, copy=True)
        mean = values.mean(0)
        squares = values.sub_(mean).square_().sum(0)
        total = self.count + len(values)
        shift = mean - self.mean
        self.mean = self.mean + shift * (len(values) / total)
        self.squares = self.squares + squares + shift**2 * (self.count * len(values) / total)
        self.count = total

    def normalise(self, x: Tensor, norm: nn.GroupNorm, out: Tensor) -> Tensor:
        """Apply the norm with these moments, in float32 whatever the precision of x.

        Args:
            x: (1, C, X, Y, Z).
            norm: of C channels.
            out: like x, takes the result.
        """
        assert isinstance(self.mean, Tensor)
        assert isinstance(self.squares, Tensor)
        means = self.mean.view(norm.num_groups, -1)
        within = (self.squares / self.count).view(norm.num_groups, -1).mean(1)
        mean, variance = (
            each.repeat_interleave(means.shape[1])
            for each in (means.mean(1), within + means.var(1, correction=0))
        )
        # CUDA keeps what it subtracts and divides by in the other two, which must not be one.
        kept = mean.new_empty(0), mean.new_empty(0)
        torch.native_batch_norm(
            *(x, norm.weight, norm.bias, mean, variance),
            training=False,
            momentum=0.0,
            eps=norm.eps,
            out=(out, *kept),
        )
        return out


def hold(field: Field) -> tuple[Field, Moments]:
    """Compute a field once and keep it; gather its moments on the way."""
    moments = Moments()
    whole = torch.empty(
        field.shape, dtype=field.dtype, device=field.device, memory_format=torch.channels_last_3d
    )
    for start, stop in field.slabs():
        whole[:, :, start:stop] = field.read(start, stop)
        moments.add(whole[:, :, start:stop])
    return replace(field, read=lambda start, stop: whole[:, :, start:stop]), moments


def moments_of(field: Field) -> Moments:
    """Compute a field once and keep nothing of it but its moments."""
    moments = Moments()
    for start, stop in field.slabs():
        moments.add(field.read(start, stop))
    return moments


def convolve(field: Field, conv: nn.Conv3d) -> Field:
    """A convolution that keeps the grid."""
    reach = conv.kernel_size[0] // 2
    weight = conv.weight.to(field.dtype, memory_format=torch.channels_last_3d)
    bias = None if conv.bias is None else conv.bias.to(field.dtype)

    def read(start: int, stop: int) -> Tensor:
        x = field.read_padded(start - reach, stop + reach)
        return F.conv3d(x, weight, bias, padding=(0, reach, reach))

    return replace(field, shape=(1, conv.out_channels, *field.shape[2:]), read=read)


def activate(field: Field, norm: nn.GroupNorm, moments: Moments, silu: bool = True) -> Field:
    """GroupNorm by known moments, then SiLU. What is read holds until the next reading."""
    space: Tensor | None = None  # fresh memory at every reading would cost as much as the norm

    def read(start: int, stop: int) -> Tensor:
        nonlocal space
        x = field.read(start, stop)
        if space is None or space.shape != x.shape:
            space = torch.empty_like(x)
        y = moments.normalise(x, norm, out=space)
        return F.silu(y, inplace=True) if silu else y

    return replace(field, read=read)


def hold_activated(field: Field, norm: nn.GroupNorm) -> Field:
    """Compute a field once, and keep nothing of it but its activation."""
    held, moments = hold(field)
    activated = activate(held, norm, moments)
    for start, stop in held.slabs():
        held.read(start, stop).copy_(activated.read(start, stop))
    return held


def folded(weight: Float[Tensor, "o i 3 3 3"]) -> Tensor:
    """The 2 x 2 x 2 kernels that act on the small grid in place of upsampling and 3 x 3 x 3 ones.

    Args:
        weight: (O, I, 3, 3, 3).

    Returns:
        (2, 2, 2, O, I, 2, 2, 2): first which of the two voxels along each axis it computes. The
        first of them sees the voxel before and its own, the second its own and the one after.
    """
    taps = torch.tensor(
        [[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]], dtype=weight.dtype, device=weight.device
    )
    return torch.einsum("auk,bvl,cwm,oiklm->abcoiuvw", taps, taps, taps, weight)


def upsample(field: Field, conv: nn.Conv3d) -> Field:
    """Nearest-neighbour upsampling by two, then a convolution."""
    _, _, x, y, z = field.shape
    channels = conv.out_channels
    # The voxels along the last two axes as channels of one convolution.
    kernels = folded(conv.weight).flatten(1, 3).to(field.dtype)
    weights = [each.contiguous(memory_format=torch.channels_last_3d) for each in kernels]
    bias = None if conv.bias is None else conv.bias.to(field.dtype).repeat(4)

    def read(start: int, stop: int) -> Tensor:
        first, last = start // 2, (stop + 1) // 2
        planes = field.read_padded(first - 1, last + 1)
        result = planes.new_empty(1, channels, 2 * (last - first), 2 * y, 2 * z).contiguous(
            memory_format=torch.channels_last_3d
        )
        for i, weight in enumerate(weights):
            part = F.conv3d(planes[:, :, i : i + last - first + 1], weight, bias, padding=(0, 1, 1))
            for (j, k), voxel in zip(product((0, 1), repeat=2), part.chunk(4, 1), strict=True):
                result[:, :, i::2, j::2, k::2] = voxel[..., j : j + y, k : k + z]
        return result[:, :, start - 2 * first : stop - 2 * first]

    return replace(field, shape=(1, channels, 2 * x, 2 * y, 2 * z), read=read)


def decode(
    model: AutoencoderKL,
    z: Float[Tensor, "b l i j k"],
    dtype: torch.dtype,
    low_memory: bool = False,
) -> Float[Tensor, "b c x y z"]:
    """What `model.decode(z)` gives, to the rounding of `dtype`.

    Args:
        model: its weights in any precision.
        z: (B, latent_channels, X, Y, Z).
        dtype: of activations and convolutions; statistics are float32.
        low_memory: compute upsampled activations twice instead of holding them.

    Returns:
        (B, out_channels, fX, fY, fZ), float32.
    """
    return torch.cat([_decode(model, each[None].float(), dtype, low_memory) for each in z])


def _decode(model: AutoencoderKL, z: Tensor, dtype: torch.dtype, low_memory: bool) -> Tensor:
    z = model.post_quant_conv(z).to(dtype)
    field = Field(tuple(z.shape), dtype, z.device, lambda start, stop: z[:, :, start:stop])
    moments = Moments()
    for block in model.decoder.blocks:
        if isinstance(block, ResBlock):
            first = convolve(activate(field, block.norm1, moments), block.conv1.conv)
            second = convolve(hold_activated(first, block.norm2), block.conv2.conv)
            field, moments = hold(_sum(_shortcut(field, block), second))
        elif isinstance(block, Upsample):
            field = upsample(field, block.postconv.conv)
            if low_memory:
                moments = moments_of(field)
            else:
                field, moments = hold(field)
        elif isinstance(block, nn.GroupNorm):
            field = activate(field, block, moments, silu=False)
        else:
            assert isinstance(block, Conv)
            field, moments = hold(convolve(field, block.conv))
    return field.read(0, field.shape[2]).float().contiguous()


def _shortcut(field: Field, block: ResBlock) -> Field:
    shortcut = block.nin_shortcut
    return convolve(field, shortcut.conv) if isinstance(shortcut, Conv) else field


def _sum(a: Field, b: Field) -> Field:
    return replace(b, read=lambda start, stop: b.read(start, stop).add_(a.read(start, stop)))
