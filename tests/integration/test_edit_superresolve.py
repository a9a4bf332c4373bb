"""A thick or partial scan made fine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from brainldm import Volume
from brainldm.dataset.sidecar import MNI152, Provenance
from brainldm.edit.original import Original
from brainldm.edit.superresolve import Agreeing, Measurement
from brainldm.errors import UsageError
from brainldm.image.grid import Grid
from brainldm.pipeline.brain import BrainLDM
from brainldm.sampling.loop import sample
from brainldm.sampling.noise import NoiseSource
from brainldm.sampling.schedules import Schedule
from brainldm.unires.projection import Projection
from tests.gaussian import Gaussian
from tests.tame import head, tame_model
from tests.toy import PERSON


@pytest.fixture(scope="module")
def model(toy_directory: Path) -> BrainLDM:
    return tame_model(toy_directory)


def thick(volume: Volume, factor: int = 2, first: int = 0, slices: int | None = None) -> Volume:
    """What a scanner sees of a head in slices of several voxels, all of it or a part."""
    shape = volume.grid.shape
    count = shape[2] // factor - first if slices is None else slices
    affine = volume.affine @ np.diag([1.0, 1, factor, 1])
    place = first * factor + (factor - 1) / 2
    affine[:3, 3] = (volume.affine @ [0, 0, place, 1])[:3]
    grid = Grid.of((*shape[:2], count), affine)
    seen = Projection.of(grid, volume.grid)(torch.from_numpy(volume.array))
    return Volume(seen.numpy(), affine, scaled=True)


def measured(scan: Volume, model: BrainLDM) -> Measurement:
    original = Original.of(scan)
    return Measurement.of(original, original.on(model.grid))


def test_an_image_comes_to_agree_by_and_by_and_one_that_agrees_stays(model: BrainLDM) -> None:
    truth = head(model)
    measurement = measured(thick(truth), model)
    other = torch.from_numpy(np.random.default_rng(0).random(truth.array.shape, np.float32))
    left = [measurement.disagreement(other)]
    for _ in range(5):
        other = measurement.agreeing(other)
        left.append(measurement.disagreement(other))
    assert left[1] < 0.3 * left[0]
    assert left[5] < 0.1 * left[0]
    assert left == sorted(left, reverse=True)
    same = torch.from_numpy(truth.array)
    assert float((measurement.agreeing(same) - same).abs().max()) < 1e-3


def test_what_a_part_of_a_head_does_not_show_is_not_changed(model: BrainLDM) -> None:
    part = measured(thick(head(model), first=4, slices=6), model)
    assert 0.2 < part.share < 0.6
    other = torch.zeros(model.grid.shape)
    change = part.agreeing(other)
    assert float(change[:, :, 10:18].abs().max()) > 0.5
    assert float(change[:, :, :6].abs().max()) == 0
    assert float(change[:, :, 22:].abs().max()) == 0


def test_voxels_that_are_finer_than_the_grid_are_averaged(model: BrainLDM) -> None:
    scan = thick(head(model))
    fine = scan.affine @ np.diag([0.5, 0.5, 1, 1])
    fine[:3, 3] = (scan.affine @ [-0.25, -0.25, 0, 1])[:3]
    twice = Volume(scan.array.repeat(2, 0).repeat(2, 1), fine, scaled=True)
    once, found = measured(scan, model), measured(twice, model)
    assert found.projection.image.equals(once.projection.image)
    assert float((found.seen - once.seen).abs().max()) < 1e-6


def test_what_agrees_with_one_head_alone_ends_there() -> None:
    schedule = Schedule.scaled_linear()
    z0 = torch.full((1, 1, 4, 4, 4), 0.3)
    z = sample(
        Gaussian(schedule).epsilon,
        NoiseSource([0]).draw((1, 4, 4, 4)),
        schedule=schedule,
        solver=Agreeing(agreeing=lambda x0: z0),
        steps=5,
    )
    assert float((z - z0).abs().max()) < 1e-5


def super_resolve(model: BrainLDM, scan: Volume, **options: Any) -> list[Volume]:
    return model.super_resolve(scan, PERSON, steps=3, progress=False, **options)


def test_a_scanner_would_see_the_scan_of_the_result(model: BrainLDM) -> None:
    scan = thick(head(model))
    first, second = super_resolve(model, scan, seeds=[1, 2])
    assert first.grid.equals(model.grid)
    assert not np.array_equal(first.array, second.array)
    seen = Projection.of(scan.grid, first.grid)(torch.from_numpy(first.array)).numpy()
    within = slice(1, -1)
    assert np.sqrt(np.mean((seen - scan.array)[:, :, within] ** 2)) < 0.03
    record = Provenance.of(first.metadata)
    assert record.edit is not None
    assert (record.edit.kind, record.edit.seed) == ("super-resolution", 1)
    assert record.edit.disagreement is not None
    assert record.edit.disagreement < 0.03
    assert record.space == MNI152
    [again] = super_resolve(model, scan, seeds=[1])
    assert np.abs(again.array - first.array).max() < 1e-3


def test_intensities_of_a_scanner_come_to_the_models_scale(model: BrainLDM) -> None:
    scan = thick(head(model))
    raw = Volume(700 * scan.array + 20, scan.affine)
    [result] = super_resolve(model, raw, seeds=[1])
    assert 0.8 < result.array.max() <= 1
    assert result.scaled


def test_a_scan_that_is_fine_and_whole_is_refused(model: BrainLDM) -> None:
    with pytest.raises(UsageError, match=r"as fine as the model's grid.*nothing to add"):
        super_resolve(model, head(model))
