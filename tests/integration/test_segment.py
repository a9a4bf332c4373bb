"""Labels come back on the image's own grid, volumes are what they count, and doubt is told."""

from __future__ import annotations

from itertools import permutations

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from brainldm.errors import DataError
from brainldm.image.grid import Grid
from brainldm.image.volume import Volume
from brainldm.segment import quality
from brainldm.segment.labelled import Labelled, label
from brainldm.segment.quality import expected_dice, find_cuts
from brainldm.segment.scale import rescaled
from brainldm.segment.view import View, view_grid
from tests.segmenters import Thresholds


def small_head(spacing: float = 1.0) -> tuple[Volume, NDArray[np.int16]]:
    """Nested ellipsoids, not symmetric, in a box of 80 x 96 x 72 mm, and their numbers."""
    grid = Grid.of(
        [round(side / spacing) for side in (80, 96, 72)],
        [[spacing, 0, 0, -40], [0, spacing, 0, -30], [0, 0, spacing, -20], [0, 0, 0, 1]],
    )
    x, y, z = grid.points()
    x, y, z = x - grid.points()[0].mean(), y - 18, z - 16
    outer = (x / 30) ** 2 + (y / 36) ** 2 + (z / 24) ** 2 < 1
    white = (x / 24) ** 2 + (y / 28) ** 2 + (z / 18) ** 2 < 1
    fluid = ((abs(x) - 8) / 5) ** 2 + ((y - 6) / 9) ** 2 + (z / 5) ** 2 < 1
    image = np.zeros(grid.shape, np.float32)
    numbers = np.zeros(grid.shape, np.int16)
    right = x > 0
    for where, intensity, left in ((outer, 0.5, 3), (white, 0.8, 2), (fluid, 0.25, 4)):
        image[where] = intensity
        numbers[where] = np.where(right, {2: 41, 3: 42, 4: 43}[left], left)[where]
    image[:3, :3, :] = 1  # what fixes the scale: brighter than all that is found
    return Volume(image, grid.matrix), numbers


def dice(a: NDArray[np.integer], b: NDArray[np.integer], number: int) -> float:
    return 2 * ((a == number) & (b == number)).sum() / ((a == number).sum() + (b == number).sum())


@pytest.fixture(autouse=True)
def _unscaled(monkeypatch: pytest.MonkeyPatch) -> None:
    """These images are on the network's scale already."""
    monkeypatch.setattr("brainldm.segment.view.rescaled", lambda image: image)


@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_any_orientation(axes: tuple[int, ...]) -> None:
    volume, numbers = small_head()
    flips = np.where(np.array(axes) == 1, 1, -1)
    turn = np.stack([axes, flips], axis=1)
    image, truth = (
        nib.Nifti1Image(array, volume.affine).as_reoriented(turn)
        for array in (volume.array, numbers)
    )
    found = label(Volume.from_nibabel(image), Thresholds())
    assert found.image.grid.equals(Grid.of(image.shape, image.affine))
    assert np.array_equal(found.image.array, np.asarray(truth.dataobj))


@pytest.mark.parametrize("spacing", [(1.5, 1.5, 1.5), (0.8, 0.9, 1.2), (1, 1, 3)])
def test_any_voxels(spacing: tuple[float, float, float]) -> None:
    volume, numbers = small_head()
    shape = [int(side / width) for side, width in zip(numbers.shape, spacing, strict=True)]
    affine = volume.affine @ np.diag([*spacing, 1])
    affine[:3, 3] += np.array(spacing) / 2
    coarse = volume.resample(Grid.of(shape, affine))
    found = label(coarse, Thresholds())
    assert found.image.array.shape == tuple(shape)
    near = nearest(numbers, volume.affine, found.image.grid)
    for number in (2, 41, 3, 42):
        assert dice(found.image.array, near, number) > 0.8


def nearest(numbers: NDArray[np.int16], affine: NDArray[np.float64], grid: Grid) -> NDArray:
    points = np.linalg.inv(affine)[:3] @ np.vstack(
        [grid.points().reshape(3, -1), np.ones(grid.points()[0].size)]
    )
    i, j, k = np.clip(np.rint(points).astype(int).T, 0, np.array(numbers.shape) - 1).T
    return numbers[i, j, k].reshape(grid.shape)


def test_oblique_axes() -> None:
    volume, numbers = small_head()
    turn = np.eye(4)
    c, s = np.cos(0.3), np.sin(0.3)
    turn[:2, :2] = [[c, -s], [s, c]]
    turned = Volume(volume.array, turn @ volume.affine)  # the same voxels, elsewhere
    assert np.array_equal(label(turned, Thresholds()).image.array, numbers)


def test_volumes_are_what_is_counted() -> None:
    volume, numbers = small_head()
    found = label(volume, Thresholds())
    for number in (2, 41, 3, 42, 4, 43):
        assert found.volumes[number] == pytest.approx((numbers == number).sum() / 1000, rel=1e-3)
    assert found.volumes[10] == pytest.approx(0, abs=1e-3)
    assert found.total("ventricle") == pytest.approx(np.isin(numbers, (4, 43)).sum() / 1000, 1e-3)


