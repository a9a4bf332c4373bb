"""Stage 2: targets and weights against closed forms, what is drawn, and what is learned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from brainldm.config import Uniform, Variable
from brainldm.models.unet import DiffusionUNet, with_context
from brainldm.sampling.predictions import PREDICTIONS
from brainldm.sampling.schedules import Schedule
from brainldm.train.diffusion import (
    DiffusionStage,
    Teacher,
    explained_weight,
    learn_all_but_idle,
    min_snr_weights,
)
from brainldm.train.draws import Draw
from brainldm.train.feed import Batch
from brainldm.train.latent_samples import NULL_CONTEXT, LatentSamples
from brainldm.train.latents import SHARD, Encoded, Latents
from brainldm.train.phases import Course
from brainldm.train.presets import load_settings
from brainldm.train.settings import DiffusionSettings
from tests.learning import train
from tests.toy import toy_unet


@pytest.mark.parametrize("prediction", ["epsilon", "v", "flow"])
def test_min_snr_weights_are_those_of_the_paper(prediction: str) -> None:
    """An error of the output is one of x0, which counts by min(SNR, gamma)."""
    schedule, gamma = Schedule.scaled_linear(), 5.0
    weights = min_snr_weights(schedule, gamma, prediction)
    for t in (0, 100, 400, 999):
        level, z, error = schedule.level(t), torch.zeros(1), torch.ones(1)
        x0, _ = PREDICTIONS[prediction](error, z, level)
        snr = (level.alpha / level.sigma) ** 2
        assert weights[t].item() == pytest.approx(min(snr, gamma) * x0.item() ** 2, rel=1e-5)
    if prediction == "epsilon":
        assert weights.max() == 1


def test_voxels_count_by_what_the_conditions_explain() -> None:
    context = torch.rand(200, 2)
    latents = torch.randn(200, 2, 3, 2, 2, 2)
    latents[:, :, :, 0, 1, 0] = 5 * context[:, :1, None] + 3
    heads = range(10, 200)
    weight = explained_weight(encode(latents, context), heads)
    values = 2 * latents[heads].mean(1).flatten(1)
    factors = context[heads] - context[heads].mean(0)
    fit = factors @ torch.linalg.lstsq(factors, values).solution
    explained = fit.var(0).view(3, 2, 2, 2).sum(0)
    assert (weight - (1 + explained / explained.mean()) / 2).abs().max() < 1e-5
    assert weight.mean().item() == pytest.approx(1)
    assert weight.argmax() == 2
    assert weight[0, 1, 0] > 3
    assert weight.flatten()[[0, 1, 3, 4, 5, 6, 7]].max() < 0.7


@pytest.mark.parametrize("heads", [1, 3])
def test_voxels_count_evenly_where_conditions_explain_nothing(heads: int) -> None:
    context = torch.tensor([[0.1, 0.7]]).expand(heads, -1)
    latents = torch.randn(heads, 2, 3, 2, 2, 2)
    assert torch.equal(
        explained_weight(encode(latents, context), range(heads)), torch.ones(2, 2, 2)
    )


def encode(latents: Tensor, context: Tensor) -> Encoded:
    """Latents (N, O, C, X, Y, Z), scaled by 2."""
    shards = [latents.numpy()[i : i + SHARD] for i in range(0, len(latents), SHARD)]
    return Encoded(Latents(shards), 2.0, context)


def diffusion_stage(
    model: nn.Module, latents: Tensor, context: Tensor, *changes: str
) -> DiffusionStage:
    """Latents (N, O, C, X, Y, Z), all but the last two learned from."""
    course = Course(load_settings("tiny", DiffusionSettings, changes))
    names = [f"sub-{i}" for i in range(len(latents))]
    count, encoded = len(latents) - 2, encode(latents, context)
    pairs = [(i, i + 1) for i in range(0, count, 2)]
    samples = LatentSamples(encoded, range(count), pairs, names, course, torch.device("cpu"))
    return DiffusionStage(model, samples, course, encoded, range(count, count + 2))


class Remembers(nn.Module):
    """Predicts zero, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, t: Tensor, token: Tensor) -> Tensor:
        self.asked = x, t, token
        return 0 * x[:, :1] + self.weight


def sample_batch(stage: DiffusionStage, draws: Sequence[Draw]) -> Batch:
    samples = [stage.samples(draw) for draw in draws]
    return {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}


@pytest.mark.parametrize("prediction", ["epsilon", "v", "flow"])
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
    velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * z0
    target = {"epsilon": noise, "v": velocity, "flow": noise - z0}[prediction]
    assert loss == pytest.approx(target.square().mean().item(), rel=1e-5)
    x, asked, token = model.asked
    assert torch.equal(asked, t)
    noisy = alpha.sqrt() * z0 + (1 - alpha).sqrt() * noise
    assert (x[:, :1] - noisy).abs().max() < 1e-5
    assert torch.equal(x[:, 1:, 0, 0, 0], token[:, 0])
    assert torch.equal(token[:, 0], batch["context"].flatten(0, 1))


