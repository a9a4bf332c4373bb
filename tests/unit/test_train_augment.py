"""Augmentation and crops: exact where they can be, and as often as asked."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainldm.train.augment import augment, random_crop
from brainldm.train.settings import Augment


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
