"""The projection of UniRes: its adjoint, what it averages, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from brainldm.errors import DataError
from brainldm.image.grid import Grid
from brainldm.unires.profile import gaussian, rectangle
from brainldm.unires.projection import Projection

VOLUME = Grid.of((24, 20, 22), np.eye(4))


def turned(degrees: tuple[float, float, float], shift: tuple[float, float, float]) -> np.ndarray:
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    motion[:3, 3] = shift
    return motion


def thick(axis: int, size: float, shape: tuple[int, int, int] | None = None) -> Grid:
    """A scan with thick slices along an axis, of about the volume's field of view."""
    sizes = np.ones(3)
    sizes[axis] = size
    return Grid.of(shape or (VOLUME.shape // sizes).astype(int).tolist(), np.diag([*sizes, 1]))


def off(projection: Projection, seed: int = 0) -> float:
    """|<A y, x> - <y, A'x>| over the norms of A y and x."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.rand(projection.volume.shape, generator=generator)
    x = torch.rand(projection.image.shape, generator=generator)
    seen, back = projection(y), projection.adjoint(x)
    assert seen.dtype == back.dtype == torch.float32
    there, here = (seen.double() * x).sum(), (y.double() * back).sum()
    return float(abs(there - here) / (seen.norm() * x.norm()))


BACK = turned((9, 0, 0), (20, 18, 19))
GEOMETRIES = {
    "the same grid": (VOLUME, None, None),
    "axial": (thick(2, 5), None, None),
    "coronal, oblique": (thick(1, 4), turned((7, -5, 9), (2, -1, 3)), None),
    "sagittal, oblique": (thick(0, 6), turned((-10, 4, 8), (-2, 3, 1)), None),
    "gap": (thick(2, 5), turned((3, 2, 1), (0, 0, 1)), 3.0),
    "overlap": (thick(2, 3), None, 5.0),
    "anisotropic in its slices": (Grid.of((9, 15, 5), np.diag([2.2, 1.3, 4, 1])), None, None),
    "left, down, back": (Grid.of((20, 18, 5), np.diag([-1, -1, -4, 1.0])), BACK, None),
    "part of the field of view": (thick(2, 5, (10, 30, 6)), turned((5, 5, 5), (9, -8, -7)), None),
    "coarser everywhere": (Grid.of((12, 10, 11), np.diag([2.0, 2, 2, 1])), None, None),
}  # fmt: skip


@pytest.mark.parametrize("name", GEOMETRIES)
def test_the_adjoint_is_exact(name: str) -> None:
    image, motion, thickness = GEOMETRIES[name]
    assert off(Projection.of(image, VOLUME, motion, thickness=thickness)) < 1e-6


@settings(max_examples=25, deadline=None)
@given(
    degrees=st.tuples(*[st.floats(-180, 180)] * 3),
    shift=st.tuples(*[st.floats(-4, 4)] * 3),
    sizes=st.tuples(*[st.floats(0.6, 6)] * 3),
    gap=st.floats(0.3, 1.5),
    seed=st.integers(0, 99),
)
def test_the_adjoint_is_exact_in_any_geometry(
    degrees: tuple[float, float, float],
    shift: tuple[float, float, float],
    sizes: tuple[float, float, float],
    gap: float,
    seed: int,
) -> None:
    shape = np.maximum(2, 16 / np.array(sizes)).astype(int)
    matrix = np.diag([*sizes, 1.0])
    matrix[:3, 3] = -np.array(sizes) * (shape - 1) / 2
    centred = Grid.of((16, 14, 15), turned((0, 0, 0), (-7.5, -6.5, -7)))
    motion, slices = turned(degrees, shift), gap * max(sizes)
    projection = Projection.of(Grid.of(shape, matrix), centred, motion, thickness=slices)
    assert off(projection, seed) < 1e-6


def test_it_is_the_identity_where_grids_are_the_same() -> None:
    y = torch.rand(VOLUME.shape)
    projection = Projection.of(VOLUME, VOLUME)
    assert torch.equal(projection(y), y)
    assert projection.entries == y.numel()


def test_a_voxel_is_the_mean_over_its_slice() -> None:
    """A ramp is averaged to its value in the middle; a bump to its integral over the slice."""
    z = torch.arange(40.0).expand(6, 6, 40)
    volume = Grid.of((6, 6, 40), np.eye(4))
    image = Grid.of((6, 6, 6), np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 6, 5], [0, 0, 0, 1]]))
    seen = Projection.of(image, volume)(z)
    assert (seen[3, 3] - (5 + 6 * torch.arange(6.0))).abs().max() < 1e-4
    bump = torch.exp(-((z - 17) ** 2) / (2 * 2.5**2))
    seen = Projection.of(image, volume)(bump)[3, 3, 2]
    exact = 2.5 * np.sqrt(2 * np.pi) / 6 * torch.erf(torch.tensor(3 / (2.5 * 2**0.5)))
    assert abs(float(seen - exact)) < 0.01
    thin = Projection.of(image, volume, thickness=2.0)(bump)[3, 3, 2]
    assert float(thin) > float(seen) + 0.1


def test_profiles_sum_to_1_and_have_their_width() -> None:
    for profile, variance in ((rectangle, 6**2 / 12), (gaussian, 6**2 / (8 * np.log(2)))):
        places, weights = profile(6.0)
        assert abs(weights.sum() - 1) < 1e-12
        assert (weights * places**2).sum() == pytest.approx(variance + 1 / 6, rel=0.05)
        assert np.abs(weights - weights[::-1]).max() < 1e-12


def test_a_volume_of_one_value_is_seen_as_that_value() -> None:
    projection = Projection.of(thick(2, 5), VOLUME, turned((5, 4, 3), (1, 1, 1)))
    seen = projection(torch.full(VOLUME.shape, 7.0))
    assert (seen[6:18, 6:14, 2] - 7).abs().max() < 1e-4
    assert float(seen.max()) < 7.001


def test_what_does_not_touch_is_refused() -> None:
    far = turned((0, 0, 0), (500, 0, 0))
    with pytest.raises(DataError, match="does not touch"):
        Projection.of(thick(2, 5), VOLUME, far)