def test_a_guided_teacher_is_the_target() -> None:
    torch.manual_seed(0)

    class Sums(nn.Module):
        """Answers with the sum of the conditions."""

        def forward(self, x: Tensor, t: Tensor, token: Tensor) -> Tensor:
            return torch.zeros_like(x[:, :1]) + token[:, 0].sum(1).view(-1, 1, 1, 1, 1)

    context = torch.rand(12, 2)
    phases = "phases=[{share: 0.5, guidance: 1.5}, {share: 0.5}]"
    stage = diffusion_stage(Remembers(), torch.randn(12, 2, 1, 4, 4, 4), context, phases)
    even = Uniform(source="the test")
    first, second = (Variable(name=name, high=10, distribution=even) for name in "ab")
    stage.teacher = Teacher(Sums(), [first, second], null_context=-1.0)
    batch = sample_batch(stage, [Draw(0, 0, i, 4) for i in range(4)])
    asked = batch["context"].flatten(0, 1).sum(1)
    taught = stage.loss("unet", stage.networks, batch, 0)["loss"].item()
    assert taught == pytest.approx((-2 + 1.5 * (asked + 2)).square().mean().item(), rel=1e-5)
    assert stage.loss("unet", stage.networks, batch, 11)["loss"].item() != pytest.approx(taught)
    # What one condition changes, in place of all of them.
    emphasis = "emphasis={b: {strength: 3, against: 4, along: {a: -0.5}}}"
    other = diffusion_stage(Remembers(), torch.randn(12, 2, 1, 4, 4, 4), context, emphasis)
    other.teacher = stage.teacher
    batch = sample_batch(other, [Draw(0, 0, i, 4) for i in range(4)])
    a, b = batch["context"].flatten(0, 1).T
    larger = a + b + 2 * (b - 0.4) * (1 - 0.5)
    taught = other.loss("unet", other.networks, batch, 0)["loss"].item()
    assert taught == pytest.approx(larger.square().mean().item(), rel=1e-5)


@pytest.mark.parametrize("prediction", ["epsilon", "v", "flow"])
def test_a_teacher_that_knows_one_head_teaches_where_it_should_lie(prediction: str) -> None:
    """The answers of a model of the head moved, at every level of noise."""
    torch.manual_seed(0)
    head, shift = torch.randn(2, 1, 4, 4, 4).double()
    stage = diffusion_stage(
        Remembers(), torch.randn(6, 1, 1, 4, 4, 4), torch.rand(6, 2),
        f"schedule.prediction={prediction}", "centre=3",
    )  # fmt: skip

    class Knows(nn.Module):
        """Answers as a model to whom there is one head only."""

        def forward(self, x: Tensor, t: Tensor, token: Tensor) -> Tensor:
            return answer(head, x[:, :1], t)

    def answer(known: Tensor, z: Tensor, t: Tensor) -> Tensor:
        rows = []
        for each, at in zip(z, t.tolist(), strict=True):
            level = stage.schedule.level(at)
            noise = (each - level.alpha * known) / level.sigma
            outputs = {
                "epsilon": noise,
                "v": level.alpha * noise - level.sigma * known,
                "flow": noise - known,
            }
            rows.append(outputs[prediction])
        return torch.stack(rows)

    z, t = torch.randn(4, 1, 4, 4, 4).double(), torch.tensor([20, 300, 600, 999])
    stage.shift = shift
    taught = stage._taught(
        Teacher(Knows(), (), -1.0), z, t, torch.rand(4, 2), stage.course.settings
    )
    expected = answer(head + shift, z, t)
    assert ((taught - expected).norm() / expected.norm()).item() < 1e-5


def test_weights_of_voxels_and_noise_levels() -> None:
    torch.manual_seed(0)
    stage = diffusion_stage(
        Remembers(), torch.randn(6, 1, 1, 4, 4, 4), torch.rand(6, 2),
        "schedule.prediction=epsilon", "min_snr=3", "flip=false",
    )  # fmt: skip
    stage.weight = torch.rand(4, 4, 4)
    batch = sample_batch(stage, [Draw(0, 0, i, 4) for i in range(4)])
    loss = stage.loss("unet", stage.networks, batch, 0)["loss"].item()
    levels = min_snr_weights(stage.schedule, 3, "epsilon")[batch["t"].flatten()]
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
            t = stage.samples(Draw(0, step, i, 4))["t"].item()
            assert bounds[i] <= t <= bounds[i + 1]
            assert t < 1000


def test_heads_are_scaled_seen_from_both_sides_and_then_in_pairs() -> None:
    latents, context = torch.randn(10, 2, 1, 4, 4, 4), torch.rand(10, 2)
    changes = (
        *("training.steps=2", "training.group=person"),
        "phases=[{share: 0.5}, {share: 0.5, pairs: true}]",
    )
    stage = diffusion_stage(Remembers(), latents, context, *changes)
    assert len(stage.samples(Draw(0, 0, 0, 8))["z0"]) == 1
    seen = []
    for i in range(8):  # 4 pairs, 2 orientations
        batch = stage.samples(Draw(0, 1, i, 8))
        (matches,) = [
            (pair, side)
            for pair in range(4)
            for side in range(2)
            if torch.equal(batch["z0"], 2 * latents[2 * pair : 2 * pair + 2, side])
        ]
        seen.append(matches)
        assert torch.equal(batch["context"], context[2 * matches[0] : 2 * matches[0] + 2])
        assert torch.equal(batch["noise"][0], batch["noise"][1])
        assert stage.samples.subject(Draw(0, 1, i, 8)) == f"sub-{2 * matches[0]}"
    assert len(set(seen)) == 8


def test_conditions_are_dropped_as_often_as_asked() -> None:
    stage = diffusion_stage(
        Remembers(), torch.zeros(6, 1, 1, 2, 2, 2), torch.rand(6, 2), "condition_dropout=0.2"
    )
    contexts = torch.cat([stage.samples(Draw(0, i, 0, 1))["context"] for i in range(1000)])
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
    trained = train(stage, tmp_path / "state.pt")
    model.load_state_dict(trained.weights)
    asked = torch.tensor([[0.1, 0.5, 0.5, 0.5], [0.9, 0.5, 0.5, 0.5]])
    x, token = with_context(torch.randn(2, 1, 4, 4, 4), asked)
    with torch.inference_mode():
        low, high = -model(x, torch.tensor([999, 999]), token).mean((1, 2, 3, 4))
    assert high - low > 2  # 3.2 when it has learned all
