"""Stage 1: its losses against closed forms, and what it learns."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from brainldm.errors import MissingExtraError, ModelError, StorageError, UsageError
from brainldm.models.autoencoder import AutoencoderKL
from brainldm.train.autoencoder import AutoencoderStage, new_autoencoder
from brainldm.train.draws import Draw
from brainldm.train.feed import Batch
from brainldm.train.head_samples import HeadSamples
from brainldm.train.image_stage import check_sizes
from brainldm.train.losses import autoencoder_losses
from brainldm.train.phases import Course
from brainldm.train.presets import load_settings
from brainldm.train.settings import AutoencoderLoss, AutoencoderSettings
from tests.learning import train

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


RAMP = torch.linspace(0, 1, 16).view(1, 16, 1, 1).expand(1, 16, 16, 16)


def autoencoder_stage(*changes: str, model: AutoencoderKL | None = None) -> AutoencoderStage:
    course = Course(load_settings("tiny", AutoencoderSettings, changes))
    model = model or new_autoencoder(course.settings.network, 0)
    samples = HeadSamples(lambda i: RAMP, [0, 1], ["sub-A", "sub-B"], course)
    return AutoencoderStage(model, samples, course, lambda i: RAMP, [1], AFFINE)


def test_the_autoencoder_learns_on_crops_and_whole_heads(tmp_path: Path) -> None:
    stage = autoencoder_stage()
    model = stage.networks["autoencoder"]
    assert isinstance(model, AutoencoderKL)
    with torch.no_grad():
        before = stage.validate(model, 0).figures["held-out/psnr"]
    phases = "phases=[{share: 0.5, crop: [8, 8, 8]}, {share: 0.5}]"
    changes = (phases, "training.steps=120", "training.learning_rate=3e-3")
    trained = train(autoencoder_stage(*changes, model=model), tmp_path / "state.pt")
    assert trained.findings.figures["held-out/psnr"] > before + 6  # half the error


def test_what_a_head_comes_with() -> None:
    stage = autoencoder_stage("crop=[8, 8, 16]")
    batch = stage.samples(Draw(0, 0, 0, 2))
    assert batch["image"].shape == (1, 8, 8, 16)
    assert batch["noise"].shape == (2, 4, 4, 8)
    assert {stage.samples.subject(Draw(0, 3, i, 2)) for i in (0, 1)} == {"sub-A", "sub-B"}


def test_each_phase_has_its_own_crop_and_sizes_are_checked_in_all() -> None:
    phases = "phases=[{share: 0.5, crop: [8, 8, 16]}, {share: 0.5, crop: [32, 8, 8]}]"
    stage = autoencoder_stage(phases, "training.steps=4", "training.batch_size=1")
    assert stage.samples(Draw(0, 1, 0, 1))["image"].shape == (1, 8, 8, 16)
    with pytest.raises(UsageError, match=r"crop is \(32, 8, 8\), larger than the images"):
        check_sizes((16, 16, 16), 2, stage.course, "Each image")


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

    train(stage, tmp_path / "state.pt", progress)
    assert learned == [False, False, False, False, True, True]


def test_least_squares_of_a_judge() -> None:
    """Of a verdict that is 0 everywhere: 1 for the autoencoder, and half of it for the judge."""

    class Undecided(nn.Module):
        def forward(self, x: Tensor) -> list[Tensor]:
            return [x * 0]

    stage = autoencoder_stage(ADVERSARIAL)
    stage.networks["discriminator"] = Undecided()
    image = RAMP[None]
    batch: Batch = {
        "image": image,
        "noise": torch.zeros(1, 2, 8, 8, 8),
        "slices": torch.zeros(1).int(),
    }
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
    module = ModuleType("torchvision")
    module.__spec__ = ModuleSpec("torchvision", None)
    monkeypatch.setitem(sys.modules, "torchvision", module)
    with pytest.raises(StorageError, match=r"There is no file .*resnet\.pth .*perceptual\.file"):
        perceptual(tmp_path / "resnet.pth")
    (tmp_path / "resnet.pth").write_bytes(b"damaged")
    with pytest.raises(ModelError, match=r"Cannot use .*resnet\.pth for the perceptual loss"):
        perceptual(tmp_path / "resnet.pth")


def test_a_perceptual_loss_is_weighted_and_takes_the_gradients_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Difference(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            assert len(x) == 1
            return (x - y).abs().mean() * torch.rand(())  # MONAI draws slices from the global seed

    monkeypatch.setattr("brainldm.train.image_stage.load_perceptual", lambda settings: Difference())
    stage = perceptual(tmp_path / "resnet.pth")
    image = torch.cat([RAMP[None], 0.5 * RAMP[None]])
    slices = torch.tensor([3, 4])
    batch: Batch = {"image": image, "noise": torch.zeros(2, 2, 8, 8, 8), "slices": slices}
    before = torch.random.get_rng_state()
    parts = stage.loss("autoencoder", stage.networks, batch, 0)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert set(parts) == {"loss", "l1", "kl", "perceptual"}
    shares = [torch.rand((), generator=torch.Generator().manual_seed(int(s))) for s in slices]
    errors = (batch["reconstruction"] - image).abs().mean((1, 2, 3, 4))
    expected = 0.1 * sum(share * error for share, error in zip(shares, errors, strict=True)) / 2
    assert parts["perceptual"].item() == pytest.approx(float(expected), rel=1e-4)
