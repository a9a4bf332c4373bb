"""Whether a head that is said to be registered lies as it should."""

from __future__ import annotations

import numpy as np
import pytest

from brainldm.checkpoint import load_config
from brainldm.errors import DataError
from brainldm.image.grid import Grid
from brainldm.image.volume import Volume
from brainldm.register.images import moved
from brainldm.register.kept import load_reference, load_template
from brainldm.register.reference import Reference
from brainldm.register.rigid import BRAIN_CENTRE, check_place
from tests.template_head import simulate

DEMO = load_config("demo")
GRID = Grid.of(DEMO.shape, DEMO.affine)


@pytest.fixture(scope="module")
def reference() -> Reference:
    return load_reference()


# Of those that were looked at, the two whose outline tells least which way is up.
@pytest.mark.parametrize("seed", [0, 4])
def test_heads_that_lie_as_they_should_and_turned_ones(seed: int, reference: Reference) -> None:
    head = Volume(simulate(seed, load_template(), GRID).image.numpy(), GRID.matrix)
    assert check_place(head, reference) > 0.5
    for name, signs in {
        "front to back": (-1, 1),
        "upside down": (1, -1),
        "on its head": (-1, -1),
    }.items():
        turn = np.diag([1.0, *signs, 1.0])
        turn[1:3, 3] = (1 - np.array(signs)) * BRAIN_CENTRE[1:]
        with pytest.raises(DataError, match=f"Lies {name}"):
            check_place(moved(head, turn), reference)


@pytest.mark.parametrize("size", [0.85, 0.9, 1.05])
def test_a_heads_size_is_its_own(size: float, reference: Reference) -> None:
    head = Volume(simulate(0, load_template(), GRID).image.numpy(), GRID.matrix)
    resize = np.diag([size, size, size, 1.0])
    resize[:3, 3] = (1 - size) * BRAIN_CENTRE
    assert check_place(moved(head, resize), reference) > 0.6


def test_what_is_elsewhere_is_not_registered(reference: Reference) -> None:
    head = Volume(simulate(0, load_template(), GRID).image.numpy(), GRID.matrix)
    away = np.eye(4)
    away[2, 3] = 60
    with pytest.raises(DataError, match="not registered to MNI152"):
        check_place(moved(head, away), reference)
