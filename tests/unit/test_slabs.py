"""Decoding in slabs gives what decoding at once gives, wherever the slabs are cut."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from brainldm.config import AutoencoderConfig
from brainldm.models import slabs
from brainldm.models.autoencoder import AutoencoderKL

CONFIG = AutoencoderConfig(channels=(8, 16, 24), norm_num_groups=4, num_res_blocks=2)


@pytest.fixture(scope="module")
def model() -> AutoencoderKL:
    generator = torch.Generator().manual_seed(0)
    model = AutoencoderKL(CONFIG).eval().requires_grad_(False)
    for p in model.parameters():
        p.add_(0.1 * torch.randn(p.shape, generator=generator))
    return model


@pytest.fixture(scope="module")
def latent() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, CONFIG.latent_channels, 5, 4, 3, generator=generator)


@pytest.mark.parametrize("low_memory", [False, True])
@pytest.mark.parametrize("voxels", [1, 400, 10**6])
def test_slabs_change_nothing(
    model: AutoencoderKL,
    latent: torch.Tensor,
    monkeypatch: pytest.MonkeyPatch,
    voxels: int,
    low_memory: bool,
) -> None:
    monkeypatch.setitem(slabs.SLAB_VOXELS, "cpu", voxels)
    whole = model.decode(latent)
    result = slabs.decode(model, latent, torch.float32, low_memory)
    assert result.shape == whole.shape
    assert (result - whole).abs().max() < 1e-5 * whole.abs().max()


def test_half_precision_is_close(model: AutoencoderKL, latent: torch.Tensor) -> None:
    whole = model.decode(latent)
    result = slabs.decode(model, latent, torch.bfloat16)
    assert result.dtype == torch.float32
    assert (result - whole).norm() < 0.02 * whole.norm()


def test_a_folded_upsampling_is_the_two_steps() -> None:
    conv = torch.nn.Conv3d(3, 5, 3, padding=1).double().requires_grad_(False)
    x = torch.randn(1, 3, 4, 3, 2, dtype=torch.double)
    expected = conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
    field = slabs.upsample(
        slabs.Field(tuple(x.shape), x.dtype, x.device, lambda a, b: x[:, :, a:b]), conv
    )
    for start, stop in ((0, 8), (0, 2), (3, 6), (5, 8)):
        assert (field.read(start, stop) - expected[:, :, start:stop]).abs().max() < 1e-12


def test_moments_do_not_depend_on_the_cuts() -> None:
    x = 100 + torch.randn(1, 6, 7, 3, 2)
    moments = slabs.Moments()
    for start, stop in ((0, 1), (1, 5), (5, 7)):
        moments.add(x[:, :, start:stop])
    norm = torch.nn.GroupNorm(2, 6).requires_grad_(False)
    assert (moments.normalise(x, norm, torch.empty_like(x)) - norm(x)).abs().max() < 1e-4


class Outputs(TorchDispatchMode):
    """Looks at what a norm writes to."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """CUDA writes the mean to the second output and the deviation to the third."""
        if func is torch.ops.aten.native_batch_norm.out:
            out = [(kwargs or {})[name] for name in ("out", "save_mean", "save_invstd")]
            assert len({id(each) for each in out}) == 3
            self.seen += 1
        return func(*args, **(kwargs or {}))


def test_norms_do_not_write_two_things_to_one_place(
    model: AutoencoderKL, latent: torch.Tensor
) -> None:
    with Outputs() as outputs:
        slabs.decode(model, latent, torch.float32)
    assert outputs.seen > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_decodes_as_the_cpu_does(model: AutoencoderKL, latent: torch.Tensor) -> None:
    whole = model.decode(latent)
    result = slabs.decode(copy.deepcopy(model).cuda(), latent.cuda(), torch.float32).cpu()
    assert (result - whole).norm() < 1e-3 * whole.norm()
