"""GroupNorm, alone or with SiLU, that trains quickly on the CPU.

Convolutions are about twice as fast there with channels last, but PyTorch's backward pass of
GroupNorm is then several times slower than without. This one is not, and it keeps no more than its
input: what lies between norm and SiLU is computed again.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

SLAB_VOXELS = 2**15
"""About as many voxels at a time in the backward pass, so that they stay in the cache."""


class GroupNorm(nn.GroupNorm):
    """As PyTorch's, with a SiLU after it if asked for."""

    def forward(
        self, x: Float[Tensor, "b c *grid"], silu: bool = False
    ) -> Float[Tensor, "b c *grid"]:
        """(B, C, X, Y, Z) -> the same shape."""
        last = x.is_contiguous(memory_format=torch.channels_last_3d)
        if x.device.type == "cpu" and last and torch.is_grad_enabled():
            arguments = (x, self.weight, self.bias, self.num_groups, self.eps, silu)
            z: Tensor = _Norm.apply(*arguments)  # type: ignore[no-untyped-call]
            return z
        y = super().forward(x)
        return F.silu(y) if silu else y


def channels_last(x: Float[Tensor, "b c x y z"]) -> Float[Tensor, "b c x y z"]:
    """A copy of (B, C, X, Y, Z) in the layout that is quickest to train with on its device."""
    if x.device.type != "cpu":
        return x
    # Not `contiguous`, which leaves a tensor of one channel as it is.
    return torch.empty_like(x, memory_format=torch.channels_last_3d).copy_(x)


class _Norm(torch.autograd.Function):
    """The gradient of GroupNorm by way of batch norm with known moments, whose kernels are quick.

    With xhat = (x - m) / s, per group of n values: dx = (w dy - mean(w dy) - xhat mean(w dy xhat))
    / s (Wu and He 2018, 1803.08494), where the sums of dy and dy xhat are also the gradients of
    bias and weight.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float, silu: bool
    ) -> Tensor:
        """(B, C, X, Y, Z), (C,), (C,)."""
        weight, bias = _wide(weight), _wide(bias)
        count = x[0, 0].numel()
        y, mean, rstd = torch.native_group_norm(
            x, weight, bias, len(x), x.shape[1], count, groups, eps
        )
        ctx.save_for_backward(x, weight, bias, mean, rstd)
        ctx.silu = silu
        return F.silu(y, inplace=True) if silu else y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Sample by sample, and slab by slab."""
        x, weight, bias, mean, rstd = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last_3d)
        dx, dweight, dbias = torch.empty_like(x), torch.zeros_like(weight), torch.zeros_like(bias)
        width = x.shape[1] // mean.shape[1]
        planes = max(1, SLAB_VOXELS // x[0, 0, 0].numel())
        for sample in range(len(x)):
            slabs = list(
                zip(*(t[sample, None].split(planes, 2) for t in (x, gradient, dx)), strict=True)
            )
            centre, scale = (t[sample].repeat_interleave(width) for t in (mean, rstd))
            moments = (centre, scale**-2)
            sums = torch.zeros(2, len(weight), dtype=weight.dtype)
            for x_slab, dy, dx_slab in slabs:
                if ctx.silu:
                    y = torch.native_batch_norm(x_slab, weight, bias, *moments, False, 0.0, 0.0)[0]
                    dy = torch.ops.aten.silu_backward(dy, y)
                scaled, by_weight, by_bias = torch.ops.aten.native_batch_norm_backward(
                    dy, x_slab, weight, *moments, None, None, False, 0.0, [True, True, True]
                )
                dx_slab.copy_(scaled)
                sums += torch.stack([by_weight, by_bias])
            dweight += sums[0]
            dbias += sums[1]
            means = (sums * weight).view(2, -1, width).sum(2) / (x[0, 0].numel() * width)
            slope, offset = means.repeat_interleave(width, 1) * scale
            for x_slab, _, dx_slab in slabs:
                dx_slab -= torch.native_batch_norm(
                    x_slab, slope, offset, *moments, False, 0.0, 0.0
                )[0]
        return dx, dweight, dbias, None, None, None


def _wide(x: Tensor) -> Tensor:
    """At least float32, which the moments take from the weights."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
