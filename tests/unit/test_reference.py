"""The reference's maps on disk, whoever writes them first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from brainldm.register import reference as module
from brainldm.register.reference import MAPS, Reference
from brainldm.register.template import Template


def small(intensity: float) -> Template:
    """A template of a few voxels."""
    maps = torch.full((4, 5, 6, 7), intensity)
    return Template(torch.tensor([1.0, 2, 3]), maps, maps, maps[:3], 1.0)


def test_what_is_written_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "load_template", lambda: small(0.25))
    Reference.write(tmp_path / "template")
    found, made = Reference.load(tmp_path / "template"), Reference.from_template(small(0.25))
    assert found.grid == made.grid
    assert found.grid.matrix[:3, 3].tolist() == [1, 2, 3]
    for name in MAPS:
        assert np.array_equal(getattr(found, name), getattr(made, name))


def test_two_that_write_at_once_leave_one_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "template"
    started = []

    def slow() -> Template:
        if not started:
            started.append(True)
            Reference.write(folder)  # another begins later and is done before
            return small(0.25)
        return small(0.75)

    monkeypatch.setattr(module, "load_template", slow)
    Reference.write(folder)
    assert Reference.load(folder).grey.max() == 0.75
    assert list(tmp_path.iterdir()) == [folder]
    Reference.write(folder)  # finds it there
