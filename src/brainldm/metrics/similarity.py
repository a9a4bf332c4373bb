"""How alike images are: PSNR, and MS-SSIM and 4-G-R-SSIM in batches, on the CPU or a GPU.

4-G-R-SSIM weighs four regions (Li and Bovik 2010) of a similarity of gradients (Chen et al. 2006);
the "R" settles its ratios where a signal vanishes (Rouse and Hemami 2008). All Gaussian means are
"valid", 7 voxels a side, sigma 1.5. What depends on one image alone is computed once an image
(`Pyramid`), means along an axis are products with a banded matrix, and both orders of a pair share
their maps: only the regions differ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from brainldm.errors import DataError

KERNEL, SIGMA = 7, 1.5
C1, C2 = 0.01**2, 0.03**2
C3 = C2 / 2
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales, from fine to coarse (Wang et al. 2003)."""
SMALLEST = KERNEL + 2
"""Voxels a side at the coarsest scale: a gradient takes two of them, a mean six."""
Image = TypeVar("Image", Tensor, NDArray[np.float32])


def psnr(image: Image, reference: Image) -> float:
    """Peak signal-to-noise ratio in dB, for intensities in [0, 1]; infinite for equal images."""
    error = float(((image - reference) ** 2).mean())
    return -10 * math.log10(error) if error else math.inf


@dataclass(frozen=True)
class Scale:
    """What one image contributes at one scale, each part computed when first asked for.

    Args:
        image: (B, X, Y, Z), intensities in [0, 1].
    """

    image: Float[Tensor, "b x y z"]

    @cached_property
    def mean(self) -> Tensor:
        """Gaussian mean of the intensities."""
        return gaussian(self.image)

    @cached_property
    def square(self) -> Tensor:
        """Gaussian mean of their squares."""
        return gaussian(self.image**2)

    @cached_property
    def gradient(self) -> Tensor:
        """|gx| + |gy| + |gz|."""
        return gradient(self.image)

    @cached_property
    def gradient_mean(self) -> Tensor:
        """Gaussian mean of the gradient."""
        return gaussian(self.gradient)

    @cached_property
    def gradient_spread(self) -> tuple[Tensor, Tensor]:
        """Variance and regularised standard deviation of the gradient."""
        square, mean = gaussian(self.gradient**2), self.gradient_mean**2
        variance = (square - mean).clamp_(min=0)
        return variance, square.add_(mean).mul_(1e-5 / 2).add_(variance).sqrt_()


