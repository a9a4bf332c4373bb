from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from brainldm import __version__
from brainldm.conditions import Conditions
from brainldm.errors import BrainLDMError
from brainldm.image.volume import Volume
from brainldm.models import slabs
from brainldm.pipeline.brain import BrainLDM
from brainldm.sampling.solvers import DDIM
from tests.toy import SHAPE, toy_config, write_toy_model

PERSON = Conditions(sex="F", age=65, ventricular_volume_ml=30, brain_volume_ml=1450)
LATENT = toy_config().latent.shape


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_model(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def model(directory: Path) -> BrainLDM:
    return BrainLDM.from_pretrained(directory, device="cpu", dtype="float32")


def relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def world_centre(volume: Volume) -> np.ndarray:
    return volume.affine[:3] @ [*((np.array(volume.array.shape) - 1) / 2), 1]


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


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpm++2m", "unipc", DDIM(eta=1.0)])
def test_every_sampler_makes_a_volume(model: BrainLDM, sampler: Any) -> None:
    first, second = (model.generate(PERSON, [5], steps=3, sampler=sampler)[0] for _ in range(2))
    np.testing.assert_array_equal(first.array, second.array)


def test_conditions_change_the_volume(model: BrainLDM) -> None:
    other = Conditions(sex="M", age=80, ventricular_volume_ml=100, brain_volume_ml=1200)
    a, b = model.generate([PERSON, other], [5, 5], steps=2)
    assert relative(a.array, b.array) > 1e-4


def test_guidance_goes_beyond_the_conditions(directory: Path) -> None:
    model = BrainLDM.from_pretrained(directory, device="cpu", dtype="float32")
    model.config = model.config.model_copy(update={"null_context": -1.0})
    context = torch.tensor(model.ranges.normalise([PERSON]))
    z = torch.randn(1, *LATENT, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        with_, without = model.denoiser(context)(z, 500), model.denoiser(-torch.ones(1, 4))(z, 500)
        for guidance in (1.0, 0.0, 2.5):
            output = model.denoiser(context, guidance)(z, 500)
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


def test_clipping_is_on_a_fixed_scale_and_reported(model: BrainLDM) -> None:
    (raw,) = model.generate(PERSON, [0], steps=1, clip=False)
    (clipped,) = model.generate(PERSON, [0], steps=1)
    outside = (raw.array < 0) | (raw.array > 1)
    np.testing.assert_array_equal(clipped.array, raw.array.clip(0, 1))
    fraction = clipped.metadata["brainldm"]["intensity"]["clipped_fraction"]
    assert fraction == pytest.approx(outside.mean())
    assert raw.metadata["brainldm"]["intensity"]["clipped_fraction"] is None


def test_noise_takes_the_place_of_seeds(model: BrainLDM) -> None:
    noise = torch.randn(LATENT, generator=torch.Generator().manual_seed(7))[None]
    (given,) = model.generate(PERSON, noise=noise, steps=2)
    (seeded,) = model.generate(PERSON, [7], steps=2)
    np.testing.assert_array_equal(given.array, seeded.array)
    assert given.metadata["brainldm"]["seed"] is None


def test_noise_of_another_size_keeps_the_centre(model: BrainLDM) -> None:
    volumes = model.generate(PERSON, noise=torch.zeros(2, 3, 8, 12, 10), steps=1)
    assert [volume.array.shape for volume in volumes] == [(16, 24, 20)] * 2
    (own,) = model.generate(PERSON, [0], steps=1)
    np.testing.assert_allclose(world_centre(volumes[0]), world_centre(own), atol=1e-9)
    np.testing.assert_array_equal(volumes[0].affine[:3, :3], own.affine[:3, :3])


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        (torch.zeros(1, 4, 8, 8, 8), r"the shape \(1, 4, 8, 8, 8\): expected .*\(B, 3, X, Y, Z\)"),
        (torch.zeros(3, 8, 8, 8), r"the shape \(3, 8, 8, 8\)"),
        (torch.zeros(1, 3, 9, 8, 7), r"nearest sizes that work are \(8, 8, 6\) and \(10, 8, 8\)"),
        (torch.full((1, 3, 8, 8, 8), math.nan), "NaN or infinite"),
        (np.zeros((1, 3, 8, 8, 8)), "noise is a ndarray: expected a tensor"),
    ],
)
def test_noise_that_cannot_be_taken(model: BrainLDM, noise: Any, message: str) -> None:
    with pytest.raises(BrainLDMError, match=message):
        model.generate(PERSON, noise=noise, steps=1)


