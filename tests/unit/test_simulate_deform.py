"""Deformations are smooth and invertible, and change what they should."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brainldm.simulate.anatomy import FLOW_MM, box_grid, resample
from brainldm.simulate.deform import after, exponential, jacobian
from brainldm.simulate.fields import read_maps, smooth_field
from brainldm.simulate.tissues import place
from tests.phantoms import phantom, tissues_at


def velocity(seed: int, size: float, smooth: float) -> torch.Tensor:
    """A velocity that is nothing at the edges of its grid."""
    field = smooth_field(3, (24, 20, 22), 1.0, smooth, torch.Generator().manual_seed(seed))
    window = torch.ones(())
    for axis, side in enumerate((24, 20, 22)):
        line = torch.sin(torch.linspace(0, np.pi, side)).clamp(0, 0.5) * 2
        window = window * line.view([-1 if a == axis else 1 for a in range(3)])
    return size * field * window


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0, 3), st.floats(6, 15))
def test_following_a_speedfolds_nothing(seed: int, size: float, smooth: float) -> None:
    displacement = exponential(velocity(seed, size, smooth))
    assert jacobian(displacement).min() > 0


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 1.5))
def test_following_it_backwards_undoes_it(seed: int, size: float) -> None:
    speed = velocity(seed, size, 14.0)
    there = exponential(speed)
    and_back = after(exponential(-speed), there)
    assert and_back.norm() <= 0.1 * there.norm()


def test_the_jacobian_is_the_change_of_volume() -> None:
    x, y, z = torch.meshgrid(*map(torch.arange, (6, 7, 8)), indexing="ij")
    stretched = torch.stack([0.1 * x, 0.2 * y + 0.3 * x, -0.5 * z])
    assert (jacobian(stretched) - 1.1 * 1.2 * 0.5).abs().max() < 1e-5


@pytest.mark.parametrize("which", [0, 1])
def test_a_flow_changes_one_thing_and_stays_within_the_skull(which: int) -> None:
    anatomy = phantom()
    flow = anatomy.flows.velocities[which]
    shares = anatomy.flows.shares
    room = jacobian(exponential(0.3 * flow))
    ventricle, brain, within = ((shares[i] * room).sum() / shares[i].sum() for i in range(3))
    assert within.item() == pytest.approx(1, abs=0.03)
    if which == 0:
        assert ventricle > 1.2
        assert brain.item() == pytest.approx(1, abs=0.02)
    else:
        assert brain < 0.985
        assert ventricle.item() == pytest.approx(1, abs=0.05)
    assert flow[:, shares[2] == 0].abs().max() < 0.1 * flow.abs().max()


def test_tissues_are_resampled_where_they_are() -> None:
    # A source on a finer grid of another origin, turned by a quarter.
    affine = np.array(
        [[0.0, -1.5, 0, 95], [1.5, 0, 0, -130], [0, 0, 1.5, -80], [0, 0, 0, 1]], dtype=float
    )
    voxels = np.indices((160, 130, 130)).reshape(3, -1)
    points = (affine[:3, :3] @ voxels + affine[:3, 3:]).reshape(3, 160, 130, 130)
    source = tissues_at(points, gyri=0.0)
    got = resample(source, affine, np.eye(4), FLOW_MM)
    wanted = tissues_at(box_grid(FLOW_MM).points(), gyri=0.0)
    assert np.mean(got != wanted) < 0.03  # voxels that a surface goes through
    for number in (2, 4, 24):
        assert np.count_nonzero(got == place(number)) == pytest.approx(
            np.count_nonzero(wanted == place(number)), rel=0.05
        )


def test_a_field_is_smooth_and_of_unit_variance() -> None:
    field = smooth_field(2, (40, 40, 40), 2.0, 20.0, torch.Generator().manual_seed(0))
    assert field.std().item() == pytest.approx(1, abs=0.01)
    assert field.diff(dim=1).abs().max() < 0.6


def test_maps_are_read_at_the_places_of_their_voxels() -> None:
    maps = torch.randn(2, 4, 5, 6)
    origin = torch.tensor([-3.0, 2.0, 1.0])
    i, j, k = torch.meshgrid(*map(torch.arange, (4, 5, 6)), indexing="ij")
    points = torch.stack([i - 3.0, j + 2.0, k + 1.0])
    assert (read_maps(maps, points, origin) - maps).abs().max() < 1e-5
