"""A segmenter in the place of ANTs: what it measures is taken, and where it does not, a note."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from brainldm.errors import DataError
from brainldm.image.grid import Grid
from brainldm.image.volume import Volume
from brainldm.prepare import scan
from brainldm.prepare.folder import Folder, Settings
from brainldm.prepare.scan import Task
from brainldm.segment.measures import Measures
from brainldm.segment.network import Network

GRID = Grid.of((8, 8, 8), np.eye(4))
HEAD = Volume(np.zeros(GRID.shape), GRID.matrix)


def task(network: Network | None) -> Task:
    folder = Folder(Path("out"), Settings("toy", GRID, True, False, network=network))
    return Task(None, folder)  # type: ignore[arg-type]


def test_what_the_network_measures_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(Path("run"), "network 0123")
    monkeypatch.setattr(Network, "measure", lambda self, volume: Measures(20.0, 1500.0, 1.2))
    measured, doubts = scan._measured(task(network), HEAD)
    assert measured == {
        "ventricular_volume_ml": 20.0,
        "brain_volume_ml": 1500.0,
        "head_scaling": 1.2,
    }
    assert doubts == ()


def test_what_it_does_not_know_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(self: Network, volume: Volume) -> Measures:
        raise DataError("there is more than one head")

    monkeypatch.setattr(Network, "measure", unknown)
    measured, [doubt] = scan._measured(task(Network(Path("run"), "network 0123")), HEAD)
    assert measured == {}
    assert doubt == "not measured: there is more than one head"


def test_a_data_set_says_what_measured_it() -> None:
    settings = task(Network(Path("run"), "network 0123")).folder.settings
    assert settings.to_json()["segmenter"] == "network 0123"
    assert "segmenter" not in task(None).folder.settings.to_json()
