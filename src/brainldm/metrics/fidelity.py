"""How near an image comes to another one."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from brainldm.errors import require

KERNEL = 7
"""Of MS-SSIM: MONAI refuses its usual 11 at 160 voxels a side."""
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales, from fine to coarse (Wang et al. 2003)."""


def psnr(image: Tensor, reference: Tensor) -> float:
    """Peak signal-to-noise ratio in dB, for intensities in [0, 1]; infinite for equal images."""
    error = (image.float() - reference.float()).square().mean().item()
    return -10 * math.log10(error) if error else math.inf


def scales_of(shape: Sequence[int]) -> int:
    """How many of the five scales an image (..., X, Y, Z) is large enough for; 0 below three."""
    # MONAI asks for more than the kernel's reach at side / (scales - 1) ** 2.
    fitting = (n for n in (5, 4, 3) if min(shape[-3:]) // (n - 1) ** 2 >= KERNEL)
    return next(fitting, 0)


def ms_ssim(image: Tensor, reference: Tensor) -> float:
    """Multi-scale structural similarity (MONAI's), with a Gaussian kernel of 7 voxels.

    Args:
        image: (B, 1, X, Y, Z) in [0, 1], large enough for `scales_of` its shape.
        reference: the same shape.

    Returns:
        The mean over the batch, at as many scales as fit.
    """
    require("train", "MS-SSIM", "monai")
    from monai.metrics.regression import compute_ms_ssim

    weights = WEIGHTS[: scales_of(image.shape)]
    values = compute_ms_ssim(
        image.float(),
        reference.float(),
        spatial_dims=3,
        data_range=1.0,
        kernel_size=(KERNEL,) * 3,
        kernel_sigma=(1.5,) * 3,
        weights=[weight / sum(weights) for weight in weights],
    )
    return float(values.mean())
