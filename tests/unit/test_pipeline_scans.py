"""Real scans through the autoencoder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from brainldm.errors import BrainLDMError, DataError
from brainldm.image.fit import PERCENTILES
from brainldm.image.volume import Volume
from brainldm.pipeline.brain import BrainLDM
from tests.toy import SHAPE, relative, toy_config

LATENT = toy_config().latent.shape


def test_latents_have_the_scale_of_the_diffusion(model: BrainLDM) -> None:
    volume = Volume(np.random.default_rng(0).random(SHAPE), model.affine, scaled=True)
    latent = model.encode(volume)
    with torch.no_grad():
        mean, _ = model.autoencoder.encode(torch.from_numpy(volume.array)[None, None])
        decoded = model.autoencoder.decode(mean)
    assert latent.shape == (1, *LATENT)
    assert relative(latent.numpy(), 0.5 * mean.numpy()) < 1e-6
    assert relative(model.decode(latent).numpy(), decoded.numpy()) < 1e-6
    assert model.decode(latent).shape == (1, 1, *SHAPE)


def test_reconstruction_of_a_scan_on_another_grid(model: BrainLDM) -> None:
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = -90, -120, -80
    scan = Volume(1000 * np.random.default_rng(0).random((45, 60, 40)) + 200, affine)
    volume = model.reconstruct(scan)
    assert volume.array.shape == SHAPE
    np.testing.assert_array_equal(volume.affine, model.affine)
    metadata = json.loads(json.dumps(volume.metadata))
    assert metadata["synthetic"] is False
    prepared = metadata["brainldm"]["prepared"]
    low, high = prepared["intensity_scaled_from"]
    assert 200 <= low < high <= 1200
    assert prepared["resampled"] is True


def test_a_scan_that_is_scaled_keeps_its_values(model: BrainLDM) -> None:
    scan = Volume(np.random.default_rng(0).random(SHAPE) / 2, model.affine, scaled=True)
    prepared = model.prepare(scan)
    np.testing.assert_array_equal(prepared.array, scan.array)
    np.testing.assert_array_equal(model.prepare(prepared).array, scan.array)
    with pytest.raises(DataError, match=r"said to be scaled .* from .* to 2"):
        Volume(scan.array * 4.1, model.affine, scaled=True)


HEAD = np.random.default_rng(0).random(SHAPE, np.float32) ** 3
BRIGHT = np.where(np.arange(HEAD.size).reshape(SHAPE) == 999, 1, 0.3 * HEAD)


@pytest.mark.parametrize(
    "array",
    [np.round(HEAD * 1000), HEAD, HEAD / 65.535, BRIGHT, HEAD * np.float32(1e-40), HEAD - 0.5],
    ids=["integers", "unit", "small", "one bright voxel", "tiny", "negative"],
)
def test_intensities_are_scaled_whatever_they_were(model: BrainLDM, array: np.ndarray) -> None:
    prepared = model.prepare(Volume(array, model.affine))
    ends = np.percentile(prepared.array, PERCENTILES)
    np.testing.assert_allclose(ends, [0, 1], atol=1e-3)
    assert (prepared.array.min(), prepared.array.max()) == (0, 1)


def test_what_brainldm_wrote_is_not_scaled_again(model: BrainLDM, tmp_path: Path) -> None:
    made = model.reconstruct(Volume(HEAD, model.affine))
    path = made.save(tmp_path / "x.nii.gz")
    np.testing.assert_array_equal(model.prepare(Volume.load(path)).array, made.array)
    assert not Volume.load(path, scaled=False).scaled
    # Another image under that name, and a sidecar of somebody else's.
    Volume(HEAD * 100, model.affine).save(tmp_path / "y.nii.gz")
    (tmp_path / "x.json").rename(tmp_path / "y.json")
    assert not Volume.load(tmp_path / "y.nii.gz").scaled
    for said in ("[[", '{"brainldm": 3}', '{"brainldm": {"intensity": {}}}'):
        (tmp_path / "x.json").write_text(said)
        assert not Volume.load(path).scaled


def test_a_scan_on_the_grid_with_other_intensities_is_scaled(model: BrainLDM) -> None:
    array = np.random.default_rng(0).random(SHAPE)
    prepared = model.prepare(Volume(1000 * array, model.affine)).array
    assert prepared.min() == 0
    assert prepared.max() == 1
    inside = (prepared > 0) & (prepared < 1)
    assert np.corrcoef(prepared[inside], array[inside])[0, 1] > 0.999


@pytest.mark.parametrize("value", [0.0, 300.0])
def test_a_scan_that_shows_nothing(model: BrainLDM, value: float) -> None:
    scan = Volume(np.full((20, 20, 20), value), np.diag([9.0, 9, 9, 1]))
    with pytest.raises(BrainLDMError, match=r"empty or constant .*Expected a head"):
        model.prepare(scan)
