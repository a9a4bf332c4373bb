"""4-G-R-SSIM and MS-SSIM: their properties."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from brainldm.errors import BrainLDMError
from brainldm.metrics import similarity
from brainldm.metrics.similarity import four_g_r_ssim, ms_ssim, psnr, pyramid

SIDE = 48
KINDS = [
    ms_ssim,
    four_g_r_ssim,
    lambda a, b: four_g_r_ssim(a, b, r=False),
    lambda a, b: four_g_r_ssim(a, b, multi_scale=False),
]
NAMES = ["MS-SSIM", "4-G-R-SSIM", "4-G-SSIM", "single scale"]


def image(seed: int) -> Tensor:
    """(1, 48, 48, 48) in [0, 1]: smooth shapes with edges, and air around them."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 1, 8, 8, 8, generator=generator)
    fine = F.interpolate(coarse, (SIDE,) * 3, mode="trilinear")[0]
    axis = torch.linspace(-1, 1, SIDE)
    x, y, z = torch.meshgrid(axis, axis, axis, indexing="ij")
    return (x**2 + y**2 + z**2 < 0.8) * (0.3 + 0.3 * (fine > 0) + 0.1 * fine).clamp(0, 1)


def noisy(x: Tensor, sigma: float) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return (x + sigma * torch.randn(x.shape, generator=generator)).clamp(0, 1)


