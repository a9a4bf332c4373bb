"""Heads that are not whole are found, and whole ones pass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from brainldm.checkpoint import load_config
from brainldm.errors import DataError
from brainldm.image.grid import Grid
from brainldm.image.volume import Volume
from brainldm.prepare.folder import Settings
from brainldm.prepare.scan import _refuse
from brainldm.register.kept import load_reference, load_template
from brainldm.register.reference import Reference
from brainldm.register.whole import Wholeness, wholeness
from tests.template_head import simulate

DEMO = load_config("demo")
GRID = Grid.of(DEMO.shape, DEMO.affine)
# Of those that were looked at: a small head, and the one with the least bright face.
SEEDS = (3, 4)


@pytest.fixture(scope="module")
def reference() -> Reference:
    return load_reference()


@pytest.fixture(scope="module")
def heads() -> dict[int, Volume]:
    return {
        seed: Volume(simulate(seed, load_template(), GRID).image.numpy(), GRID.matrix)
        for seed in SEEDS
    }


@pytest.mark.parametrize("seed", SEEDS)
def test_whole_heads_pass(seed: int, heads: dict[int, Volume], reference: Reference) -> None:
    found = wholeness(heads[seed], reference)
    assert found.remarks == ()
    assert not found.stripped


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("stripped", [False, True])
def test_thick_slices_hide_the_bone_and_are_not_taken_for_stripped(
    seed: int, stripped: bool, heads: dict[int, Volume], reference: Reference
) -> None:
    head = heads[seed].array
    if stripped:
        brain = ndimage.binary_closing(reference.grey + reference.white > 0.5, iterations=4)
        mask = replace(reference.volume("head"), array=brain).resample(GRID).array > 0.5
        head = head * mask
    x, y, _ = head.shape
    thick = head[:, :, :78].reshape(x, y, 26, 3).mean(-1)
    affine = GRID.matrix @ np.diag([1, 1, 3, 1.0])
    affine[:3, 3] = (GRID.matrix @ [0, 0, 1, 1])[:3]
    found = wholeness(Volume(thick, affine), reference)
    assert found.stripped == stripped
    assert found.bone is None


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("margin", [0, 2, 4])
def test_skull_stripped_heads(
    seed: int, margin: int, heads: dict[int, Volume], reference: Reference
) -> None:
    brain = ndimage.binary_closing(reference.grey + reference.white > 0.5, iterations=4)
    near = ndimage.binary_dilation(brain, iterations=margin or 1)
    mask = replace(reference.volume("head"), array=near).resample(GRID).array > 0.5
    head = heads[seed]
    found = wholeness(Volume(head.array * mask, head.affine), reference)
    assert found.stripped
    assert found.remarks == ("is skull-stripped",)


@pytest.mark.parametrize("seed", SEEDS)
def test_defaced_heads(seed: int, heads: dict[int, Volume], reference: Reference) -> None:
    _, y, z = GRID.points()
    face = ((y > 45) & (z < -5)) | ((y > 60) & (z < 15))
    found = wholeness(Volume(heads[seed].array * ~face, GRID.matrix), reference)
    assert found.remarks == ("is defaced",)
    assert found.faults == ()


@pytest.mark.parametrize("outside", [True, False], ids=["field of view", "air"])
def test_cropped_heads(outside: bool, heads: dict[int, Volume], reference: Reference) -> None:
    head = heads[3].array.copy()
    head[:, :, -35:] = 0
    cropped = Volume(head[:, :, : -35 if outside else None], GRID.matrix)
    [fault] = wholeness(cropped, reference).faults
    assert "of the brain is not there" in fault


def test_a_crown_that_is_cut_is_remarked(heads: dict[int, Volume], reference: Reference) -> None:
    top = int(np.flatnonzero((heads[3].array > 0.3).any((0, 1))).max())
    cut = Volume(heads[3].array[:, :, : top - 3], GRID.matrix)
    found = wholeness(cut, reference)
    assert found.faults == ()
    assert any("crown" in remark for remark in found.remarks)


@pytest.mark.parametrize(("beyond", "stripped"), [(0.72, False), (0.2, True), (None, True)])
def test_bone_counts_where_little_is_bright_beyond(beyond: float | None, stripped: bool) -> None:
    assert Wholeness(bone=0.61, beyond=beyond, face=0.6, brain=1.0, cut=0.0).stripped == stripped


def test_incomplete_heads_are_refused_unless_asked_for() -> None:
    stripped = Wholeness(bone=0.1, beyond=0.0, face=0.0, brain=1.0, cut=0.0)
    settings = Settings("toy", GRID, False, False)
    with pytest.raises(DataError, match=r"Is skull-stripped: expected a whole head.*--incomplete"):
        _refuse(stripped, settings)
    _refuse(stripped, replace(settings, incomplete=True))
