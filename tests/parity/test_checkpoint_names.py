"""Weights go between GenerativeModels, MONAI and brainldm, and compute the same in each."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from brainldm.checkpoint import (
    convert,
    load_into,
    load_model,
    save_model,
    to_current_names,
    to_old_names,
)
from brainldm.config import AutoencoderConfig, ModelConfig, UNetConfig
from brainldm.models.autoencoder import AutoencoderKL
from brainldm.models.unet import DiffusionUNet
from tests.toy import PUBLISHED, toy_config

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # GenerativeModels uses names that torch has deprecated
    import generative.networks.nets as old_nets
    import monai.networks.nets as new_nets

NETWORKS = ("autoencoder", "unet")
# Two resamplings and two attention levels: every kind of layer, at several depths.
TOY = toy_config().model_copy(
    update={
        "autoencoder": AutoencoderConfig(channels=(4, 8, 8), norm_num_groups=4),
        "unet": UNetConfig(channels=(4, 8, 8), num_head_channels=(0, 8, 4), norm_num_groups=4),
        "shape": (64, 96, 64),
    }
)


def oracle(nets: Any, network: str, config: ModelConfig) -> nn.Module:
    """The network as GenerativeModels or MONAI builds it."""
    channels = "num_channels" if nets is old_nets else "channels"
    if network == "autoencoder":
        options = config.autoencoder.model_dump()
        options[channels] = options.pop("channels")
        return nets.AutoencoderKL(
            spatial_dims=3,
            attention_levels=(False,) * len(config.autoencoder.channels),
            with_encoder_nonlocal_attn=False,
            with_decoder_nonlocal_attn=False,
            **options,
        )
    options = config.unet.model_dump()
    options[channels] = options.pop("channels")
    options["cross_attention_dim"] = options.pop("context_dim")
    return nets.DiffusionModelUNet(
        spatial_dims=3, with_conditioning=True, resblock_updown=True, **options
    )


def ours(network: str, config: ModelConfig) -> nn.Module:
    if network == "autoencoder":
        return AutoencoderKL(config.autoencoder)
    return DiffusionUNet(config.unet)


def randomise(module: nn.Module) -> nn.Module:
    """Random weights everywhere: zero-initialised layers would hide what is before them."""
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.data.normal_(std=0.2, generator=generator)
    return module.eval()


@torch.inference_mode()
def outputs(module: nn.Module, network: str) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    if network == "autoencoder":
        x = torch.randn(2, 1, 8, 8, 8, generator=generator)
        mean, sigma = module.encode(x)
        return [mean, sigma, module.decode(mean)]
    x = torch.randn(2, 7, 8, 4, 4, generator=generator)
    context = torch.randn(2, 1, 4, generator=generator)
    return [module(x, torch.tensor([3, 900]), context)]


def assert_same(a: nn.Module, b: nn.Module, network: str) -> None:
    for first, second in zip(outputs(a, network), outputs(b, network), strict=True):
        assert float((first - second).norm() / second.norm()) <= 1e-5


@pytest.fixture(scope="module")
def old() -> dict[str, nn.Module]:
    return {network: randomise(oracle(old_nets, network, TOY)) for network in NETWORKS}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("config", [TOY, PUBLISHED], ids=["toy", "published"])
def test_renamed_old_names_are_the_new_ones(network: str, config: ModelConfig) -> None:
    with torch.device("meta"):  # the published size without its memory
        before = oracle(old_nets, network, config).state_dict()
        after = oracle(new_nets, network, config).state_dict()
        own = ours(network, config).state_dict()
    renamed = {name: t.shape for name, t in to_current_names(before, network).items()}
    assert before.keys() != after.keys()
    assert renamed == {name: tensor.shape for name, tensor in after.items()}
    assert renamed == {name: tensor.shape for name, tensor in own.items()}
    assert list(to_old_names(after, network).keys() ^ before.keys()) == []


@pytest.mark.parametrize("network", NETWORKS)
def test_old_new_old_is_the_identity(old: dict[str, nn.Module], network: str) -> None:
    state = old[network].state_dict()
    renamed = to_current_names(state, network)
    back = to_old_names(renamed, network)
    assert list(back) == list(state)
    assert all(back[name] is state[name] for name in state)
    assert to_current_names(renamed, network) == renamed  # new names stay


def plain(state: dict[str, Tensor]) -> dict[str, Any]:
    return state


def wrapped(state: dict[str, Tensor]) -> dict[str, Any]:
    return {"epoch": 3, "state_dict": state, "optimizer": {"state": {}}}


def parallel(state: dict[str, Tensor]) -> dict[str, Any]:
    return {"model": {f"module.{name}": tensor for name, tensor in state.items()}}


@pytest.mark.parametrize("wrap", [plain, wrapped, parallel])
@pytest.mark.parametrize(
    "files", [("autoencoder.pt", "model.pt"), ("autoencoder.pth", "diffusion_model.pth")]
)
def test_old_weights_compute_the_same_in_our_networks(
    old: dict[str, nn.Module],
    wrap: Callable[[dict[str, Tensor]], dict[str, Any]],
    files: tuple[str, str],
    tmp_path: Path,
) -> None:
    for network, file in zip(NETWORKS, files, strict=True):
        torch.save(wrap(old[network].state_dict()), tmp_path / file)
    loaded = load_model(tmp_path, config=TOY)
    for network in NETWORKS:
        module = ours(network, TOY).eval()
        load_into(module, getattr(loaded, network), network)
        assert_same(module, old[network], network)


@pytest.fixture
def saved(old: dict[str, nn.Module], tmp_path: Path) -> Path:
    """The old weights as a directory of ours."""
    autoencoder, unet = (
        to_current_names(old[network].state_dict(), network) for network in NETWORKS
    )
    save_model(tmp_path / "ours", TOY, autoencoder, unet)
    return tmp_path / "ours"


def test_exported_to_monai(old: dict[str, nn.Module], saved: Path, tmp_path: Path) -> None:
    convert(saved, tmp_path / "monai", to="monai")
    for network, file in zip(NETWORKS, ("autoencoder.pt", "model.pt"), strict=True):
        module = oracle(new_nets, network, TOY).eval()
        module.load_state_dict(torch.load(tmp_path / "monai" / file))
        assert_same(module, old[network], network)


def test_exported_to_generativemodels(
    old: dict[str, nn.Module], saved: Path, tmp_path: Path
) -> None:
    convert(saved, tmp_path / "old", to="generativemodels")
    for network, file in zip(NETWORKS, ("autoencoder.pt", "model.pt"), strict=True):
        state = torch.load(tmp_path / "old" / file)
        assert state.keys() == old[network].state_dict().keys()
        again = oracle(old_nets, network, TOY).eval()
        again.load_state_dict(state)
        assert_same(again, old[network], network)
        # As the published bundle loads it.
        current = oracle(new_nets, network, TOY).eval()
        current.load_old_state_dict(state)
        assert_same(current, old[network], network)


@pytest.mark.parametrize("to", ["brainldm", "monai", "generativemodels"])
def test_a_model_keeps_its_hash_and_configuration(saved: Path, to: str, tmp_path: Path) -> None:
    before = load_model(saved)
    convert(saved, tmp_path / to, to=to)
    convert(tmp_path / to, tmp_path / "back")
    for directory in (tmp_path / to, tmp_path / "back"):
        after = load_model(directory)
        assert after.hash == before.hash
        assert after.config.model_copy(update={"weights": {}, "hash": ""}) == TOY
    assert load_model(tmp_path / "back").config == before.config