def test_noise_and_seeds_exclude_each_other(model: BrainLDM) -> None:
    with pytest.raises(BrainLDMError, match="Both seeds and noise were given: expected one"):
        model.generate(PERSON, [1], noise=torch.zeros(1, *LATENT))


def test_noise_does_not_draw_conditions(model: BrainLDM) -> None:
    with pytest.raises(BrainLDMError, match="age is missing"):
        model.generate(Conditions(sex="F"), noise=torch.zeros(1, *LATENT))


def test_noise_does_not_suffice_for_a_sampler_that_draws_more(model: BrainLDM) -> None:
    with pytest.raises(BrainLDMError, match=r"ddpm draws noise on the way .* give the seeds"):
        model.generate(PERSON, noise=torch.zeros(1, *LATENT), sampler="ddpm", steps=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seeds": 7}, "seeds is 7: expected a sequence of whole numbers"),
        ({"seeds": []}, "seeds is empty: expected one for each sample"),
        ({"seeds": [1.5]}, r"The seed 1\.5 cannot be used: expected a whole number from 0"),
        ({"seeds": [-1]}, "The seed -1 cannot be used"),
        ({"seeds": [2**63]}, f"The seed {2**63} cannot be used"),
        ({"steps": 0}, "steps is 0: expected a whole number from 1 to 1000"),
        ({"guidance": 2.0}, "trained without condition dropout: expected 1"),
        ({"guidance": math.nan}, "guidance is nan: expected a finite number"),
        ({"steps": -3}, "steps is -3: expected"),
        ({"steps": 1001}, "steps is 1001: expected a whole number from 1 to 1000"),
        ({"sampler": "euler"}, r"Unknown sampler 'euler': expected one of .*ddim"),
        ({"conditions": [PERSON] * 2, "seeds": [1, 2, 3]}, "2 conditions were given with 3 seeds"),
        ({"conditions": Conditions(sex="F", age=90)}, r"90 years \(1\.211 normalised\)"),
    ],
)
def test_bad_requests(model: BrainLDM, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(BrainLDMError, match=message):
        model.generate(**{"conditions": PERSON, "seeds": [0], **arguments})


def test_extrapolation(model: BrainLDM) -> None:
    (volume,) = model.generate(Conditions(sex="F", age=90), [0], steps=1, extrapolate=True)
    assert volume.metadata["brainldm"]["conditions"]["age"]["value"] == 90


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


def test_saved_model_is_the_same_model(model: BrainLDM, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "copy")
    copy = BrainLDM.from_pretrained(tmp_path / "copy", device="cpu", dtype="float32")
    assert copy.hash == model.hash
    assert copy.config == model.config
    a, b = (each.generate(PERSON, [1], steps=1)[0].array for each in (model, copy))
    np.testing.assert_array_equal(a, b)


def test_a_rounded_model_is_not_saved(directory: Path, tmp_path: Path) -> None:
    half = BrainLDM.from_pretrained(directory, device="cpu", dtype="bfloat16")
    with pytest.raises(BrainLDMError, match=r"rounded to torch.bfloat16 .* load it with dtype="):
        half.save_pretrained(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_low_memory_changes_nothing_but_rounding(directory: Path, dtype: str) -> None:
    normal, low = (
        BrainLDM.from_pretrained(directory, device="cpu", dtype=dtype, memory=memory)
        for memory in ("normal", "low")
    )
    unet = low.unet
    a, b = (each.generate(PERSON, [1, 2], steps=2, clip=False) for each in (normal, low))
    for k in (0, 1):
        assert relative(b[k].array, a[k].array) < 1e-6
    assert low.unet is not unet  # let go before decoding, read again here
    (again,) = low.generate(PERSON, [1], steps=2, clip=False)
    assert relative(again.array, b[0].array) < (1e-5 if dtype == "float32" else 0.02)


def test_values_that_are_not_finite_stop_the_run(directory: Path) -> None:
    model = BrainLDM.from_pretrained(directory, device="cpu", dtype="float32")
    model.unet.out[2].conv.bias.fill_(torch.inf)
    with pytest.raises(BrainLDMError, match=r"NaN or infinite after step 1 of 2 \(timestep 500\)"):
        model.generate(PERSON, [0], steps=2, sampler="ddim")
    with pytest.raises(BrainLDMError, match="decoded image has values that are NaN"):
        model.decode(torch.full((1, *LATENT), torch.nan))


def test_a_gpu_short_of_memory_decodes_in_the_low_mode(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = BrainLDM.from_pretrained(directory, device="cpu", dtype="float32", memory="normal")
    latent = torch.ones(1, *LATENT)
    expected = model.decode(latent)
    decode = slabs.decode

    def full(*arguments: Any, low_memory: bool) -> torch.Tensor:
        if not low_memory:
            raise torch.OutOfMemoryError
        return decode(*arguments, low_memory=low_memory)

    monkeypatch.setattr(slabs, "decode", full)
    with pytest.warns(UserWarning, match="too little memory; decoding again in the mode low"):
        result = model.decode(latent)
    assert relative(result.numpy(), expected.numpy()) < 1e-6

    def never(*arguments: Any, low_memory: bool) -> torch.Tensor:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(slabs, "decode", never)
    with pytest.raises(BrainLDMError, match=r"even in the mode low. Use the CPU"):
        model.decode(latent)


def test_a_gpu_short_of_memory_denoises_one_by_one(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = BrainLDM.from_pretrained(directory, device="cpu", dtype="float32", memory="normal")
    expected = model.generate(Conditions(), seeds=[1, 2], steps=3)
    most = 1
    forward = model.unet.forward

    def full(z: torch.Tensor, *arguments: Any) -> torch.Tensor:
        if len(z) > most:
            raise torch.OutOfMemoryError
        return forward(z, *arguments)

    monkeypatch.setattr(model.unet, "forward", full)
    with pytest.warns(UserWarning, match="for 2 heads at a time; going on one by one"):
        results = model.generate(Conditions(), seeds=[1, 2], steps=3)
    for result, wanted in zip(results, expected, strict=True):
        assert relative(result.array, wanted.array) < 1e-5
    most = 0
    monkeypatch.setattr(model.unet, "forward", full)  # it was let go, and is read again
    with pytest.raises(BrainLDMError, match="too little memory to denoise"):
        model.generate(Conditions(), seeds=[1], steps=3)


def test_sizes_that_do_not_halve_are_refused(model: BrainLDM) -> None:
    with pytest.raises(
        BrainLDMError, match=r"The image has the size .* are \(4, 8, 8\) and \(6, 10, 8\)"
    ):
        model.autoencoder.encode(torch.zeros(1, 1, 5, 9, 8))
    with pytest.raises(
        BrainLDMError, match=r"The latent has the size .* are \(2, 4, 4\) and \(4, 4, 4\)"
    ):
        model.unet(torch.zeros(1, 7, 3, 4, 4), torch.zeros(1), torch.zeros(1, 1, 4))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a compiler")
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # of PyTorch's own
def test_a_compiled_network_is_the_same_network(directory: Path, model: BrainLDM) -> None:
    compiled = BrainLDM.from_pretrained(directory, device="cpu", dtype="float32", compile=True)
    a, b = (each.generate(PERSON, [1], steps=2)[0].array for each in (compiled, model))
    assert relative(a, b) < 1e-4


def test_bfloat16_is_close_to_float32(directory: Path, model: BrainLDM) -> None:
    half = BrainLDM.from_pretrained(directory, device="cpu", dtype="bfloat16")
    a, b = (each.generate(PERSON, [1], steps=2, clip=False)[0].array for each in (half, model))
    assert a.dtype == np.float32
    assert 0 < relative(a, b) < 0.05


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"device": "tpu"}, "Unknown device 'tpu': expected auto, cpu, cuda"),
        ({"device": "cuda:99"}, "no device 'cuda:99': .* sees .* CUDA devices here"),
        ({"dtype": "int8"}, "Unknown dtype 'int8': expected one of auto, float32, bfloat16"),
        ({"dtype": "float16"}, "float16 is for CUDA GPUs, and the device is cpu: choose"),
        ({"memory": "tiny"}, "Unknown memory 'tiny': expected one of auto, normal, low"),
    ],
)
def test_what_cannot_be_computed_on(
    directory: Path, arguments: dict[str, str], message: str
) -> None:
    with pytest.raises(BrainLDMError, match=message):
        BrainLDM.from_pretrained(directory, **arguments)
