"""Real scans through the autoencoder."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from brainldm.errors import BrainLDMError
from brainldm.image.volume import Volume
from brainldm.pipeline.brain import BrainLDM
from tests.toy import SHAPE, relative, toy_config

LATENT = toy_config().latent.shape


def test_latents_have_the_scale_of_the_diffusion(model: BrainLDM) -> None:
    volume = Volume(np.random.default_rng(0).random(SHAPE), model.affine)
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


def test_a_scan_on_the_grid_keeps_its_values(model: BrainLDM) -> None:
    scan = Volume(np.random.default_rng(0).random(SHAPE) / 2, model.affine)
    np.testing.assert_array_equal(model.prepare(scan).array, scan.array)


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
