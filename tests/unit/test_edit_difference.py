"""A change found between two images, made in a scan of another grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from brainldm.edit.demons import velocity_between
from brainldm.edit.difference import Difference
from brainldm.edit.original import Original
from brainldm.errors import DataError
from brainldm.image.grid import Grid
from brainldm.image.volume import Volume
from brainldm.simulate.deform import exponential, jacobian, pull

GRID = Grid.of((40, 44, 40), [[-2, 0, 0, 40], [0, 2, 0, -50], [0, 0, 2, -30], [0, 0, 0, 1]])


def head(grid: Grid, ventricle: float) -> NDArray[np.float32]:
    """A ball of 34 mm with a darker ball in it, of a radius in mm."""
    x, y, z = grid.points()
    far = np.sqrt((x - 1) ** 2 + (y + 7) ** 2 + (z - 9) ** 2)
    ball = 0.8 / (1 + np.exp(far - 34)) - 0.5 / (1 + np.exp(far - ventricle))
    wave = 0.05 * np.sin(x / 4) * np.sin(y / 5) * np.sin(z / 3)
    return (ball + wave * (ball > 0.4)).astype(np.float32)


def error(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean((a - b) ** 2)))


BEFORE, AFTER = head(GRID, 10), head(GRID, 14)


@pytest.fixture(scope="module")
def difference() -> Difference:
    return Difference.between(BEFORE, AFTER, GRID)


def test_the_deformation_explains_the_change_and_does_not_fold(difference: Difference) -> None:
    by = torch.from_numpy(difference.displacement)
    moved = pull(torch.from_numpy(BEFORE)[None], by)[0].numpy()
    assert error(moved, AFTER) < 0.35 * error(BEFORE, AFTER)
    assert float(jacobian(by).min()) > 0.1


def test_the_same_image_has_no_deformation() -> None:
    image = torch.from_numpy(BEFORE)
    assert float(velocity_between(image, image).abs().max()) < 1e-4


def test_a_shift_is_found_in_voxels_at_the_edges_that_show_it() -> None:
    shifted = ndimage.shift(BEFORE, (0, 1.0, 0), order=1)
    velocity = velocity_between(torch.from_numpy(BEFORE), torch.from_numpy(shifted))
    by = exponential(velocity).numpy()
    slope = np.gradient(BEFORE)[1] ** 2
    # Less than all of it: what lasts is what is pulled at in every iteration.
    assert -1.1 < np.average(by[1], weights=slope) < -0.6
    for axis in (0, 2):
        assert np.average(by[axis], weights=slope) == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("degrees", [0, 20])
def test_the_change_is_made_in_a_finer_scan_that_lies_elsewhere(
    difference: Difference, degrees: float
) -> None:
    angle = np.deg2rad(degrees)
    motion = np.eye(4)
    motion[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    motion[:3, 3] = (3, -5, 4)
    fine = Grid.of(
        (80, 60, 70), [[0, 0, 1.3, -45], [1.2, 0, 0, -55], [0, 1.4, 0, -38], [0, 0, 0, 1]]
    )
    there = Grid.of(fine.shape, motion @ fine.matrix)  # where the scan lies in MNI152 space
    scan = Volume(1000 * head(there, 10), fine.matrix)
    changed = difference.within(Original.of(scan, motion), scale=1000)
    truth = 1000 * head(there, 14)
    assert error(changed.array, truth) < 0.4 * error(scan.array, truth)
    assert 2 < changed.farthest < 6
    same = changed.array == scan.array
    assert same[~changed.where].all()
    assert 0.4 < changed.kept < 0.97
    far = np.sqrt(((there.points() - np.array([1, -7, 9])[:, None, None, None]) ** 2).sum(axis=0))
    assert same[far > 30].mean() > 0.98


def test_nothing_changed_is_the_scan_bit_for_bit() -> None:
    scan = Volume(BEFORE * 700, GRID.matrix)
    changed = Difference.between(BEFORE, BEFORE, GRID).within(Original.of(scan), 700)
    assert np.array_equal(changed.array, scan.array)
    assert changed.kept == 1
    assert changed.farthest == 0


def test_a_change_of_intensity_alone_is_added() -> None:
    paler = BEFORE.copy()
    paler[15:25, 18:28, 15:25] -= 0.15
    scan = Volume(BEFORE * 100, GRID.matrix)
    changed = Difference.between(BEFORE, paler, GRID).within(Original.of(scan), 100)
    assert error(changed.array, paler * 100) < 0.8 * error(scan.array, paler * 100)


def test_fine_grids_are_halved() -> None:
    fine = Grid.of((80, 88, 80), GRID.coarser(0.5).matrix)
    found = Difference.between(head(fine, 10), head(fine, 14), fine)
    assert found.grid.shape == (40, 44, 40)
    scan = Volume(head(GRID, 10), GRID.matrix)
    truth = head(GRID, 14)
    assert error(found.within(Original.of(scan)).array, truth) < 0.5 * error(scan.array, truth)


def test_a_motion_that_is_none_is_refused() -> None:
    with pytest.raises(DataError, match="motion takes the scan's world to MNI152"):
        Original.of(Volume(BEFORE, GRID.matrix), np.zeros((4, 4)))
