"""Stage 2: targets and weights against closed forms, what is drawn, and what is learned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from brainldm.models.unet import DiffusionUNet, with_context
from brainldm.sampling.schedules import Schedule
from brainldm.train.diffusion import (
    NULL_CONTEXT,
    DiffusionStage,
    explained_weight,
    learn_all_but_idle,
    min_snr_weights,
)
from brainldm.train.draws import Draw
from brainldm.train.fit import accelerated, fit
from brainldm.train.latents import Latents
from brainldm.train.monitor import Monitor
from brainldm.train.settings import DiffusionSettings, load_settings
from brainldm.train.stage import Batch
from tests.toy import toy_unet


@pytest.mark.parametrize("velocity", [False, True])
def test_min_snr_weights_are_those_of_the_paper(velocity: bool) -> None:
    schedule, gamma = Schedule.scaled_linear(), 5.0
    weights = min_snr_weights(schedule, gamma, velocity)
    for t in (0, 100, 400, 999):
        alpha = float(schedule.alphas_cumprod[t])
        snr = alpha / (1 - alpha)
        expected = min(snr, gamma) / ((snr + 1) if velocity else snr)
        assert weights[t].item() == pytest.approx(expected, rel=1e-5)
    if not velocity:
        assert weights.max() == 1


def test_voxels_count_by_what_the_conditions_explain() -> None:
    context = torch.rand(200, 2)
    latents = torch.randn(200, 3, 2, 2, 2)
    latents[:, :, 0, 1, 0] = 5 * context[:, :1] + 3
    weight = explained_weight(latents, context)
    assert weight.mean().item() == pytest.approx(1)
    assert weight.argmax() == 2
    assert weight[0, 1, 0] > 3
    assert weight.flatten()[[0, 1, 3, 4, 5, 6, 7]].max() < 0.7


def diffusion_stage(
    model: nn.Module, latents: Tensor, context: Tensor, *changes: str, twins: int = 1
) -> DiffusionStage:
    """Latents (N, O, C, X, Y, Z), all but the last two learned from."""
    settings = load_settings("tiny", DiffusionSettings, changes)
    names = [f"sub-{i}" for i in range(len(latents))]
    count = len(latents) - 2
    shards = [latents.numpy()[i : i + 64] for i in range(0, len(latents), 64)]
    return DiffusionStage(
        model, Latents(shards), 2.0, context, range(count), range(count, count + 2), names,
        settings, twins,
    )  # fmt: skip


class Remembers(nn.Module):
    """Predicts zero, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, t: Tensor, token: Tensor) -> Tensor:
        self.asked = x, t, token
        return 0 * x[:, :1] + self.weight


