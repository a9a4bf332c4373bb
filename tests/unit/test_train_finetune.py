"""Starting from a model: conditions added, moved and removed, and low-rank changes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from brainldm.errors import UsageError
from brainldm.models.unet import DiffusionUNet, with_context
from brainldm.train.diffusion import learn_all_but_idle
from brainldm.train.finetune import add_lora, extend_conditions, merge_lora
from tests.toy import lively_unet

CHANNELS = 2
OLD = ("sex", "age", "volume")


def unet(conditions: int) -> DiffusionUNet:
    torch.manual_seed(0)
    return lively_unet(CHANNELS, conditions)


def output(network: nn.Module, *context: float) -> Tensor:
    z = torch.randn(1, CHANNELS, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    x, token = with_context(z, torch.tensor([context]))
    with torch.no_grad():
        y: Tensor = network(x, torch.tensor([300]), token)
    return y


def changed(new: tuple[str, ...]) -> DiffusionUNet:
    network = unet(len(new))
    network.load_state_dict(extend_conditions(unet(len(OLD)).state_dict(), CHANNELS, OLD, new))
    return network


def difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


def test_a_new_condition_changes_nothing_at_first() -> None:
    before = output(unet(3), 1, 0.3, 0.8)
    network = changed((*OLD, "score"))
    for score in (0.0, 0.7, -1.0):
        assert difference(output(network, 1, 0.3, 0.8, score), before) < 1e-5
    assert difference(output(network, 0, 0.3, 0.8, 0), before) > 1e-3  # the old ones still act


def test_a_new_condition_can_learn() -> None:
    network = changed((*OLD, "score"))
    x, token = with_context(torch.randn(1, CHANNELS, 4, 4, 4), torch.tensor([[1, 0.3, 0.8, 0.5]]))
    network(x, torch.tensor([300]), token).square().sum().backward()
    new = network.conv_in.get_parameter("conv.weight").grad
    assert new is not None
    assert new[:, -1].abs().max() > 0


def test_conditions_in_another_order() -> None:
    before = output(unet(3), 1, 0.3, 0.8)
    network = changed(("volume", "score", "sex", "age"))
    assert difference(output(network, 0.8, 0.1, 1, 0.3), before) < 1e-5


def test_a_condition_taken_out_counts_as_zero() -> None:
    network = changed(("sex", "volume"))
    assert difference(output(network, 1, 0.8), output(unet(3), 1, 0, 0.8)) < 1e-5
    assert difference(output(network, 1, 0.8), output(unet(3), 1, 0.3, 0.8)) > 1e-3


def test_the_same_conditions_are_the_same_weights() -> None:
    weights = unet(3).state_dict()
    again = extend_conditions(weights, CHANNELS, OLD, OLD)
    assert again.keys() == weights.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in weights.items())


def with_lora() -> nn.Module:
    torch.manual_seed(2)
    return add_lora(learn_all_but_idle(unet(3)), 2)


def test_lora_starts_at_the_model_and_merges_into_it() -> None:
    before = output(unet(3), 1, 0.3, 0.8)
    network = with_lora()
    assert difference(output(network, 1, 0.3, 0.8), before) < 1e-5
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
    learned = output(network, 1, 0.3, 0.8)
    assert difference(learned, before) > 1e-2
    merged = merge_lora(network)
    assert difference(output(merged, 1, 0.3, 0.8), learned) < 1e-5
    plain = unet(3)
    plain.load_state_dict(merged.state_dict())  # strict: exactly the model's names
    assert difference(output(plain, 1, 0.3, 0.8), learned) < 1e-5


def test_lora_learns_little() -> None:
    network = with_lora()
    learning = {name: p for name, p in network.named_parameters() if p.requires_grad}
    adapters = [name for name in learning if ".lora_" in name]
    others = [name for name in learning if ".lora_" not in name]
    assert all(name.startswith("conv_in.") or ".attn2.to_v." in name for name in others)
    assert any(".attn2.to_v." in name for name in others)
    for layer in ("attn1.to_q", "attn2.out_proj", "ff.linear1", "proj_in.conv", "conv2.conv"):
        assert any(layer in name for name in adapters), layer
    x, token = with_context(torch.randn(1, CHANNELS, 4, 4, 4), torch.rand(1, 3))
    network(x, torch.tensor([300]), token).square().sum().backward()
    assert [name for name, p in learning.items() if p.grad is None] == []
    assert sum(p.numel() for p in learning.values()) < 0.5 * sum(
        p.numel() for p in unet(3).parameters()
    )


@pytest.mark.parametrize("rank", [0, -1])
def test_a_rank_below_one(rank: int) -> None:
    with pytest.raises(UsageError, match=f"--lora is {rank}: expected a rank of 1 or more"):
        add_lora(unet(3), rank)
