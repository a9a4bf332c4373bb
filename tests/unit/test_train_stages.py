"""Both stages: losses and targets against closed forms, what is drawn, and what is learned."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from brainldm.config import AutoencoderConfig, UNetConfig
from brainldm.errors import BrainLDMError, MissingExtraError
from brainldm.models.autoencoder import AutoencoderKL
from brainldm.models.unet import DiffusionUNet, with_context
from brainldm.sampling.schedules import Schedule
from brainldm.train.augment import augment, random_crop
from brainldm.train.autoencoder import AutoencoderStage, autoencoder_losses, new_autoencoder
from brainldm.train.diffusion import (
    NULL_CONTEXT,
    DiffusionStage,
    explained_weight,
    learn_all_but_idle,
    min_snr_weights,
)
from brainldm.train.draws import Draw
from brainldm.train.fit import accelerated, fit
from brainldm.train.latents import Latents, encode_all
from brainldm.train.monitor import Monitor
from brainldm.train.settings import (
    Augment,
    AutoencoderLoss,
    AutoencoderSettings,
    DiffusionSettings,
    Training,
    load_settings,
)
from brainldm.train.stage import Batch

AFFINE = ((-1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))
ADVERSARIAL = "loss.adversarial={weight: 1, start: 3, layers: 1, channels: 4, learning_rate: 0.01}"


def losses(image: Tensor, reconstruction: Tensor, **weights: float) -> dict[str, float]:
    mean, sigma = torch.zeros(len(image), 2, 2, 2, 2), torch.ones(len(image), 2, 2, 2, 2)
    parts = autoencoder_losses(image, reconstruction, mean, sigma, AutoencoderLoss(**weights))
    return {name: part.item() for name, part in parts.items()}


def test_a_perfect_reconstruction_costs_nothing() -> None:
    image = torch.rand(2, 1, 4, 4, 4)
    assert set(losses(image, image, gradient=1, kl=1).values()) == {0}


def test_l1_and_its_gradients() -> None:
    image, ramp = torch.rand(2, 1, 4, 4, 4), torch.arange(4.0).view(1, 1, 4, 1, 1)
    shifted = losses(image, image + 0.5, gradient=1)
    assert shifted["l1"] == pytest.approx(0.5)
    assert shifted["gradient"] == pytest.approx(0, abs=1e-6)  # a shift has none
    sloped = losses(image, image + 0.3 * ramp, gradient=0.5)
    assert sloped["l1"] == pytest.approx(0.3 * 1.5)
    assert sloped["gradient"] == pytest.approx(0.5 * 0.3 / 3)  # along one axis of three
    small = losses(image, image + 0.02, beta=0.1)
    assert small["l1"] == pytest.approx(0.02**2 / (2 * 0.1), rel=1e-4)
    assert "gradient" not in small


def test_the_divergence_is_that_of_normal_distributions() -> None:
    mean, sigma = torch.randn(3, 2, 2, 2, 2), torch.rand(3, 2, 2, 2, 2) + 0.1
    image = torch.zeros(3, 1, 4, 4, 4)
    parts = autoencoder_losses(image, image, mean, sigma, AutoencoderLoss(kl=0.25))
    posterior = torch.distributions.Normal(mean, sigma)
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0, 1))
    assert parts["kl"].item() == pytest.approx(0.25 * expected.sum().item() / 3, rel=1e-5)


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


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_no_augmentation_is_the_same_head() -> None:
    image = torch.rand(1, 5, 6, 7)
    assert torch.equal(augment(image, Augment(), seeded()), image)


def test_a_flip_is_one_in_half_of_all_draws() -> None:
    image = torch.rand(1, 5, 6, 7)
    flipped = 0
    for seed in range(200):
        result = augment(image, Augment(flip=True), seeded(seed))
        assert torch.equal(result, image) or torch.equal(result, image.flip(1))
        flipped += torch.equal(result, image.flip(1))
    assert 70 < flipped < 130


def drawn(monkeypatch: pytest.MonkeyPatch, *values: float) -> None:
    """What `augment` draws: flip, angles, scale, shifts, power, factor; from -1 to 1."""
    uniform = (torch.tensor(values) + 1) / 2
    monkeypatch.setattr("brainldm.train.augment.torch.rand", lambda *a, **k: uniform)


def test_a_quarter_turn_about_each_axis(monkeypatch: pytest.MonkeyPatch) -> None:
    """A right angle takes voxels to voxels, also where sides differ."""
    image = torch.rand(1, 5, 5, 7)
    image[:, :, :, 0] = image[:, :, :, -1] = 0
    drawn(monkeypatch, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0)  # about z, y, x in turn
    turned = augment(image, Augment(rotate=90), seeded())
    expected = [torch.rot90(image, k, (1, 2)) for k in (1, -1)]
    assert min((turned - each).abs().max() for each in expected) < 1e-5
    drawn(monkeypatch, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0)
    turned = augment(image, Augment(rotate=90), seeded())
    inner = torch.zeros_like(image)
    inner[:, :, :, 1:6] = torch.rot90(image[:, :, :, 1:6], 1, (1, 3))
    other = torch.zeros_like(image)
    other[:, :, :, 1:6] = torch.rot90(image[:, :, :, 1:6], -1, (1, 3))
    assert min((turned - each).abs().max() for each in (inner, other)) < 1e-5


def test_small_rotations_keep_the_centre_and_the_size() -> None:
    image = torch.zeros(1, 9, 11, 13)
    image[0, 4, 5, 6] = 1
    ball = torch.stack(
        torch.meshgrid(*(torch.arange(float(s)) for s in (9, 11, 13)), indexing="ij")
    )
    ball = (3.5 - (ball - torch.tensor([4.0, 5, 6])[:, None, None, None]).norm(dim=0)).clamp(0, 1)
    for seed in range(5):
        moved = augment(image, Augment(rotate=30), seeded(seed))
        assert moved[0, 4, 5, 6] == pytest.approx(1, abs=1e-4)
        turned = augment(ball[None], Augment(rotate=30), seeded(seed))
        assert (turned - ball).abs().max() < 0.25  # a ball stays one, but for interpolation


def test_shifts_are_in_voxels_and_bring_in_air(monkeypatch: pytest.MonkeyPatch) -> None:
    image = torch.rand(1, 5, 6, 7) + 0.1
    drawn(monkeypatch, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0)  # the last of z, y, x
    moved = augment(image, Augment(shift=2), seeded())
    assert (moved[:, :-2] - image[:, 2:]).abs().max() < 1e-5
    assert moved[:, -2:].abs().max() < 1e-5


def test_intensities_stay_in_their_range() -> None:
    image = torch.rand(1, 4, 4, 4)
    results = [augment(image, Augment(intensity=0.5), seeded(seed)) for seed in range(20)]
    assert all(r.min() >= 0 and r.max() <= 1 for r in results)
    assert max((r - image).abs().max() for r in results) > 0.1


def test_a_crop_is_a_part_and_reaches_everywhere() -> None:
    image = torch.arange(5 * 6 * 7.0).view(1, 5, 6, 7)
    starts = set()
    for seed in range(100):
        part = random_crop(image, (4, 4, 7), seeded(seed))
        assert part.shape == (1, 4, 4, 7)
        i, j, k = np.unravel_index(int(part[0, 0, 0, 0]), (5, 6, 7))
        assert torch.equal(part, image[:, i : i + 4, j : j + 4, k : k + 7])
        starts.add((int(i), int(j), int(k)))
    assert starts == {(i, j, 0) for i in range(2) for j in range(3)}


RAMP = torch.linspace(0, 1, 16).view(1, 16, 1, 1).expand(1, 16, 16, 16)


def autoencoder_stage(*changes: str, model: AutoencoderKL | None = None) -> AutoencoderStage:
    settings = load_settings("tiny", AutoencoderSettings, changes)
    model = model or new_autoencoder(settings.network, 0)
    return AutoencoderStage(
        model, lambda i: RAMP, [0, 1], [1], ["sub-A", "sub-B"], settings, AFFINE
    )


def run(stage: Any, state: Path) -> Any:
    seen: list[dict[str, float]] = []
    with accelerated(stage.training, "cpu") as accelerator:
        monitor = Monitor(accelerator, lambda done, total, losses: seen.append(dict(losses)))
        return fit(stage, accelerator, state, monitor), seen[1:]


def test_the_autoencoder_learns_on_crops_and_whole_heads(tmp_path: Path) -> None:
    stage = autoencoder_stage()
    model = stage.networks["autoencoder"]
    assert isinstance(model, AutoencoderKL)
    with torch.no_grad():
        before = stage.validate(model, 0).figures["held-out/psnr"]
    for crop in ("[8, 8, 8]", "null"):
        changes = (f"crop={crop}", "training.steps=60", "training.learning_rate=3e-3")
        stage = autoencoder_stage(*changes, model=model)
        trained, _ = run(stage, tmp_path / f"{crop}.pt")
        model.load_state_dict(trained.weights)
    assert trained.findings.figures["held-out/psnr"] > before + 6  # half the error


def test_what_a_head_comes_with() -> None:
    stage = autoencoder_stage("crop=[8, 8, 16]")
    batch = stage.load(Draw(0, 0, 0, 2))
    assert batch["image"].shape == (1, 8, 8, 16)
    assert batch["noise"].shape == (2, 4, 4, 8)
    assert {stage.subject(Draw(0, 3, i, 2)) for i in (0, 1)} == {"sub-A", "sub-B"}


def test_the_discriminator_learns_only_from_its_start(tmp_path: Path) -> None:
    stage = autoencoder_stage(ADVERSARIAL, "training.steps=5")
    start = {k: v.clone() for k, v in stage.networks["discriminator"].state_dict().items()}
    learned: list[bool] = []

    def progress(done: int, total: int, losses: Any) -> None:
        now = stage.networks["discriminator"].state_dict()
        learned.append(any(not torch.equal(now[k], v) for k, v in start.items()))
        if done:
            assert ("discriminator/loss" in losses) == (done > 3)
            assert ("autoencoder/adversarial" in losses) == (done > 3)

    with accelerated(stage.training, "cpu") as accelerator:
        fit(stage, accelerator, tmp_path / "state.pt", Monitor(accelerator, progress))
    assert learned == [False, False, False, False, True, True]


def test_least_squares_of_a_judge() -> None:
    """Of a verdict that is 0 everywhere: 1 for the autoencoder, and half of it for the judge."""

    class Undecided(nn.Module):
        def forward(self, x: Tensor) -> list[Tensor]:
            return [x * 0]

    stage = autoencoder_stage(ADVERSARIAL)
    stage.networks["discriminator"] = Undecided()
    image = RAMP[None]
    batch: Batch = {"image": image, "noise": torch.zeros(1, 2, 8, 8, 8), "slices": torch.zeros(1)}
    parts = stage.loss("autoencoder", stage.networks, batch, 3)
    assert parts["adversarial"].item() == pytest.approx(1)
    total = sum(part.item() for name, part in parts.items() if name != "loss")
    assert parts["loss"].item() == pytest.approx(total)
    assert stage.loss("discriminator", stage.networks, batch, 3)["loss"].item() == 0.5


def perceptual(file: Path) -> AutoencoderStage:
    return autoencoder_stage(f"loss.perceptual={{weight: 0.1, file: '{file}'}}")


def test_a_perceptual_loss_needs_torchvision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(MissingExtraError, match=r'pip install "brainldm\[perceptual\]"'):
        perceptual(tmp_path / "resnet.pth")


def test_a_perceptual_loss_needs_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
    with pytest.raises(BrainLDMError, match=r"There is no file .*resnet\.pth .*perceptual\.file"):
        perceptual(tmp_path / "resnet.pth")
    (tmp_path / "resnet.pth").write_bytes(b"damaged")
    with pytest.raises(BrainLDMError, match=r"Cannot use .*resnet\.pth for the perceptual loss"):
        perceptual(tmp_path / "resnet.pth")


def test_a_perceptual_loss_is_weighted_and_takes_the_gradients_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Difference(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            assert len(x) == 1
            return (x - y).abs().mean() * torch.rand(())  # MONAI draws slices from the global seed

    monkeypatch.setattr("brainldm.train.autoencoder._perceptual", lambda settings: Difference())
    stage = perceptual(tmp_path / "resnet.pth")
    image = torch.cat([RAMP[None], 0.5 * RAMP[None]])
    slices = torch.tensor([3, 4])
    batch: Batch = {"image": image, "noise": torch.zeros(2, 2, 8, 8, 8), "slices": slices}
    before = torch.random.get_rng_state()
    parts = stage.loss("autoencoder", stage.networks, batch, 0)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert set(parts) == {"loss", "l1", "kl", "perceptual"}
    shares = [torch.rand((), generator=seeded(int(s))) for s in slices]
    errors = (batch["reconstruction"] - image).abs().mean((1, 2, 3, 4))
    expected = 0.1 * sum(share * error for share, error in zip(shares, errors, strict=True)) / 2
    assert parts["perceptual"].item() == pytest.approx(float(expected), rel=1e-4)


def test_latents_are_encoded_once(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = AutoencoderKL(AutoencoderConfig(channels=(4, 8), norm_num_groups=2, num_res_blocks=1))
    heads = torch.rand(3, 1, 8, 8, 8)
    loaded: list[int] = []

    def load(head: int) -> Tensor:
        loaded.append(head)
        return heads[head]

    with accelerated(Training(steps=1, learning_rate=1), "cpu") as accelerator:
        for _ in range(2):
            latents = encode_all(model, load, 3, True, tmp_path, accelerator)
    assert loaded == [0, 1, 2]
    assert len(latents) == 3
    with torch.no_grad():
        for head in range(3):
            for orientation, image in enumerate((heads[head], heads[head].flip(1))):
                mean = model.encode(image[None])[0][0]
                assert torch.equal(latents[head][orientation], mean)
    subset = torch.stack([latents[0], latents[2]])
    assert latents.deviation([0, 2]) == pytest.approx(subset.std(correction=0).item(), rel=1e-5)


def test_latents_that_are_damaged_or_not_finite(tmp_path: Path) -> None:
    model = AutoencoderKL(AutoencoderConfig(channels=(4, 8), norm_num_groups=2, num_res_blocks=1))

    def encode(load: Any) -> Latents:
        with accelerated(Training(steps=1, learning_rate=1), "cpu") as accelerator:
            return encode_all(model, load, 2, False, tmp_path, accelerator)

    with pytest.raises(BrainLDMError, match="latents of head 1 that are NaN"):
        encode(lambda head: torch.full((1, 8, 8, 8), float("nan")))
    assert not list(tmp_path.iterdir())
    encode(lambda head: torch.rand(1, 8, 8, 8))
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(BrainLDMError, match=r"Cannot read the latents .*00000\.npy.*Remove"):
        encode(lambda head: torch.rand(1, 8, 8, 8))


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


def test_timesteps_cover_the_schedule_within_a_step() -> None:
    stage = diffusion_stage(Remembers(), torch.randn(6, 1, 1, 4, 4, 4), torch.rand(6, 2))
    for step in range(20):
        for i in range(4):
            assert stage.load(Draw(0, step, i, 4))["t"].item() // 250 == i


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
    model = learn_all_but_idle(DiffusionUNet(UNET))
    x, token = with_context(torch.randn(1, 1, 4, 4, 4), torch.rand(1, 4))
    model(x, torch.tensor([5]), token).sum().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name


UNET = UNetConfig(
    in_channels=5,
    out_channels=1,
    channels=(8, 16),
    num_res_blocks=1,
    attention_levels=(False, True),
    num_head_channels=(0, 16),
    norm_num_groups=4,
)


def test_the_diffusion_model_learns_what_the_conditions_say(tmp_path: Path) -> None:
    """Latents are their first condition, so the answer to pure noise is v = -x0."""
    torch.manual_seed(0)
    context = torch.rand(40, 4)
    latents = (2 * context[:, 0] - 1).view(-1, 1, 1, 1, 1, 1).expand(-1, 1, 1, 4, 4, 4)
    model = learn_all_but_idle(DiffusionUNet(UNET))
    stage = diffusion_stage(
        model, latents.contiguous(), context,
        "training.steps=150", "training.learning_rate=8e-3", "training.batch_size=8",
        "training.ema_decay=0.95", "run.save_every=1000", "run.validate_every=1000",
    )  # fmt: skip
    trained, _ = run(stage, tmp_path / "state.pt")
    model.load_state_dict(trained.weights)
    asked = torch.tensor([[0.1, 0.5, 0.5, 0.5], [0.9, 0.5, 0.5, 0.5]])
    x, token = with_context(torch.randn(2, 1, 4, 4, 4), asked)
    with torch.inference_mode():
        low, high = -model(x, torch.tensor([999, 999]), token).mean((1, 2, 3, 4))
    assert high - low > 2  # 3.2 when it has learned all
