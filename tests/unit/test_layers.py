"""Layers that compute in a quicker way what PyTorch's would."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brainldm.models import norm
from brainldm.models.autoencoder import Upsample
from brainldm.models.norm import GroupNorm, channels_last


def gradients(y: Tensor, *of: Tensor) -> list[Tensor]:
    """Of a sum in which every number counts otherwise."""
    factors = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y)
    return list(torch.autograd.grad((y * factors).sum(), of))


@pytest.mark.parametrize("silu", [True, False])
@pytest.mark.parametrize("slab", [1, 2**15])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 2e-2)]
)
def test_group_norm_has_the_gradients_of_pytorchs(
    dtype: torch.dtype, tolerance: float, slab: int, silu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(norm, "SLAB_VOXELS", slab)
    torch.manual_seed(0)
    layer = GroupNorm(3, 6, 1e-6).to(torch.float64 if dtype == torch.float64 else torch.float32)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    x = (3 * torch.randn(2, 6, 5, 4, 3) + 2).to(dtype)
    inputs = channels_last(x).requires_grad_(), layer.weight, layer.bias
    y = layer(inputs[0], silu)
    assert y.dtype == dtype
    assert y.is_contiguous(memory_format=torch.channels_last_3d)
    wide = [each.detach().double().requires_grad_() for each in (x, layer.weight, layer.bias)]
    expected = F.group_norm(wide[0], 3, *wide[1:], 1e-6)
    expected = F.silu(expected) if silu else expected
    assert (y - expected).norm() < tolerance * expected.norm()
    for got, true in zip(gradients(y, *inputs), gradients(expected, *wide), strict=True):
        assert (got - true).norm() < tolerance * true.norm()


def test_group_norm_keeps_its_input_alone() -> None:
    layer, x = GroupNorm(2, 4), channels_last(torch.randn(1, 4, 8, 8, 8)).requires_grad_()
    kept: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layer(x, silu=True)
    assert [tensor.data_ptr() for tensor in kept if tensor.numel() > 4] == [x.data_ptr()]


def test_upsampling_is_that_of_neighbours_and_a_convolution() -> None:
    torch.manual_seed(0)
    block = Upsample(3).double()
    x = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    conv = block.postconv.conv
    expected = conv(x.repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4))
    y = block(x)
    assert (y - expected).abs().max() < 1e-12
    parts = (x, conv.weight, conv.bias)
    for got, true in zip(gradients(y, *parts), gradients(expected, *parts), strict=True):
        assert (got - true).abs().max() < 1e-11


def test_channels_last_also_with_one_channel() -> None:
    x = torch.randn(2, 1, 4, 6, 8)
    y = channels_last(x)
    assert (y == x).all()
    assert nn.Conv3d(1, 4, 3)(y).is_contiguous(memory_format=torch.channels_last_3d)
