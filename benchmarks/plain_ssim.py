"""4-G-R-SSIM as its definition reads, one pair and one order at a time: what ours is held against.

Definition: Li and Bovik 2010 (four regions), Chen et al. 2006 (gradients), Rouse and Hemami 2008
(the "R"); the constants are those of `brainldm.metrics.similarity`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

C1, C2 = 0.01**2, 0.03**2
C3 = C2 / 2
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def four_g_r_ssim(x: Tensor, y: Tensor, scales: int = 5, r: bool = True) -> float:
    """Of two images (X, Y, Z), the mean of both orders."""
    return (one_order(x, y, scales, r) + one_order(y, x, scales, r)) / 2


def one_order(x: Tensor, y: Tensor, scales: int, r: bool) -> float:
    """With the regions of x as reference."""
    weights = torch.tensor(WEIGHTS[:scales], dtype=torch.float64)
    weights = weights / weights.sum()
    result = 1.0
    for scale in range(scales):
        light, contrast_structure, gx, gy = maps(x, y, r)
        value = light * contrast_structure if scale == scales - 1 else contrast_structure
        result *= pooled(value, gx, gy) ** weights[scale].item()
        x, y = (F.avg_pool3d(image[None, None], 2)[0, 0] for image in (x, y))
    return result


def mean(x: Tensor) -> Tensor:
    """A Gaussian mean of 7 voxels a side, where it fits."""
    at = torch.arange(7.0) - 3
    weights = torch.exp(-(at**2) / (2 * 1.5**2))
    weights = weights / weights.sum()
    kernel = torch.einsum("i,j,k->ijk", weights, weights, weights)
    return F.conv3d(x[None, None], kernel[None, None])[0, 0]


def gradient(x: Tensor) -> Tensor:
    """The sum of the absolute gradients along the three axes."""
    plane = torch.full((3, 3), 0.05)
    plane[1, 1] = 0.1
    kernel = torch.stack([-plane, torch.zeros(3, 3), plane])
    kernels = torch.stack([kernel, kernel.permute(1, 0, 2), kernel.permute(1, 2, 0)])
    return F.conv3d(x[None, None], kernels[:, None])[0].abs().sum(0)


def maps(x: Tensor, y: Tensor, r: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Luminance, contrast times structure, and both gradients."""
    a, b = x[1:-1, 1:-1, 1:-1], y[1:-1, 1:-1, 1:-1]
    ma, mb = mean(a), mean(b)
    light = (2 * ma * mb + C1) / (ma**2 + mb**2 + C1)
    gx, gy = gradient(x), gradient(y)
    mx, my = mean(gx), mean(gy)
    ex, ey = mean(gx * gx), mean(gy * gy)
    vx, vy = (ex - mx**2).clamp(min=0), (ey - my**2).clamp(min=0)
    sx = (vx + 1e-5 * (ex + mx**2) / 2).sqrt()
    sy = (vy + 1e-5 * (ey + my**2) / 2).sqrt()
    contrast = (2 * sx * sy + C2) / (vx + vy + C2)
    structure = (mean(gx * gy) - mx * my + C3) / (sx * sy + C3)
    if r:
        structure[(sx == 0) ^ (sy == 0)] = 0
        structure[(sx == 0) & (sy == 0)] = 1
    return light, contrast * structure, gx, gy


def pooled(value: Tensor, gx: Tensor, gy: Tensor) -> float:
    """The mean over the regions that are there."""
    high = 0.12 * gx.max()
    low = high / 2
    gx, gy = gx[3:-3, 3:-3, 3:-3], gy[3:-3, 3:-3, 3:-3]
    preserved = (gx > high) & (gy > high)
    changed = (gx > high) ^ (gy > high)
    smooth = (gx < low) & (gy <= high)
    texture = ~(preserved | changed | smooth)
    regions = [value[region] for region in (preserved, changed, smooth, texture) if region.any()]
    return max(0.0, float(torch.stack([region.mean() for region in regions]).mean()))
