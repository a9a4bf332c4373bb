"""Joint total variation: against closed forms, a direct solution and another method's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from brainldm.errors import DataError
from brainldm.image.grid import Grid
from brainldm.unires import Projection, Scan, solve
from brainldm.unires.admm import Measurement, Problem
from brainldm.unires.conjugate import conjugate_gradients
from brainldm.unires.gradient import add_laplacian, divergence, gradient
from brainldm.unires.space import with_margin

SPACING = (1.0, 2.0, 0.5)


def denoised(images: torch.Tensor, weights: list[float], precision: float = 1.0) -> torch.Tensor:
    """Images (C, X, Y, Z) of 1 mm and intensities about 1, each a contrast, with its lambda."""
    grid = Grid.of(images.shape[1:], np.eye(4))
    identity = Projection.of(grid, grid)
    channels = [
        [Measurement(each, torch.ones_like(each, dtype=torch.bool), identity, precision)]
        for each in images
    ]
    scale = max(weights) * len(images) ** 0.5
    problem = Problem(channels, (1.0,) * 3, [each / scale for each in weights], images.clone())
    problem.minimise((scale,), most=150, last_gain=1e-9)
    return problem.volumes


def test_the_divergence_is_the_gradients_adjoint() -> None:
    y, p = torch.rand(5, 6, 7).double(), torch.rand(3, 5, 6, 7).double()
    there = (gradient(y, SPACING, 3.0) * p).sum()
    assert abs(there - (y * divergence(p, SPACING, 3.0)).sum()) < 1e-10
    both = torch.zeros_like(y)
    add_laplacian(both, y, SPACING, 9.0)
    assert (both - divergence(gradient(y, SPACING, 3.0), SPACING, 3.0)).abs().max() < 1e-9


def test_no_difference_leads_out_of_the_volume() -> None:
    steps = gradient(torch.ones(4, 4, 4), SPACING)
    assert float(steps.abs().max()) == 0


def test_conjugate_gradients_solve_what_a_direct_method_solves() -> None:
    """[tau A'A + mu D'D] y = b, the quadratic half of an iteration, with a thick oblique scan."""
    volume = Grid.of((7, 6, 8), np.eye(4))
    motion = np.eye(4)
    motion[:3, :3] = _turn(0.1)
    projection = Projection.of(Grid.of((7, 6, 2), np.diag([1, 1, 4, 1.0])), volume, motion)

    def normal(y: torch.Tensor) -> torch.Tensor:
        result = projection.adjoint(projection(y)) * 2
        add_laplacian(result, y, (1.0, 1.0, 1.0), 0.3)
        return result + 0.01 * y

    size = int(np.prod(volume.shape))
    columns = [normal(each.reshape(volume.shape)).reshape(-1) for each in torch.eye(size)]
    right = torch.rand(volume.shape)
    exact = torch.linalg.solve(torch.stack(columns).double(), right.reshape(-1).double())
    found = torch.zeros(volume.shape)
    conjugate_gradients(normal, right, found, torch.ones(volume.shape), most=400, tolerance=1e-7)
    assert (found.reshape(-1) - exact).norm() < 1e-3 * exact.norm()


def _turn(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


@pytest.mark.parametrize("contrasts", [1, 2, 3])
def test_a_step_is_lowered_by_its_closed_form(contrasts: int) -> None:
    """Of two halves of n planes, each moves by lambda / (tau n sqrt(C)) towards the other."""
    step = torch.zeros(contrasts, 12, 3, 3)
    step[:, 6:] = 1.0
    found = denoised(step, [0.9] * contrasts, precision=2.0)
    shift = 0.9 / (2.0 * 6 * contrasts**0.5)
    assert (found[:, :6] - shift).abs().max() < 2e-3
    assert (found[:, 6:] - (1 - shift)).abs().max() < 2e-3


def test_a_small_step_is_levelled() -> None:
    step = torch.zeros(1, 8, 3, 3)
    step[:, 4:] = 0.2
    found = denoised(step, [2.0])
    assert (found - 0.1).abs().max() < 1e-3


def dual_ascent(image: torch.Tensor, weights: list[float], steps: int = 800) -> torch.Tensor:
    """Joint total variation by projected gradients on the dual (Chambolle 2004), in float64."""
    image = image.double()
    dual = torch.zeros(len(image), 3, *image.shape[1:]).double()

    def primal() -> torch.Tensor:
        parts = zip(dual, weights, strict=True)
        return image - torch.stack([divergence(p, (1.0, 1.0, 1.0), w) for p, w in parts])

    for _ in range(steps):
        parts = zip(primal(), weights, strict=True)
        dual += torch.stack([gradient(y, (1.0, 1.0, 1.0), w) for y, w in parts]) / (
            12 * max(weights) ** 2
        )
        dual /= dual.square().sum(dim=(0, 1)).sqrt().clamp(min=1)
    return primal()


def test_it_agrees_with_another_method() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.zeros(9, 8, 7)
    image[3:7, 3:6, 2:5] = 1.0
    noisy = torch.stack([image, 2 - image])
    noisy += 0.2 * torch.randn(noisy.shape, generator=generator)
    weights = [0.25, 0.15]
    theirs, ours = dual_ascent(noisy, weights), denoised(noisy, weights)
    assert float((ours - theirs).norm() / theirs.norm()) < 1e-3


def test_what_is_not_observed_is_no_data() -> None:
    """A hole takes its surroundings' value, and the border is not drawn to 0."""
    rng = np.random.default_rng(0)
    array = np.full((12, 12, 12), 100.0) + rng.normal(0, 3, (12, 12, 12))
    array[:3, :3] = rng.normal(0, 1, (3, 3, 12)) ** 2 + 0.1
    array[6:9, 6:9, 6:9] = np.nan
    grid = Grid.of(array.shape, np.eye(4))
    [volume] = solve([Scan(array, grid)], grid).volumes.values()
    assert np.abs(volume.array[6:9, 6:9, 6:9] - 100).max() < 10
    assert np.abs(volume.array[5:, 5:, [0, -1]] - 100).max() < 15


