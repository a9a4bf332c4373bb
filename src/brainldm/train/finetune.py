"""Starting from a model: its conditions extended or replaced, and low-rank changes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from brainldm.errors import UsageError, require

TARGETS = (
    r".*(attn1\.(to_q|to_k|to_v|out_proj)|attn2\.out_proj|ff\.linear[12]|proj_(in|out)\.conv|"
    r"conv[12]\.conv)"
)
"""The layers that get low-rank changes: attention, feed-forward and residual blocks."""


def extend_conditions(
    weights: Mapping[str, Tensor], latent_channels: int, old: Sequence[str], new: Sequence[str]
) -> dict[str, Tensor]:
    """The U-Net's weights for other conditions.

    A condition that stays keeps its weights; a new one starts at zero, so that the network gives
    the same as before whatever its value.

    Args:
        weights: of the U-Net; its first convolution has a channel for each condition after the
            latent's, its cross-attention's keys and values a number.
        latent_channels: of the latent.
        old: the names of the model's conditions, in order.
        new: the names wanted, in order.
    """
    matrix = torch.tensor([[float(name == other) for other in new] for name in old])
    return map_conditions(weights, latent_channels, matrix.reshape(len(old), len(new)))


def map_conditions(
    weights: Mapping[str, Tensor], latent_channels: int, matrix: Float[Tensor, "old new"]
) -> dict[str, Tensor]:
    """The U-Net's weights for conditions that are brought to those it knows by a linear map.

    Args:
        weights: of the U-Net, as in `extend_conditions`.
        latent_channels: of the latent.
        matrix: how much of each condition the network is to see for each of the new ones.
    """
    result = dict(weights)
    for name, tensor in weights.items():
        if name == "conv_in.conv.weight":
            latent, known = tensor[:, :latent_channels], tensor[:, latent_channels:]
            mapped = torch.einsum("oixyz,ij->ojxyz", known, matrix.to(tensor.dtype))
            result[name] = torch.cat([latent, mapped], dim=1)
        elif name.endswith((".attn2.to_k.weight", ".attn2.to_v.weight")):
            result[name] = tensor @ matrix.to(tensor.dtype)
    return result


def check_lora(rank: int) -> None:
    """Make sure that low-rank changes can be learned.

    Raises:
        UsageError: a rank below 1.
        MissingExtraError: PEFT is not installed.
    """
    if rank < 1:
        raise UsageError(f"--lora is {rank}: expected a rank of 1 or more, for instance 16.")
    require("lora", "LoRA", "peft")


def add_lora(network: nn.Module, rank: int) -> nn.Module:
    """Freeze a U-Net but for low-rank changes (PEFT) and the small layers that conditions enter.

    Raises:
        BrainLDMError: as `check_lora`.
    """
    check_lora(rank)
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=TARGETS)
    changed: nn.Module = inject_adapter_in_model(config, network)
    for name, parameter in changed.named_parameters():
        if name.startswith("conv_in.") or ".attn2.to_v." in name:
            parameter.requires_grad_()
    return changed


def merge_lora(network: nn.Module) -> nn.Module:
    """Add the low-rank changes to the weights that they change, and take them out."""
    from peft.tuners.lora import LoraLayer

    for name, module in list(network.named_modules()):
        if isinstance(module, LoraLayer):
            layer: Any = module.get_base_layer()
            (key,) = module.scaling
            down, up = (
                each[key].get_parameter("weight") for each in (module.lora_A, module.lora_B)
            )
            # Not PEFT's merge, which takes a kernel of 1 x 1 x 1 for one of two dimensions.
            change = up.detach().flatten(1) @ down.detach().flatten(1)
            layer.weight.data += module.scaling[key] * change.view_as(layer.weight)
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, layer)
    return network