def blurred(x: Tensor, width: int) -> Tensor:
    return F.avg_pool3d(x[:, None], width, 1, width // 2, count_include_pad=False)[:, 0]


@pytest.fixture(params=KINDS, ids=NAMES)
def similar(request: pytest.FixtureRequest):
    def figure(a: Tensor, b: Tensor) -> float:
        return request.param(pyramid(a), pyramid(b)).item()

    return figure


def test_identity_is_one_and_the_order_does_not_matter(similar) -> None:
    a, b = image(0), image(1)
    assert similar(a, a) == pytest.approx(1, abs=1e-5)
    assert 0 <= similar(a, b) < 0.95
    assert similar(a, b) == pytest.approx(similar(b, a), abs=1e-6)


def test_it_falls_with_noise_and_with_blur(similar) -> None:
    a = image(0)
    for values in (
        [similar(a, noisy(a, sigma)) for sigma in (0.0, 0.02, 0.05, 0.1, 0.2)],
        [similar(a, blurred(a, width)) for width in (1, 3, 5, 9)],
    ):
        assert values == sorted(values, reverse=True)
        assert len(set(values)) == len(values)


def test_constant_and_empty_images(similar) -> None:
    empty = torch.zeros(1, SIDE, SIDE, SIDE)
    assert similar(empty, empty) == pytest.approx(1, abs=1e-5)
    assert similar(empty + 0.5, empty + 0.5) == pytest.approx(1, abs=1e-5)
    assert 0 <= similar(empty, image(0)) < 0.7
    assert 0 <= similar(empty, empty + 0.5) < 1.0


def test_a_batch_gives_what_each_pair_gives(similar) -> None:
    a, b = [image(0), image(1)], [image(2), noisy(image(1), 0.1)]
    for function in KINDS:
        batch = function(pyramid(torch.cat(a)), pyramid(torch.cat(b)))
        alone = torch.cat([function(pyramid(x), pyramid(y)) for x, y in zip(a, b, strict=True)])
        assert (batch - alone).abs().max() < 1e-6


def test_the_r_settles_a_signal_in_one_image_alone() -> None:
    """Where one gradient is constant 0 and the other is not, the structure is 0 with the R."""
    flat, other = torch.full((1, SIDE, SIDE, SIDE), 0.5), image(0)
    a, b = pyramid(flat), pyramid(other)
    with_r = four_g_r_ssim(a, b, multi_scale=False).item()
    assert with_r <= four_g_r_ssim(a, b, multi_scale=False, r=False).item()


def ramp(start: int, slope: float = 0.005) -> Tensor:
    """(1, 48, 48, 48): 0.5 up to a plane, and rising from there."""
    rising = slope * (torch.arange(SIDE) - start).clamp(min=0)
    return (0.5 + rising)[None, :, None, None].expand(1, SIDE, SIDE, SIDE)


@pytest.mark.parametrize("multi_scale", [True, False])
def test_a_gradient_in_one_image_alone_is_no_structure(multi_scale: bool) -> None:
    """With the R the structure is 0 everywhere; without it, the constants make it 1."""
    a, b = pyramid(torch.full((1, SIDE, SIDE, SIDE), 0.5)), pyramid(ramp(0))
    for x, y in ((a, b), (b, a)):
        assert four_g_r_ssim(x, y, multi_scale=multi_scale).item() == 0
        assert four_g_r_ssim(x, y, multi_scale=multi_scale, r=False).item() > 0.95


def test_gradients_that_vanish_in_both_images_agree() -> None:
    """What is left is the luminance, of the coarsest scale if there are many."""
    light = (2 * 0.5 * 0.3 + 0.01**2) / (0.5**2 + 0.3**2 + 0.01**2)
    a, b = (pyramid(torch.full((1, SIDE, SIDE, SIDE), grey)) for grey in (0.5, 0.3))
    assert four_g_r_ssim(a, b, multi_scale=False).item() == pytest.approx(light, abs=1e-6)
    coarsest = 0.3001 / (0.0448 + 0.2856 + 0.3001)
    assert four_g_r_ssim(a, b).item() == pytest.approx(light**coarsest, abs=1e-6)


@pytest.mark.parametrize("start", [16, 30])
def test_a_gradient_in_a_part_of_one_image(start: int) -> None:
    """The value is 1 where no gradient lies within the mean's seven voxels, 0 where one does.

    Of planes without a gradient of their own, a mean lies about start - 4, three of which see one;
    the other region, where the gradient is, has the value 0.
    """
    a, b = pyramid(torch.full((1, SIDE, SIDE, SIDE), 0.5)), pyramid(ramp(start))
    expected = (start - 7) / (start - 4) / 2
    for x, y in ((a, b), (b, a)):
        found = four_g_r_ssim(x, y, multi_scale=False).item()
        assert found == pytest.approx(expected, abs=1e-6)


def test_the_gradient_of_a_ramp() -> None:
    """Each kernel's planes sum to 0.5 and lie two voxels apart: 0.5 times 2 a unit of slope."""
    axis = torch.arange(12.0)
    ramp = (0.01 * axis)[None, :, None, None].expand(1, 12, 12, 12)
    gradient = similarity.gradient(ramp)
    assert gradient.shape == (1, 10, 10, 10)
    assert (gradient - 0.01).abs().max() < 1e-6


def test_gaussian_means_are_those_of_a_convolution() -> None:
    at = torch.arange(7.0) - 3
    weights = torch.exp(-(at**2) / (2 * 1.5**2))
    weights /= weights.sum()
    kernel = torch.einsum("i,j,k->ijk", weights, weights, weights)[None, None]
    x = image(0)
    assert (similarity.gaussian(x) - F.conv3d(x[:, None], kernel)[:, 0]).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("shape", "scales"),
    [((160, 224, 160), 5), ((143, 224, 160), 4), ((48, 48, 48), 3), ((8,) * 3, 0)],
)
def test_how_many_scales_fit(shape: tuple[int, ...], scales: int) -> None:
    assert similarity.scales_that_fit(shape) == scales


def test_psnr_of_a_known_error() -> None:
    truth = torch.zeros(4, 4, 4)
    assert psnr(truth + 0.1, truth) == pytest.approx(20)
    assert psnr(truth.numpy(), truth.numpy() + 0.01) == pytest.approx(40, rel=1e-6)
    assert psnr(truth, truth) == math.inf


def test_images_that_do_not_do() -> None:
    with pytest.raises(BrainLDMError, match="room for 0 scales"):
        pyramid(torch.zeros(1, 8, 8, 8))
    with pytest.raises(BrainLDMError, match="NaN"):
        pyramid(torch.full((1, 48, 48, 48), torch.nan))
