"""FID, MMD and MS-SSIM agree with MONAI's; 4-G-R-SSIM with a plain version of its definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.metrics import FIDMetric, MMDMetric
from monai.metrics.regression import compute_ms_ssim
from torch import Tensor

from benchmarks.plain_ssim import four_g_r_ssim as plain
from brainldm.metrics.distances import fid, mmd
from brainldm.metrics.similarity import WEIGHTS, four_g_r_ssim, ms_ssim, pyramid

LIMIT = 1e-4


def relative(a: float, b: float) -> float:
    return abs(a - b) / abs(b)


def test_fid_is_monai_s() -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((200, 32))
    b = 0.2 + rng.standard_normal((150, 32)) @ np.diag(np.linspace(0.5, 1.5, 32))
    theirs = FIDMetric()(torch.from_numpy(a), torch.from_numpy(b)).item()
    assert relative(fid(a, b), theirs) < LIMIT


def test_mmd_is_monai_s_after_the_map_of_our_kernel() -> None:
    """MONAI's kernel is a product; (x.y / D + 1)^3 is the product of what this map makes."""

    def cubes(x: Tensor) -> Tensor:
        y = torch.cat([x / x.shape[1] ** 0.5, torch.ones(len(x), 1)], 1)
        return torch.einsum("ni,nj,nk->nijk", y, y, y).flatten(1)

    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 40, 6))
    theirs = MMDMetric(cubes)(torch.from_numpy(a), torch.from_numpy(b + 0.5)).item()
    assert relative(mmd(a, b + 0.5), theirs) < LIMIT


@pytest.fixture(scope="module")
def images() -> tuple[Tensor, Tensor]:
    """(2, 80, 96, 80) each: smooth shapes, and the same with noise or of another seed."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(3, 1, 10, 12, 10, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (80, 96, 80), mode="trilinear")[:, 0]
    noise = 0.1 * torch.randn(80, 96, 80, generator=generator)
    return smooth[:2], torch.stack([(smooth[0] + noise).clamp(0, 1), smooth[2]])


def test_ms_ssim_is_monai_s(images: tuple[Tensor, Tensor]) -> None:
    a, b = images
    weights = [weight / sum(WEIGHTS[:4]) for weight in WEIGHTS[:4]]
    theirs = compute_ms_ssim(
        a[:, None],
        b[:, None],
        spatial_dims=3,
        data_range=1.0,
        kernel_size=(7,) * 3,
        kernel_sigma=(1.5,) * 3,
        weights=weights,
    )[:, 0]
    ours = ms_ssim(pyramid(a), pyramid(b))
    assert len(pyramid(a)) == 4
    assert ((ours - theirs).abs() / theirs.abs()).max() < LIMIT


@pytest.mark.parametrize("multi_scale", [True, False])
@pytest.mark.parametrize("r", [True, False])
def test_4_g_r_ssim_is_its_definition(
    images: tuple[Tensor, Tensor], multi_scale: bool, r: bool
) -> None:
    a, b = images
    check_definition(a, b, multi_scale, r)


@pytest.mark.parametrize("multi_scale", [True, False])
@pytest.mark.parametrize("r", [True, False])
def test_4_g_r_ssim_is_its_definition_where_gradients_vanish(
    images: tuple[Tensor, Tensor], multi_scale: bool, r: bool
) -> None:
    """Slabs of air: in both images, and in either where the other has structure."""
    a, b = 0.2 * images[0], 0.2 * images[0]
    a[:, :10], b[:, 5:20] = 0, 0
    check_definition(a, b, multi_scale, r)
    with_r, without = (
        four_g_r_ssim(pyramid(a), pyramid(b), multi_scale=multi_scale, r=each)
        for each in (True, False)
    )
    assert (without - with_r).min() > 0.003


def check_definition(a: Tensor, b: Tensor, multi_scale: bool, r: bool) -> None:
    ours = four_g_r_ssim(pyramid(a), pyramid(b), multi_scale=multi_scale, r=r)
    theirs = torch.tensor(
        [plain(x, y, scales=4 if multi_scale else 1, r=r) for x, y in zip(a, b, strict=True)]
    )
    assert ((ours - theirs).abs() / theirs.abs()).max() < LIMIT
