"""A part of a scan made anew, and heads between two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from brainldm import Volume
from brainldm.conditions import ConditionRanges, Conditions
from brainldm.dataset.sidecar import MNI152, Provenance
from brainldm.edit.inpaint import Held
from brainldm.edit.interpolate import mixed, slerp
from brainldm.edit.membrane import membrane
from brainldm.errors import DataError, UsageError
from brainldm.pipeline.brain import BrainLDM
from brainldm.sampling.loop import sample
from brainldm.sampling.noise import NoiseSource
from brainldm.sampling.schedules import CLEAN, Schedule
from tests.gaussian import Gaussian
from tests.tame import head, tame_model
from tests.toy import PERSON, toy_config


@pytest.fixture(scope="module")
def model(toy_directory: Path) -> BrainLDM:
    return tame_model(toy_directory)


def hole(shape: tuple[int, ...], low: int, high: int) -> np.ndarray:
    inside = np.zeros(shape, bool)
    inside[low:high, low:high, low:high] = True
    return inside


@pytest.mark.parametrize("place", [(4, 9), (0, 5), (9, 12)], ids=["within", "corner", "end"])
def test_what_rises_evenly_goes_on_into_the_hole(place: tuple[int, int]) -> None:
    shape = (12, 13, 14)
    x, y, z = np.indices(shape)
    plane = (2 * x - y + 0.5 * z).astype(np.float32)
    inside = hole(shape, *place)
    broken = np.where(inside, 99, plane)
    found = membrane(broken, inside)
    assert np.array_equal(found[~inside], plane[~inside])
    if place[0]:  # nothing flows through the edge of the image
        assert np.abs(found - plane)[4:9, 4:9, 4:9].max() < 0.02
    assert found.min() >= plane.min() - 0.1
    assert found.max() <= plane.max() + 0.1


def test_without_a_hole_nothing_changes() -> None:
    image = np.random.default_rng(0).random((4, 5, 6)).astype(np.float32)
    assert np.array_equal(membrane(image, np.zeros(image.shape, bool)), image)


def test_what_is_held_ends_where_the_path_ends() -> None:
    schedule = Schedule.scaled_linear()
    gaussian = Gaussian(schedule)
    z0 = torch.full((1, 1, 4, 4, 4), 0.3)
    free = torch.zeros(1, 1, 4, 4, 4)
    free[..., :2] = 1
    levels = [CLEAN, *map(schedule.level, schedule.timesteps(5))]
    path = {level: level.alpha * z0 for level in levels}
    noise = NoiseSource([0]).draw((1, 4, 4, 4))
    solver = Held(free=free, path=path)
    z = sample(gaussian.epsilon, noise, schedule=schedule, solver=solver, steps=5)
    assert torch.equal(z[..., 2:], z0[..., 2:])
    alone = sample(gaussian.epsilon, noise, schedule=schedule, solver="ddim", steps=5)
    assert torch.equal(z[..., :2], alone[..., :2])


def inpaint(model: BrainLDM, volume: Volume, mask: Any, **options: Any) -> list[Volume]:
    return model.inpaint(volume, mask, PERSON, steps=3, progress=False, **options)


def test_only_the_mask_and_its_margin_change(model: BrainLDM) -> None:
    scan = Volume(1000 * head(model).array, model.affine)
    broken = scan.array.copy()
    mask = hole(scan.array.shape, 14, 19)
    broken[mask] = 5000
    first, second = inpaint(model, Volume(broken, scan.affine), mask, seeds=[1, 2])
    assert np.array_equal(first.array[~mask], broken[~mask])
    assert not np.array_equal(first.array, second.array)
    assert first.array[mask].max() < 2000  # nothing of what was there
    inner, outer = first.array[14, 16, 16], first.array[13, 16, 16]
    assert abs(inner - outer) < 300  # no seam
    record = Provenance.of(first.metadata)
    assert record.edit is not None
    assert (record.edit.kind, record.edit.seed) == ("inpainting", 1)
    assert record.edit.kept == pytest.approx(1 - mask.mean(), abs=1e-6)
    [again] = inpaint(model, Volume(broken, scan.affine), Volume(mask, scan.affine), seeds=[1])
    assert np.abs(again.array - first.array).max() < 0.5


def test_masks_that_are_none_are_refused(model: BrainLDM) -> None:
    scan = head(model)
    empty = np.zeros(scan.array.shape)
    with pytest.raises(DataError, match="covers 0% of the scan, 0 voxels"):
        inpaint(model, scan, empty)
    with pytest.raises(DataError, match="covers 100% of the scan"):
        inpaint(model, scan, empty + 1)
    with pytest.raises(DataError, match="another grid than the scan"):
        inpaint(model, scan, np.ones((3, 3, 3)))
    elsewhere = np.array(scan.affine)
    elsewhere[:3, 3] += 8
    with pytest.raises(DataError, match="another grid than the scan"):
        inpaint(model, scan, Volume(empty + 1, elsewhere))
    wide = Volume(
        np.pad(scan.array, 30), model.grid.resized([s + 60 for s in model.grid.shape]).matrix
    )
    with pytest.raises(DataError, match="outside what the model sees"):
        inpaint(model, wide, hole(wide.array.shape, 2, 5))
    with pytest.raises(UsageError, match="seeds is empty"):
        inpaint(model, scan, hole(scan.array.shape, 10, 12), seeds=[])


def test_the_way_between_two_heads_has_both_ends(model: BrainLDM) -> None:
    small, large = (
        model.invert(head(model, size), PERSON, steps=3, progress=False) for size in (50, 65)
    )
    heads = model.interpolate(small, large, 3, progress=False)
    sizes = [float(each.array.sum()) for each in heads]
    assert len(heads) == 3
    ends = [each.picture(each.walk([PERSON])) for each in (small, large)]
    assert np.abs(heads[0].array - ends[0]).max() < 1e-3
    assert np.abs(heads[2].array - ends[1]).max() < 1e-3
    assert sizes[1] not in (sizes[0], sizes[2])
    record = Provenance.of(heads[1].metadata)
    assert len(record.derived_from) == 2
    assert record.space == MNI152
    with pytest.raises(UsageError, match="1 heads from one to another: expected 2 or more"):
        model.interpolate(small, large, 1)


def test_noise_between_two_has_their_length() -> None:
    a, b = NoiseSource([0, 1]).draw((3, 8, 8, 8)).split(1)
    for share in (0.0, 0.3, 0.5, 1.0):
        length = (1 - share) * float(a.norm()) + share * float(b.norm())
        assert float(slerp(a, b, share).norm()) == pytest.approx(length, rel=1e-4)
    assert torch.allclose(slerp(a, b, 0), a, atol=1e-5)
    assert torch.allclose(slerp(a, b, 1), b, atol=1e-5)
    assert torch.allclose(slerp(a, 2 * a, 0.5), 1.5 * a, atol=1e-4)


def test_conditions_between_two_lie_between_them() -> None:
    ranges = ConditionRanges(toy_config().conditions)
    other = Conditions("M", 75, 50, 1350)
    middle = mixed(ranges, PERSON, other, 0.5)
    described = ranges.describe(middle)
    assert described["age"]["value"] == pytest.approx(70)
    assert described["sex"]["normalised"] == 0.5
    assert ranges.describe(mixed(ranges, PERSON, other, 0))["sex"]["value"] == "F"
    assert (
        np.abs(
            ranges.normalise([mixed(ranges, PERSON, other, 1)]) - ranges.normalise([other])
        ).max()
        < 1e-6
    )
