"""From conditions to volumes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from brainldm import __version__
from brainldm.conditions import Conditions
from brainldm.pipeline.brain import BrainLDM
from brainldm.pipeline.choice import Sampling
from brainldm.pipeline.request import match_requests
from brainldm.sampling.guidance import denoiser
from brainldm.sampling.solvers import DDIM
from tests.toy import PERSON, SHAPE, relative, toy_config

LATENT = toy_config().latent.shape


def test_the_line_is_the_one_in_the_documentation(model: BrainLDM) -> None:
    """Generation equals its steps done by hand."""
    (volume,) = model.generate(PERSON, [7], steps=2, sampler="ddim", clip=False)
    z = torch.randn(LATENT, generator=torch.Generator().manual_seed(7))[None]
    context = torch.tensor(model.ranges.normalise([PERSON]))
    for t, before in ((500, 0), (0, None)):
        maps = context[:, :, None, None, None].expand(1, 4, *LATENT[1:])
        with torch.no_grad():
            epsilon = model.unet(torch.cat([z, maps], 1), torch.tensor([t]), context[:, None])
        alphas = torch.linspace(0.0015**0.5, 0.0205**0.5, 1000, dtype=torch.float64)
        product = (1 - alphas**2).cumprod(0)
        now, then = product[t], torch.tensor(1.0) if before is None else product[before]
        z0 = (z - (1 - now).sqrt() * epsilon) / now.sqrt()
        z = (then.sqrt() * z0 + (1 - then).sqrt() * epsilon).float()
    with torch.no_grad():
        x = model.autoencoder.decode(z / 0.5)
    assert relative(volume.array, x[0, 0].numpy()) < 1e-4


def test_volume_lies_where_the_model_says(model: BrainLDM) -> None:
    (volume,) = model.generate(PERSON, [0], steps=1)
    assert volume.array.shape == SHAPE
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.affine, model.config.affine)


def test_a_seed_is_the_same_alone_and_among_others(model: BrainLDM) -> None:
    seeds = [3, 1, 4, 15, 9, 26]  # more than one batch
    for sampler in ("ddim", "ddpm"):
        among = model.generate(PERSON, seeds, steps=2, sampler=sampler)
        (alone,) = model.generate(PERSON, [15], steps=2, sampler=sampler)
        assert relative(among[3].array, alone.array) < 1e-5
        assert relative(among[0].array, alone.array) > 1e-2


@pytest.mark.parametrize(
    "sampler", ["ddim", "ddpm", "dpm++2m", "dpm++2m-sde", "unipc", DDIM(eta=1.0)]
)
def test_every_sampler_makes_a_volume(model: BrainLDM, sampler: Any) -> None:
    first, second = (model.generate(PERSON, [5], steps=3, sampler=sampler)[0] for _ in range(2))
    np.testing.assert_array_equal(first.array, second.array)


def test_conditions_change_the_volume(model: BrainLDM) -> None:
    other = Conditions(sex="M", age=80, ventricular_volume_ml=100, brain_volume_ml=1200)
    a, b = model.generate([PERSON, other], [5, 5], steps=2)
    assert relative(a.array, b.array) > 1e-4


def test_guidance_goes_beyond_the_conditions(toy_directory: Path) -> None:
    model = BrainLDM.from_pretrained(toy_directory, device="cpu", dtype="float32")
    model.config = model.config.model_copy(update={"null_context": -1.0})
    context = torch.tensor(model.ranges.normalise([PERSON]))
    z = torch.randn(1, *LATENT, generator=torch.Generator().manual_seed(0))
    predict = model.networks.predict
    with torch.no_grad():
        with_, without = predict(z, 500, context), predict(z, 500, -torch.ones(1, 4))
        for guidance in (1.0, 0.0, 2.5):
            output = denoiser(predict, context, guidance, null=-1.0)(z, 500)
            expected = without + guidance * (with_ - without)
            assert (output - expected).norm() < 1e-5 * expected.norm()
    assert (with_ - without).norm() > 1e-3 * with_.norm()
    (volume,) = model.generate(PERSON, [7], steps=2, guidance=2.0)
    assert (volume.metadata or {})["brainldm"]["sampler"]["guidance"] == 2


def test_metadata_says_how_it_was_made(model: BrainLDM) -> None:
    (volume,) = model.generate(Conditions(sex="F", age=65), [7], steps=2, sampler="ddim")
    metadata = json.loads(json.dumps(volume.metadata))
    assert metadata["synthetic"] is True
    made = metadata["brainldm"]
    assert made["version"] == __version__
    assert made["model"] == {"name": "toy", "hash": model.hash, "licence": "Apache-2.0"}
    assert made["seed"] == 7
    assert made["sampler"] == {
        "name": "ddim",
        "spacing": "leading",
        "eta": 0.0,
        "steps": 2,
        "guidance": 1.0,
    }
    assert made["drawn"] == ["ventricular_volume_ml", "brain_volume_ml"]
    assert made["conditions"]["age"] == {"value": 65, "unit": "years", "normalised": 21 / 38}
    assert 7 < made["conditions"]["ventricular_volume_ml"]["value"] < 171.375


def test_seeds_left_out_are_random_and_reported(model: BrainLDM) -> None:
    (first,), (second,) = (model.generate(PERSON, steps=1) for _ in range(2))
    seed = first.metadata["brainldm"]["seed"]
    assert seed != second.metadata["brainldm"]["seed"]
    (again,) = model.generate(PERSON, [seed], steps=1)
    np.testing.assert_array_equal(again.array, first.array)


def test_steps_left_out_are_the_usual_ones(model: BrainLDM) -> None:
    calls: list[tuple[int, int, str]] = []
    model.generate(PERSON, [0], sampler="ddim", progress=lambda *call: calls.append(call))
    assert calls == [(done, 50, "denoise") for done in range(1, 51)] + [(1, 1, "decode")]


def test_progress_counts_samples(model: BrainLDM) -> None:
    calls: list[tuple[int, int, str]] = []
    model.generate(PERSON, range(5), steps=2, progress=lambda *call: calls.append(call))
    assert [done for done, _, phase in calls if phase == "denoise"] == [4, 8, 9, 10]
    assert [done for done, _, phase in calls if phase == "decode"] == [1, 2, 3, 4, 5]
    assert {total for _, total, phase in calls if phase == "denoise"} == {10}


def test_volumes_come_as_they_are_made(model: BrainLDM, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a batch before the next one is denoised, each decoded when it is asked for."""
    monkeypatch.setattr(type(model.networks), "batch", 2)
    calls: list[tuple[int, int, str]] = []
    sampling = Sampling(steps=1)
    requests = match_requests(model.config, PERSON, range(3), sampling=sampling)
    volumes = model.stream(requests, sampling, progress=lambda *call: calls.append(call))
    assert calls == []
    assert next(volumes).metadata["brainldm"]["seed"] == 0
    assert calls == [(2, 3, "denoise")]
    assert [volume.metadata["brainldm"]["seed"] for volume in volumes] == [1, 2]
    assert calls[1:] == [(1, 3, "decode"), (2, 3, "decode"), (3, 3, "denoise"), (3, 3, "decode")]


def test_clipping_is_on_a_fixed_scale_and_reported(model: BrainLDM) -> None:
    (raw,) = model.generate(PERSON, [0], steps=1, clip=False)
    (clipped,) = model.generate(PERSON, [0], steps=1)
    outside = (raw.array < 0) | (raw.array > 1)
    np.testing.assert_array_equal(clipped.array, raw.array.clip(0, 1))
    fraction = clipped.metadata["brainldm"]["intensity"]["clipped_fraction"]
    assert fraction == pytest.approx(outside.mean())
    assert raw.metadata["brainldm"]["intensity"]["clipped_fraction"] is None