def sample_batch(stage: DiffusionStage, draws: Sequence[Draw]) -> Batch:
    samples = [stage.load(draw) for draw in draws]
    return {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_the_target_is_the_noise_or_the_velocity(prediction: str) -> None:
    torch.manual_seed(0)
    model, context = Remembers(), torch.rand(12, 2)
    change = f"schedule.prediction={prediction}"
    stage = diffusion_stage(model, torch.randn(12, 2, 1, 4, 4, 4), context, change)
    batch = sample_batch(stage, [Draw(0, 0, i, 4) for i in range(4)])
    loss = stage.loss("unet", stage.networks, batch, 0)["loss"].item()

    z0, noise, t = (batch[key].flatten(0, 1) for key in ("z0", "noise", "t"))
    betas = torch.linspace(0.0015**0.5, 0.03**0.5, 1000, dtype=torch.float64) ** 2
    alpha = (1 - betas).cumprod(0).float()[t].view(-1, 1, 1, 1, 1)
    target = alpha.sqrt() * noise - (1 - alpha).sqrt() * z0 if prediction == "v" else noise
    assert loss == pytest.approx(target.square().mean().item(), rel=1e-5)
    x, asked, token = model.asked
    assert torch.equal(asked, t)
    noisy = alpha.sqrt() * z0 + (1 - alpha).sqrt() * noise
    assert (x[:, :1] - noisy).abs().max() < 1e-5
    assert torch.equal(x[:, 1:, 0, 0, 0], token[:, 0])
    assert torch.equal(token[:, 0], batch["context"].flatten(0, 1))


def test_weights_of_voxels_and_noise_levels() -> None:
    torch.manual_seed(0)
    stage = diffusion_stage(
        Remembers(), torch.randn(6, 1, 1, 4, 4, 4), torch.rand(6, 2),
        "schedule.prediction=epsilon", "min_snr=3", "flip=false",
    )  # fmt: skip
    stage.weight = torch.rand(4, 4, 4)
    batch = sample_batch(stage, [Draw(0, 0, i, 4) for i in range(4)])
    loss = stage.loss("unet", stage.networks, batch, 0)["loss"].item()
    levels = min_snr_weights(stage.schedule, 3, False)[batch["t"].flatten()]
    errors = batch["noise"].flatten(0, 1).square() * stage.weight
    assert loss == pytest.approx((errors.mean((1, 2, 3, 4)) * levels).mean().item(), rel=1e-5)


@pytest.mark.parametrize(
    ("power", "bounds"), [(1, [0, 250, 500, 750, 1000]), (2, [0, 62, 250, 562, 1000])]
)
def test_timesteps_cover_the_schedule_within_a_step(power: int, bounds: list[int]) -> None:
    stage = diffusion_stage(
        Remembers(), torch.randn(6, 1, 1, 4, 4, 4), torch.rand(6, 2), f"timestep_power={power}"
    )
    for step in range(50):
        for i in range(4):
            t = stage.load(Draw(0, step, i, 4))["t"].item()
            assert bounds[i] <= t <= bounds[i + 1]
            assert t < 1000


def test_heads_are_scaled_seen_from_both_sides_and_with_their_twins() -> None:
    latents, context = torch.randn(10, 2, 1, 4, 4, 4), torch.rand(10, 2)
    stage = diffusion_stage(Remembers(), latents, context, twins=2)
    seen = []
    for i in range(8):  # 4 pairs, 2 orientations
        batch = stage.load(Draw(0, 0, i, 8))
        (matches,) = [
            (pair, side)
            for pair in range(4)
            for side in range(2)
            if torch.equal(batch["z0"], 2 * latents[2 * pair : 2 * pair + 2, side])
        ]
        seen.append(matches)
        assert torch.equal(batch["context"], context[2 * matches[0] : 2 * matches[0] + 2])
        assert torch.equal(batch["noise"][0], batch["noise"][1])
        assert stage.subject(Draw(0, 0, i, 8)) == f"sub-{2 * matches[0]}"
    assert len(set(seen)) == 8


def test_conditions_are_dropped_as_often_as_asked() -> None:
    stage = diffusion_stage(
        Remembers(), torch.zeros(6, 1, 1, 2, 2, 2), torch.rand(6, 2), "condition_dropout=0.2"
    )
    contexts = torch.cat([stage.load(Draw(0, i, 0, 1))["context"] for i in range(1000)])
    dropped = (contexts == NULL_CONTEXT).all(1)
    assert ((contexts == NULL_CONTEXT).any(1) == dropped).all()
    assert 0.16 < dropped.float().mean() < 0.24


def test_the_held_out_loss_is_told_by_noise_level() -> None:
    torch.manual_seed(0)
    stage = diffusion_stage(
        Remembers(), torch.zeros(6, 1, 1, 4, 4, 4), torch.rand(6, 2), "schedule.prediction=v"
    )
    figures = stage.validate(stage.networks["unet"], 0).figures
    bands = [value for name, value in figures.items() if " t " in name]
    assert len(bands) == 5
    assert bands == sorted(bands, reverse=True)  # of nothing, v is sqrt(alpha) of the noise
    assert bands[0] > 0.8
    assert bands[-1] < 0.1
    assert figures["held-out/loss"] == pytest.approx(math.fsum(bands) / 5)


def test_layers_that_do_nothing_do_not_learn() -> None:
    model = learn_all_but_idle(DiffusionUNet(toy_unet(1, 4)))
    x, token = with_context(torch.randn(1, 1, 4, 4, 4), torch.rand(1, 4))
    model(x, torch.tensor([5]), token).sum().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name


def test_the_diffusion_model_learns_what_the_conditions_say(tmp_path: Path) -> None:
    """Latents are their first condition, so the answer to pure noise is v = -x0."""
    torch.manual_seed(0)
    context = torch.rand(40, 4)
    latents = (2 * context[:, 0] - 1).view(-1, 1, 1, 1, 1, 1).expand(-1, 1, 1, 4, 4, 4)
    model = learn_all_but_idle(DiffusionUNet(toy_unet(1, 4)))
    stage = diffusion_stage(
        model, latents.contiguous(), context,
        "training.steps=150", "training.learning_rate=8e-3", "training.batch_size=8",
        "training.ema_decay=0.95", "run.save_every=1000", "run.validate_every=1000",
    )  # fmt: skip
    with accelerated(stage.training, "cpu") as accelerator:
        monitor = Monitor(accelerator, lambda done, total, losses: None)
        trained = fit(stage, accelerator, tmp_path / "state.pt", monitor)
    model.load_state_dict(trained.weights)
    asked = torch.tensor([[0.1, 0.5, 0.5, 0.5], [0.9, 0.5, 0.5, 0.5]])
    x, token = with_context(torch.randn(2, 1, 4, 4, 4), asked)
    with torch.inference_mode():
        low, high = -model(x, torch.tensor([999, 999]), token).mean((1, 2, 3, 4))
    assert high - low > 2  # 3.2 when it has learned all
