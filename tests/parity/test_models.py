"""Our networks equal MONAI's on the same weights."""

from __future__ import annotations

import gc

import pytest
import torch

from benchmarks.reference import monai_autoencoder, monai_unet
from brainldm.config import AutoencoderConfig, UNetConfig
from brainldm.models.autoencoder import AutoencoderKL
from brainldm.models.unet import DiffusionUNet
from tests.toy import PUBLISHED

TOLERANCE = 1e-5
TOY_AUTOENCODER = AutoencoderConfig(channels=(8, 16, 24), norm_num_groups=4, num_res_blocks=2)
TOY_UNET = UNetConfig(
    channels=(8, 16, 24), num_head_channels=(0, 8, 24), norm_num_groups=4, num_res_blocks=2
)


def randomise(network: torch.nn.Module) -> None:
    """Give every parameter a value that matters, also those that start at zero or one."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in network.parameters():
            scale = p[0].numel() ** -0.5 if p.ndim > 1 else 0.5
            p.add_(torch.randn(p.shape, generator=generator) * scale)


def pair(theirs: torch.nn.Module, ours: torch.nn.Module) -> None:
    randomise(theirs)
    ours.load_state_dict(theirs.state_dict(), strict=True, assign=True)
    theirs.eval()
    ours.eval()


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max() / b.abs().max())


def check_autoencoder(c: AutoencoderConfig, shape: tuple[int, ...]) -> None:
    theirs, ours = monai_autoencoder(c), AutoencoderKL(c)
    pair(theirs, ours)
    x = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        mean, sigma = theirs.encode(x)
        our_mean, our_sigma = ours.encode(x)
        assert relative(our_mean, mean) <= TOLERANCE
        assert relative(our_sigma, sigma) <= TOLERANCE
        del our_mean, our_sigma
        image = theirs.decode(mean)
        assert relative(ours.decode(mean), image) <= TOLERANCE


def check_unet(c: UNetConfig, shape: tuple[int, ...]) -> None:
    theirs, ours = monai_unet(c), DiffusionUNet(c)
    pair(theirs, ours)
    generator = torch.Generator().manual_seed(2)
    x = torch.randn((shape[0], c.in_channels, *shape[1:]), generator=generator)
    context = torch.rand((shape[0], 1, c.context_dim), generator=generator)
    timesteps = torch.tensor([981, 3, 500])[: shape[0]]
    with torch.inference_mode():
        expected = theirs(x, timesteps, context)
        assert relative(ours(x, timesteps, context), expected) <= TOLERANCE


@pytest.mark.parametrize("shape", [(1, 1, 16, 16, 16), (2, 1, 8, 20, 12)])
def test_autoencoder(shape: tuple[int, ...]) -> None:
    check_autoencoder(TOY_AUTOENCODER, shape)


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("shape", [(1, 8, 8, 8), (2, 4, 12, 8)])
def test_unet(shape: tuple[int, ...], blocks: int) -> None:
    check_unet(TOY_UNET.model_copy(update={"num_res_blocks": blocks}), shape)


def test_the_cross_attention_takes_several_tokens_too() -> None:
    theirs, ours = monai_unet(TOY_UNET), DiffusionUNet(TOY_UNET)
    pair(theirs, ours)
    x, context = torch.randn(1, 7, 4, 8, 4), torch.randn(1, 3, 4)
    with torch.inference_mode():
        expected = theirs(x, torch.tensor([10]), context)
        assert relative(ours(x, torch.tensor([10]), context), expected) <= TOLERANCE


def test_new_networks_start_as_theirs_do() -> None:
    ours, theirs = DiffusionUNet(TOY_UNET).state_dict(), monai_unet(TOY_UNET).state_dict()
    zeros = {k for k, v in theirs.items() if v.ndim > 1 and not v.any()}
    assert zeros
    assert zeros == {k for k, v in ours.items() if v.ndim > 1 and not v.any()}


def test_published_sizes() -> None:
    with torch.device("meta"):
        autoencoder, unet = AutoencoderKL(PUBLISHED.autoencoder), DiffusionUNet(PUBLISHED.unet)
    assert round(sum(p.numel() for p in autoencoder.parameters()) / 1e6, 1) == 13.8
    assert round(sum(p.numel() for p in unet.parameters()) / 1e6, 1) == 553.2


@pytest.mark.slow
def test_published_unet() -> None:
    check_unet(PUBLISHED.unet, (1, 20, 28, 20))
    gc.collect()


@pytest.mark.slow
def test_published_autoencoder() -> None:
    check_autoencoder(PUBLISHED.autoencoder, (1, 1, 160, 224, 160))