def scales_that_fit(shape: tuple[int, ...]) -> int:
    """How many of the five scales an image (X, Y, Z) has room for; five need 144 voxels a side."""
    return next((n for n in (5, 4, 3, 2, 1) if min(shape) // 2 ** (n - 1) >= SMALLEST), 0)


def pyramid(images: Float[Tensor, "b x y z"], scales: int | None = None) -> tuple[Scale, ...]:
    """What `ms_ssim` and `four_g_r_ssim` need of images, from fine to coarse.

    Args:
        images: (B, X, Y, Z), float, in [0, 1].
        scales: how many; None takes as many as fit.

    Raises:
        DataError: the images are too small, or not finite.
    """
    fit = scales_that_fit(tuple(images.shape[1:]))
    scales = fit if scales is None else scales
    if not 1 <= scales <= fit:
        raise DataError(
            f"Images of {tuple(images.shape[1:])} voxels have room for {fit} scales, asked for "
            f"{scales}: expected at least {SMALLEST} voxels a side at the coarsest, so 144 for "
            "all five."
        )
    if not torch.isfinite(images).all():
        raise DataError("An image has NaN or infinite voxels: expected finite intensities.")
    result = [Scale(images)]
    for _ in range(scales - 1):
        result.append(Scale(F.avg_pool3d(result[-1].image[:, None], 2)[:, 0]))
    return tuple(result)


def ms_ssim(a: tuple[Scale, ...], b: tuple[Scale, ...]) -> Float[Tensor, " b"]:
    """Multi-scale structural similarity of pairs (Wang et al. 2003), (B,).

    The weights of the scales are those of the first ones there are, made to sum to 1.
    """
    result: Tensor | float = 1.0
    for level, (x, y, weight) in enumerate(zip(a, b, _weights(len(a)), strict=True), 1):
        product = x.mean * y.mean
        covariance = gaussian(x.image * y.image) - product
        variances = x.square - x.mean**2 + y.square - y.mean**2
        value = (2 * covariance + C2) / (variances + C2)
        if level == len(a):
            value = value * (2 * product + C1) / (x.mean**2 + y.mean**2 + C1)
        result = result * value.mean((1, 2, 3)).relu() ** weight
    return torch.as_tensor(result)


def four_g_r_ssim(
    a: tuple[Scale, ...], b: tuple[Scale, ...], *, multi_scale: bool = True, r: bool = True
) -> Float[Tensor, " b"]:
    """4-G-R-SSIM of pairs, the mean of both orders, (B,).

    Args:
        a: from `pyramid`.
        b: likewise, of the other image of each pair.
        multi_scale: over all scales of the pyramids, or the finest alone.
        r: with the "R"; without it, a ratio of vanishing signals is what the constants make of it.
    """
    if not multi_scale:
        value = _light(a[0], b[0]) * _contrast_structure(a[0], b[0], r)
        first, second = a[0].gradient, b[0].gradient
        return (_pooled(value, first, second) + _pooled(value, second, first)) / 2
    orders: list[Tensor | float] = [1.0, 1.0]  # each a product of its own; their mean comes last
    for level, (x, y, weight) in enumerate(zip(a, b, _weights(len(a)), strict=True), 1):
        value = _contrast_structure(x, y, r)
        if level == len(a):
            value = value * _light(x, y)
        for order, (p, q) in enumerate(((x, y), (y, x))):
            orders[order] = orders[order] * _pooled(value, p.gradient, q.gradient) ** weight
    return torch.as_tensor((orders[0] + orders[1]) / 2)


def _weights(scales: int) -> tuple[float, ...]:
    some = WEIGHTS[:scales]
    return tuple(weight / sum(some) for weight in some)


def _light(x: Scale, y: Scale) -> Tensor:
    """Luminance, of the intensities."""
    inner = (slice(None), *(slice(1, -1),) * 3)  # as far as the gradients reach
    mx, my = x.mean[inner], y.mean[inner]
    return (2 * mx * my + C1) / (mx**2 + my**2 + C1)


def _contrast_structure(x: Scale, y: Scale, r: bool) -> Tensor:
    """Contrast times structure, of the gradients."""
    vx, sx = x.gradient_spread
    vy, sy = y.gradient_spread
    product = sx * sy
    covariance = gaussian(x.gradient * y.gradient).sub_(x.gradient_mean * y.gradient_mean)
    contrast = (2 * product).add_(C2).div_((vx + vy).add_(C2))
    structure = covariance.add_(C3).div_(product.add_(C3))
    if r:  # the denominators of light and contrast never vanish: their constants are positive
        zero_x, zero_y = sx == 0, sy == 0
        structure.masked_fill_(zero_x ^ zero_y, 0).masked_fill_(zero_x & zero_y, 1)
    return contrast.mul_(structure)


def _pooled(value: Tensor, reference: Tensor, other: Tensor) -> Tensor:
    """The mean over the regions that are there of the mean in each, not below 0."""
    edge = 0.12 * reference.amax((1, 2, 3), keepdim=True)
    crop = (slice(None), *(slice(KERNEL // 2, -(KERNEL // 2)),) * 3)
    x, y = reference[crop], other[crop]
    x_edge, y_edge = x > edge, y > edge
    changed = x_edge ^ y_edge
    preserved = x_edge & y_edge
    smooth = (x < edge / 2) & ~y_edge
    texture = ~(changed | preserved | smooth)
    total, present = torch.zeros_like(value[:, 0, 0, 0]), torch.zeros_like(value[:, 0, 0, 0])
    for region in (preserved, changed, smooth, texture):
        size = region.sum((1, 2, 3)).to(value.dtype)
        total = total + (value * region).sum((1, 2, 3)) / size.clamp(min=1)
        present = present + (size > 0)
    return (total / present).relu()


def gradient(x: Float[Tensor, "b x y z"]) -> Float[Tensor, "b x-2 y-2 z-2"]:
    """|gx| + |gy| + |gz|, by kernels with planes (-P, 0, +P), P 0.05 and 0.1 in the middle.

    (B, X, Y, Z) to (B, X - 2, Y - 2, Z - 2).
    """
    result: Tensor | None = None
    for axis in (1, 2, 3):
        side = x.shape[axis] - 2
        box = middle = x.narrow(axis, 2, side) - x.narrow(axis, 0, side)
        for other in {1, 2, 3} - {axis}:
            n = box.shape[other] - 2
            box = (box.narrow(other, 0, n) + box.narrow(other, 1, n)).add_(box.narrow(other, 2, n))
            middle = middle.narrow(other, 1, n)
        part = box.add_(middle).abs_()
        result = part if result is None else result.add_(part)
    assert result is not None
    return result.mul_(0.05)


def gaussian(x: Float[Tensor, "b x y z"]) -> Float[Tensor, "b x-6 y-6 z-6"]:
    """Gaussian means of (B, X, Y, Z), six voxels a side fewer."""
    band = partial(_band, device=x.device, dtype=x.dtype)
    x = x @ band(x.shape[3]).T
    x = band(x.shape[2]) @ x
    b, side, *rest = x.shape
    return (band(side) @ x.reshape(b, side, -1)).reshape(b, side - KERNEL + 1, *rest)


@cache
def _band(side: int, device: torch.device, dtype: torch.dtype) -> Float[Tensor, "means side"]:
    """(side - 6, side): each row averages seven neighbours."""
    at = torch.arange(KERNEL, dtype=torch.float64) - KERNEL // 2
    weights = torch.exp(-(at**2) / (2 * SIGMA**2))
    weights = weights / weights.sum()
    rows = side - KERNEL + 1
    matrix = torch.zeros(rows, side, dtype=torch.float64)
    for offset, weight in enumerate(weights):
        matrix[torch.arange(rows), torch.arange(rows) + offset] = weight
    return matrix.to(device=device, dtype=dtype)
