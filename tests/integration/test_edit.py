"""Editing with a model of toy size: what comes back, and what it says of itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from brainldm import Conditions, Volume
from brainldm.dataset.sidecar import MNI152, Provenance
from brainldm.edit import counterfactual
from brainldm.edit import inverted as inverting
from brainldm.edit import known as knowing
from brainldm.edit.known import Known
from brainldm.errors import DataError, UsageError
from brainldm.image.labels import LabelImage
from brainldm.metrics.similarity import psnr
from brainldm.pipeline.brain import BrainLDM
from brainldm.segment.labelled import Labelled
from brainldm.segment.network import Network
from brainldm.segment.quality import Quality
from tests.tame import head, tame_model
from tests.toy import PERSON


@pytest.fixture(scope="module")
def model(toy_directory: Path) -> BrainLDM:
    return tame_model(toy_directory)


CHANGES = {"age": "+5", "ventricular_volume_ml": 40}


def edit(model: BrainLDM, volume: Volume, changes: Any = CHANGES, **options: Any) -> list[Volume]:
    return model.edit(volume, changes, PERSON, steps=3, progress=False, **options)


def test_the_noise_gives_the_scan_back(model: BrainLDM) -> None:
    found = model.invert(head(model), PERSON, steps=4)
    back = found.walk([PERSON])
    assert float((back - found.latent).norm() / found.latent.norm()) < 0.05
    trip = psnr(found.picture(back), found.image.array)
    assert trip == pytest.approx(found.floor_psnr, abs=1)
    assert found.noise.shape == (1, *model.config.latent.shape)
    assert found.noise_rms == pytest.approx(float(found.noise.square().mean() ** 0.5), rel=1e-3)


def test_a_result_says_what_it_is_derived_from_and_that_it_is_synthetic(model: BrainLDM) -> None:
    scan = head(model)
    first, second = edit(model, scan, [CHANGES, {"sex": "M"}])
    assert first.metadata is not None
    assert first.metadata["synthetic"] is True
    assert first.metadata["Sources"] == ["array"]
    record = Provenance.of(first.metadata)
    assert record.values == {**PERSON.given, "age": 70, "ventricular_volume_ml": 40}
    assert Provenance.of(second.metadata).values["sex"] == "M"
    assert record.edit is not None
    assert {n: c.value for n, c in record.edit.known.items()} == PERSON.given
    assert set(record.edit.origins.values()) == {"given"}
    assert record.edit.kept == pytest.approx(np.mean(first.array == scan.array), abs=0.02)
    [source] = record.derived_from
    assert len(source.sha256) == 64
    assert record.space == MNI152
    assert first.grid == scan.grid


def test_the_models_own_grid_can_be_asked_for(model: BrainLDM) -> None:
    scan = head(model)
    fine = Volume(np.kron(scan.array, np.ones((2, 2, 2))), model.grid.coarser(0.5).matrix)
    [native] = edit(model, fine)
    [decoded] = edit(model, fine, like="model")
    assert native.grid == fine.grid
    assert decoded.grid == model.grid
    assert decoded.scaled
    with pytest.raises(UsageError, match="like is 'mni': expected one of native, model"):
        edit(model, fine, like="mni")


def test_the_same_conditions_change_nothing(model: BrainLDM) -> None:
    scan = head(model)
    [same] = edit(model, scan, {"age": "+0"})
    assert np.array_equal(same.array, scan.array)


def test_progress_counts_all_steps(model: BrainLDM) -> None:
    said = []
    model.edit(head(model), CHANGES, PERSON, steps=3, progress=lambda *told: said.append(told))
    denoised = [(done, total) for done, total, phase in said if phase == "denoise"]
    assert denoised == sorted(denoised)
    assert denoised[-1] == (9, 9)  # up, and two down
    assert said[-1] == (1, 1, "decode")


def test_what_is_known_stands_in_the_metadata_or_is_asked_for(model: BrainLDM) -> None:
    scan = head(model)
    with pytest.raises(UsageError, match="not given: sex, age"):
        model.edit(scan, CHANGES, {"ventricular_volume_ml": 20, "brain_volume_ml": 1400})
    [made] = model.generate(PERSON, seed=1, steps=2, progress=False)
    [edited] = model.edit(made, {"age": "+5"}, steps=2, progress=False)
    record = Provenance.of(edited.metadata)
    assert record.values["age"] == 70
    assert record.edit is not None
    assert record.edit.origins["age"] == "metadata"
    scaled = Conditions.from_normalised("F", 0.5, 0.5, 0.5)
    [edited] = model.edit(made, {"age": "+1"}, scaled, steps=2, progress=False)
    record = Provenance.of(edited.metadata)
    assert record.edit is not None
    assert record.edit.origins["age"] == "given"


def test_conditions_outside_the_ranges_are_refused(model: BrainLDM) -> None:
    with pytest.raises(UsageError, match="age is 165"):
        edit(model, head(model), {"age": "+100"})
    assert edit(model, head(model), {"age": "+20"}, extrapolate=True)
    with pytest.raises(UsageError, match="no condition weight"):
        model.edit(head(model), CHANGES, {"weight": 3})


def test_a_scan_that_the_model_cannot_represent_is_refused(
    model: BrainLDM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inverting, "USUAL_NOISE", 0.0)
    [doubtful] = edit(model, head(model))
    record = Provenance.of(doubtful.metadata)
    assert record.edit is not None
    assert "the model hardly knows such a scan" in record.edit.doubts[0]
    monkeypatch.setattr(inverting, "MOST_NOISE", 0.1)
    with pytest.raises(DataError, match=r"cannot represent this scan.*root mean square of \d"):
        edit(model, head(model))


class Left(Network):
    """Finds the skull around the left half of every image."""

    trusted = True

    @classmethod
    def of(cls, folder: Path | None = None) -> Left:
        return cls(folder or Path("left"), "left")

    def label(self, volume: Volume) -> Labelled:
        numbers = np.zeros(volume.grid.shape, np.int16)
        numbers[: len(numbers) // 2] = 3
        faults = () if self.trusted else ("no head",)
        return Labelled(LabelImage(numbers, volume.affine), {}, Quality(1, faults))


def test_a_scan_keeps_what_it_looks_like_from_afar(
    model: BrainLDM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(knowing, "Network", Left)
    # A toy with random weights changes little.
    monkeypatch.setattr(counterfactual, "STRENGTH", 4.0)
    scan = head(model)
    half = len(scan.array) // 2
    changes = [CHANGES, {"sex": "M"}]
    inside, everywhere = edit(model, scan, changes)
    assert np.array_equal(inside.array[half:], scan.array[half:])
    assert not np.array_equal(inside.array[:half], scan.array[:half])
    assert not np.array_equal(everywhere.array[half:], scan.array[half:])
    said = [Provenance.of(each.metadata).edit for each in (inside, everywhere)]
    assert [(e.skipped, e.within_skull) for e in said if e] == [(1, True), (1, False)]
    monkeypatch.setattr(Left, "trusted", False)
    [unlabelled] = edit(model, scan)
    record = Provenance.of(unlabelled.metadata).edit
    assert record is not None
    assert (record.skipped, record.within_skull) == (1, False)


def test_the_skull_is_found_by_the_network_that_measures(model: BrainLDM) -> None:
    known = Known(PERSON, network=Left.of())
    inside = replace(model.invert(head(model), PERSON, steps=2), known=known).within_skull
    assert inside is not None
    half = len(inside.array) // 2
    assert inside.array[:half].any()
    assert not inside.array[half:].any()


def test_a_change_is_made_larger_from_the_persons_own_conditions(model: BrainLDM) -> None:
    found = model.invert(head(model), PERSON, steps=3)
    older = Conditions.of({**PERSON.given, "age": 70})
    once = found.walk([PERSON, older])
    assert torch.equal(found.walk([PERSON, older], strength=1), once)
    twice = found.walk([PERSON, older], strength=2)
    assert (twice[0] - once[0]).norm() < 1e-5 * once[0].norm()
    assert (twice[1] - once[0]).norm() > 1.5 * (once[1] - once[0]).norm()
    later = found.walk([PERSON], skip=1)
    assert (later[0] - once[0]).norm() < 0.05 * once[0].norm()


def test_images_that_are_no_heads_are_refused(model: BrainLDM) -> None:
    flat = Volume(np.ones(model.grid.shape), model.affine)
    with pytest.raises(DataError, match="empty or constant"):
        edit(model, flat)
    elsewhere = np.array(model.affine)
    elsewhere[:3, 3] += 5000
    with pytest.raises(DataError, match="does not touch"):
        edit(model, Volume(head(model).array, elsewhere))
    motion = np.eye(4)
    motion[:3, 3] = -5000
    assert edit(model, Volume(head(model).array, elsewhere), motion=motion)


def test_the_same_seedless_edit_is_the_same(model: BrainLDM) -> None:
    first, second = (edit(model, head(model))[0] for _ in range(2))
    assert np.array_equal(first.array, second.array)
    assert torch.is_grad_enabled()
