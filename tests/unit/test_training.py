"""The training loop learns, and a resumed run goes where an uninterrupted one would."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from brainldm.config import AutoencoderConfig, UNetConfig
from brainldm.models.unet import DiffusionUNet, with_context
from brainldm.sampling.schedules import Schedule
from brainldm.train.autoencoder import autoencoder_loss, new_autoencoder, train_autoencoder
from brainldm.train.diffusion import explained_weight, train_diffusion
from brainldm.train.fit import Recipe, fit


class Interrupted(Exception):
    pass


def line() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def loss(model: nn.Linear, step: int) -> Tensor:
    x = torch.randn(8, 3)
    return ((model(x) - x.sum(1, keepdim=True)) ** 2).mean()


def quiet(line: str) -> None:
    pass


RECIPE = Recipe(steps=60, learning_rate=0.05, warmup=5, ema_decay=0.9)


def test_a_resumed_run_is_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit(line(), loss, RECIPE, tmp_path / "whole.state", quiet)
    monkeypatch.setattr("brainldm.train.fit.SAVE_EVERY", -1.0)

    def interrupted(model: nn.Linear, step: int) -> Tensor:
        if step == 25:
            raise Interrupted
        return loss(model, step)

    with pytest.raises(Interrupted):
        fit(line(), interrupted, RECIPE, tmp_path / "parts.state", quiet)
    resumed = fit(line(), loss, RECIPE, tmp_path / "parts.state", quiet)
    assert (resumed.weight - whole.weight).abs().max() < 1e-7


def test_it_learns(tmp_path: Path) -> None:
    recipe = Recipe(steps=400, learning_rate=0.05, warmup=5, ema_decay=0.9)
    trained = fit(line(), loss, recipe, tmp_path / "state", quiet)
    assert (trained.weight - 1).abs().max() < 0.02


def test_the_autoencoder_learns_on_crops_and_whole_heads(tmp_path: Path) -> None:
    config = AutoencoderConfig(
        channels=(4, 8), latent_channels=2, num_res_blocks=1, norm_num_groups=2
    )
    ramp = torch.linspace(0, 255, 16).to(torch.uint8)
    images = ramp.view(1, 1, 16, 1, 1).expand(2, 1, 16, 16, 16)
    x = images[:1].float() / 255

    def error(model: nn.Module) -> float:
        with torch.inference_mode():
            return float(autoencoder_loss(x, *model(x)))

    model = new_autoencoder(config, 0)
    before = error(model)
    recipe = Recipe(steps=60, learning_rate=3e-3, warmup=5, ema_decay=0.9)
    for crop in ((8, 8, 8), None):
        state = tmp_path / f"{crop}.state"
        model = train_autoencoder(model, images, recipe, crop=crop, state=state, log=quiet)
    assert error(model) < before / 2


def test_a_perfect_reconstruction_costs_nothing_but_the_divergence() -> None:
    image = torch.rand(1, 1, 4, 4, 4)
    mean, sigma = torch.zeros(1, 2, 2, 2, 2), torch.ones(1, 2, 2, 2, 2)
    assert autoencoder_loss(image, image, mean, sigma).item() == pytest.approx(0, abs=1e-7)


def test_voxels_count_by_what_the_conditions_explain() -> None:
    context = torch.rand(200, 2)
    latents = torch.randn(200, 3, 2, 2, 2)
    latents[:, :, 0, 1, 0] = 5 * context[:, :1] + 3
    weight = explained_weight(latents, context)
    assert weight.mean().item() == pytest.approx(1)
    assert weight.argmax() == 2
    assert weight[0, 1, 0] > 3
    assert weight.flatten()[[0, 1, 3, 4, 5, 6, 7]].max() < 0.7


def test_the_diffusion_model_learns_what_the_conditions_say(tmp_path: Path) -> None:
    """Latents are their first condition, so the answer to pure noise is v = -x0."""
    torch.manual_seed(0)
    context = torch.rand(40, 4)
    latents = (4 * context[:, 0] - 2)[:, None, None, None, None].expand(-1, 1, 4, 4, 4)
    config = UNetConfig(
        in_channels=5,
        out_channels=1,
        channels=(8, 16),
        num_res_blocks=1,
        attention_levels=(False, True),
        num_head_channels=(0, 16),
        norm_num_groups=4,
    )
    trained = train_diffusion(
        DiffusionUNet(config),
        latents,
        context,
        Schedule.scaled_linear(beta_end=0.03),
        Recipe(steps=300, learning_rate=5e-3, warmup=10, ema_decay=0.95),
        pairs=8,
        state=tmp_path / "state",
        log=quiet,
    )
    asked = torch.tensor([[0.1, 0.5, 0.5, 0.5], [0.9, 0.5, 0.5, 0.5]])
    x, token = with_context(torch.randn(2, 1, 4, 4, 4), asked)
    with torch.inference_mode():
        low, high = -trained(x, torch.tensor([999, 999]), token).mean((1, 2, 3, 4))
    assert high - low > 2  # 3.2 when it has learned all