def test_a_whole_head_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "INTRACRANIAL_ML", (50, 200))
    monkeypatch.setattr(quality, "BRAIN_SHARE", (0.5, 1))
    monkeypatch.setattr(quality, "LEAST", 0.1)
    volume, numbers = small_head()
    measures = label(volume, Thresholds()).measures
    whole = np.count_nonzero(numbers) / 1000
    brain = np.isin(numbers, (2, 41, 3, 42)).sum() / 1000
    assert measures.head_scaling == pytest.approx(2074.4 / whole, 1e-3)
    assert measures.brain_volume_ml == pytest.approx(brain * 2074.4 / whole, 1e-3)
    assert measures.ventricular_volume_ml == pytest.approx(whole - brain, 1e-3)


def untrusted(found: Labelled, words: str) -> None:
    assert not found.quality.trusted
    assert any(words in fault for fault in found.quality.faults)
    with pytest.raises(DataError, match="volumes of this image are not known"):
        _ = found.measures


def test_doubt_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    volume, _ = small_head()
    untrusted(label(volume, Thresholds()), "mL within the skull")
    monkeypatch.setattr(quality, "INTRACRANIAL_ML", (50, 400))
    untrusted(label(volume, Thresholds(score=1.0)), "not segmented with certainty")


def test_two_heads() -> None:
    volume, _ = small_head()
    both = Volume(np.concatenate([volume.array, volume.array], axis=1), volume.affine)
    untrusted(label(both, Thresholds()), "more than one head")


def test_a_head_that_is_cut() -> None:
    volume, _ = small_head()
    slab = Volume(volume.array[:, :, :38], volume.affine)
    with pytest.raises(DataError, match="38 mm large"):
        label(slab, Thresholds())
    half = Volume(np.pad(volume.array[:, :48], ((0, 0), (16, 0), (0, 0))), volume.affine)
    untrusted(label(half, Thresholds()), "cut at the front of the image")
    inside = np.zeros((60, 60, 60), bool)
    inside[10:50, 10:50, 30:] = True
    assert find_cuts(inside) == ("top",)
    inside[..., -1] = False  # a network takes the last slice for air at times
    assert find_cuts(inside) == ("top",)
    inside[..., -2] = False
    assert find_cuts(inside) == ()


def test_no_head() -> None:
    volume, _ = small_head()
    with pytest.raises(DataError, match="constant"):
        label(Volume(np.ones_like(volume.array), volume.affine), Thresholds())
    empty = label(Volume(np.where(volume.array == 1, 1, 0), volume.affine), Thresholds())
    untrusted(empty, "no brain was found")
    assert not empty.image.array.any()
    hounsfield = np.where(volume.array > 0, 40, -1000)
    hounsfield[:3, :3] = 900
    with pytest.raises(DataError, match="Hounsfield"):
        label(Volume(hounsfield, volume.affine), Thresholds())
    far = volume.affine @ np.diag([20.0, 20, 20, 1])
    with pytest.raises(DataError, match="mm large"):
        label(Volume(volume.array, far), Thresholds())


def test_the_view_keeps_the_field_of_view() -> None:
    affine = np.array([[0, 0, -2.0, 50], [0.7, 0, 0, 3], [0, -1.1, 0, 9], [0, 0, 0, 1]])
    grid = Grid.of((90, 100, 40), affine)
    seen = view_grid(grid)
    assert seen.spacing == pytest.approx((1, 1, 1))
    assert seen.orientation == "RAS"
    assert seen.shape == (80, 63, 110)
    assert np.allclose(seen.corners.mean(axis=0), grid.corners.mean(axis=0))


def test_air_is_not_looked_at() -> None:
    volume, numbers = small_head()
    affine = volume.affine.copy()
    affine[:3, 3] -= 40
    wide = Volume(np.pad(volume.array, 40), affine)
    seen = View.of(wide)
    assert seen.grid.shape < tuple(side - 10 for side in wide.array.shape)
    found = label(wide, Thresholds()).image.array
    assert np.array_equal(found, np.pad(numbers, 40))
    with_two = Volume(np.concatenate([wide.array, wide.array]), affine)
    assert View.of(with_two).grid.shape[0] > wide.array.shape[0]


def test_a_small_voxel_is_averaged() -> None:
    rng = np.random.default_rng(0)
    noise = Volume(rng.standard_normal((160, 160, 160)), np.diag([0.5, 0.5, 0.5, 1]))
    assert View.of(noise).image.std() < 0.5


def test_expected_dice_is_dice_where_probabilities_are_right() -> None:
    certain, probable = np.array([0, 8.0, 0]), np.array([0, 10.0, 0])
    assert expected_dice(certain, probable, np.array([0, 10.0, 0])) == pytest.approx(0.8 / 2)


def test_the_scale_does_not_hang_on_units() -> None:
    rng = np.random.default_rng(0)
    image = rng.random((20, 20, 20), dtype=np.float32)
    assert np.allclose(rescaled(image), rescaled(700 * image - 30), atol=1e-4)
    assert not rescaled(np.ones((4, 4, 4), np.float32)).any()
