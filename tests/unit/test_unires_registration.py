"""Rigid registration across contrasts, and the grid that registered scans share."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from brainldm.errors import DataError
from brainldm.image.grid import Grid
from brainldm.unires import registration
from brainldm.unires.registration import Seen, motion, register
from brainldm.unires.space import check_overlap, mean_grid


def blobs(at: np.ndarray) -> np.ndarray:
    """An image of bumps at places in mm, (3, ...)."""
    rng = np.random.default_rng(1)
    total = np.zeros(at.shape[1:])
    for centre, width, height in zip(
        rng.uniform(-45, 45, (40, 3)), rng.uniform(7, 20, 40), rng.uniform(0.2, 1, 40), strict=True
    ):
        total += height * np.exp(-((at.T - centre) ** 2).sum(-1).T / (2 * width**2))
    return total


def view(moved: np.ndarray, axis: int, invert: bool = False) -> Seen:
    sizes = np.full(3, 3.0)
    sizes[axis] = 5.0
    shape = (130 / sizes).astype(int)
    matrix = np.diag([*sizes, 1.0])
    matrix[:3, 3] = -sizes * (shape - 1) / 2
    grid = Grid.of(shape, matrix)
    there = np.linalg.inv(moved) @ np.vstack([grid.points().reshape(3, -1), np.ones(shape.prod())])
    array = blobs(there[:3].reshape(3, *shape))
    array = 3 - array**0.7 * (array > 0.2) if invert else array
    array = array + 0.01 * np.random.default_rng(axis).standard_normal(array.shape)
    return Seen(array, np.ones(array.shape, bool), grid)


def test_scans_of_two_contrasts_are_brought_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registration, "LEVELS_MM", (8.0, 4.0))
    monkeypatch.setattr(registration, "KEPT", (2, 1))
    monkeypatch.setattr(registration, "MOST_POINTS", 15_000)
    way = motion([6, -5, 4, 6, -5, 7], np.zeros(3))
    found, score = register(view(np.eye(4), 2), view(way, 0, invert=True))
    rest = found @ way
    assert np.linalg.norm(rest[:3, 3]) < 0.5
    assert np.rad2deg(Rotation.from_matrix(rest[:3, :3]).magnitude()) < 0.5
    assert score > 1.1
    assert np.abs(found[:3, :3] @ found[:3, :3].T - np.eye(3)).max() < 1e-9, "no scaling"


def test_the_mean_grid_holds_every_scan_and_has_their_mean_axes() -> None:
    turns = [motion([0, 0, 0, 0, 0, angle], np.zeros(3)) for angle in (6.0, -6.0)]
    grids = [
        Grid.of((40, 40, 10), turn @ np.diag([-2, 2, 8, 1.0]) @ _shift(-20, -20, -5))
        for turn in turns
    ]
    mean = mean_grid(grids, 1.5)
    assert np.abs(mean.matrix[:3, :3] - 1.5 * np.eye(3)).max() < 1e-9
    assert mean.orientation == "RAS"
    for grid in grids:
        assert grid.within(mean).all()


def _shift(*by: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = by
    return matrix


def test_one_scan_keeps_its_own_axes() -> None:
    grid = Grid.of((20, 30, 8), motion([5, 5, 5, 20, 9, 3], np.zeros(3)) @ np.diag([1, 1, 5, 1]))
    mean = mean_grid([grid], 1.0)
    assert mean.shape == (20, 30, 40)
    assert np.abs(mean.matrix[:3, 0] - grid.matrix[:3, 0]).max() < 1e-9


def test_fields_of_view_that_do_not_overlap_are_refused() -> None:
    here = Grid.of((40, 40, 10), np.diag([4, 4, 4, 1.0]))
    there = Grid.of((40, 40, 10), _shift(300, 0, 0) @ here.matrix)
    check_overlap([here, here], ["a", "b"])
    with pytest.raises(DataError, match="a and b have 0% of their fields of view in common"):
        check_overlap([here, there], ["a", "b"])