def test_a_scan_that_is_fine_already_is_not_sharpened() -> None:
    rng = np.random.default_rng(0)
    inside = np.zeros((26, 26, 26))
    inside[8:18, 8:18, 8:18] = 100.0
    smooth = ndimage.gaussian_filter(inside, 1.5)
    array = np.hypot(smooth + rng.normal(0, 2, smooth.shape), rng.normal(0, 2, smooth.shape))
    scan = Scan(array, Grid.of(array.shape, np.diag([0.9, 0.9, 0.9, 1.0])))
    [volume] = solve([scan], voxel_size=1.0).volumes.values()
    clean = Scan(smooth, scan.grid).reslice(volume.grid)
    found = volume.array[3:-3, 3:-3, 3:-3] - clean[3:-3, 3:-3, 3:-3]
    assert np.sqrt((found**2).mean()) < 2.5
    assert volume.array.max() < clean.max() + 6


def test_slices_that_leave_the_grid_asked_for_are_data_too() -> None:
    rng = np.random.default_rng(0)
    array = np.hypot(*rng.normal(0, 5, (2, 10, 10, 8))) + 100 * (np.arange(8) > 3)
    scan = Scan(array, Grid.of(array.shape, np.diag([1, 1, 6, 1.0])))
    matrix = np.eye(4)
    matrix[2, 3] = 15
    part = Grid.of((10, 10, 20), matrix)
    wide = with_margin(part, [scan.grid])
    assert wide.shape == (34, 34, 44)
    assert np.abs(wide.matrix[:3, 3] - [-12, -12, 3]).max() < 1e-9
    assert with_margin(wide, [part]) is wide
    [volume] = solve([scan], part).volumes.values()
    assert volume.grid.equals(part)
    assert volume.array[:, :, 0].mean() < 50 < volume.array[:, :, -1].mean()


def test_scans_that_are_none_are_refused() -> None:
    grid = Grid.of((4, 4, 4), np.eye(4))
    with pytest.raises(DataError, match="at least one"):
        solve([])
    with pytest.raises(DataError, match="constant"):
        Scan(np.ones((4, 4, 4)), grid)
    with pytest.raises(DataError, match="10 mm thick, and lie 1 mm apart"):
        Scan(np.arange(64.0).reshape(4, 4, 4), grid, thickness=10.0)
