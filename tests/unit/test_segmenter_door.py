"""One door to all that measures, and what a cohort does where nothing can be measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from brainldm.cohort.gate import Checking, Gate
from brainldm.errors import DataError, UsageError
from brainldm.image.volume import Volume
from brainldm.segment import network
from brainldm.segment.measures import Measures
from brainldm.segment.network import Network
from brainldm.segment.segmenter import check_segmentation, identity_of, segmenter
from brainldm.segment.weights import Description, save_segmenter
from brainldm.train.segmenter import architecture, new_segmenter
from tests.segmenters import settings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An untrained segmenter."""
    own = settings()
    weights = new_segmenter(own).state_dict()
    save_segmenter(tmp_path, weights, Description(network=architecture(own), steps=0, of=1), "")
    return tmp_path


def test_a_folder_is_a_kind(folder: Path) -> None:
    found = segmenter(str(folder))
    assert found == Network.of(folder)
    check_segmentation(str(folder))
    assert identity_of(str(folder)) == Network.of(folder).identity
    assert identity_of("ants") == "ants"


def test_the_one_that_ships_is_a_kind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "SHIPPED", folder / "none")
    with pytest.raises(UsageError, match="There is no segmenter in"):
        check_segmentation("network")
    monkeypatch.setattr(network, "SHIPPED", folder)
    found = segmenter("network")
    assert found == Network.of(folder)


def test_a_head_is_labelled_once_in_one_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labelled = []

    def label(volume: Volume, network: object) -> object:
        labelled.append(volume)
        return object()

    monkeypatch.setattr(network, "label", label)
    monkeypatch.setattr(network, "_last", [])
    head = Volume(np.zeros((8, 8, 8)), np.eye(4))
    ours = Network.of(folder)
    assert ours.label(head) is ours.label(Volume(head.array, head.affine))
    moved = Volume(head.array, np.diag([1.0, -1, 1, 1]))
    assert ours.label(moved) is not ours.label(head)
    assert labelled[0].array is labelled[1].array
    assert len(labelled) == 3


def test_what_is_no_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="or the folder of a segmenter"):
        check_segmentation("synthseg")
    with pytest.raises(UsageError, match="There is no segmenter in"):
        check_segmentation(str(tmp_path))


def test_a_record_says_which_weights_measured(folder: Path) -> None:
    described = Checking(measure=str(folder)).describe()
    assert described.segmentation == Network.of(folder).identity
    assert str(folder) not in described.model_dump_json()


def test_what_cannot_be_measured_fails_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(self: Network, volume: Volume) -> Measures:
        raise DataError("no brain was found")

    monkeypatch.setattr(Network, "measure", unknown)
    head = Volume(np.zeros((8, 8, 8)), np.eye(4), scaled=True)
    gate = Gate("flag", Network(Path("run"), "network 0123"))
    assert gate.measure(head) == {}
    faults = gate.faults(head, {"brain_volume_ml": 1400.0}, {})
    assert "not measured: the segmenter does not know it for a whole head" in faults
