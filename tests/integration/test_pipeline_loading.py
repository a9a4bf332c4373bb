"""Networks on devices, in precisions and in the memory there is."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from brainldm.checkpoint import load_model
from brainldm.conditions import Conditions
from brainldm.errors import BrainLDMError
from brainldm.models import slabs
from brainldm.pipeline import loading
from brainldm.pipeline.brain import BrainLDM
from tests.conftest import Run
from tests.toy import PERSON, relative, toy_config

LATENT = toy_config().latent.shape


def test_saved_model_is_the_same_model(model: BrainLDM, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "copy")
    copy = BrainLDM.from_pretrained(tmp_path / "copy", device="cpu", dtype="float32")
    assert copy.hash == model.hash
    assert copy.config == model.config
    a, b = (each.generate(PERSON, [1], steps=1)[0].array for each in (model, copy))
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("memory", ["normal", "low"])
def test_a_rounded_model_is_saved_as_it_was_before(
    memory: str, model: BrainLDM, toy_directory: Path, tmp_path: Path
) -> None:
    half = BrainLDM.from_pretrained(toy_directory, device="cpu", dtype="bfloat16", memory=memory)
    half.save_pretrained(tmp_path / "copy")
    assert load_model(tmp_path / "copy").hash == model.hash == load_model(toy_directory).hash
    for name in ("unet.safetensors", "autoencoder.safetensors"):
        assert (tmp_path / "copy" / name).read_bytes() == (toy_directory / name).read_bytes()


def test_a_rounded_model_that_was_changed_is_not_saved(toy_directory: Path, tmp_path: Path) -> None:
    half = BrainLDM.from_pretrained(toy_directory, device="cpu", dtype="bfloat16")
    next(half.unet.parameters()).data.add_(1)
    with pytest.raises(BrainLDMError, match=r"rounded to torch.bfloat16 .* load it with dtype="):
        half.save_pretrained(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize(("dtype", "seeds"), [("float32", [1, 2]), ("bfloat16", [1])])
def test_low_memory_changes_nothing_but_rounding(
    toy_directory: Path, dtype: str, seeds: list[int]
) -> None:
    normal, low = (
        BrainLDM.from_pretrained(toy_directory, device="cpu", dtype=dtype, memory=memory)
        for memory in ("normal", "low")
    )
    unet = low.unet
    a, b = (each.generate(PERSON, seeds, steps=1, clip=False) for each in (normal, low))
    for one, other in zip(b, a, strict=True):
        assert relative(one.array, other.array) < 1e-6
    assert low.unet is not unet  # let go before decoding, read again here
    (again,) = low.generate(PERSON, [1], steps=1, clip=False)
    assert relative(again.array, b[0].array) < (1e-5 if dtype == "float32" else 0.02)


def test_low_memory_reads_the_unet_once_a_call(
    toy_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    load = loading.load_model
    monkeypatch.setattr(
        loading, "load_model", lambda *where, **how: reads.append(where) or load(*where, **how)
    )
    model = BrainLDM.from_pretrained(toy_directory, "cpu", "float32", memory="low")
    monkeypatch.setattr(type(model.networks), "batch", 2)
    phases: list[str] = []
    for call in (1, 2):
        model.generate(PERSON, range(5), steps=1, progress=lambda d, t, phase: phases.append(phase))
        assert phases == (["denoise"] * 3 + ["decode"] * 5) * call
        assert len(reads) == call


def test_values_that_are_not_finite_stop_the_run(toy_directory: Path) -> None:
    model = BrainLDM.from_pretrained(toy_directory, device="cpu", dtype="float32")
    model.unet.out[2].conv.bias.fill_(torch.inf)
    with pytest.raises(BrainLDMError, match=r"NaN or infinite after step 1 of 2 \(timestep 500\)"):
        model.generate(PERSON, [0], steps=2, sampler="ddim")
    with pytest.raises(BrainLDMError, match="decoded image has values that are NaN"):
        model.decode(torch.full((1, *LATENT), torch.nan))


def test_a_gpu_short_of_memory_decodes_in_the_low_mode(
    toy_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = BrainLDM.from_pretrained(toy_directory, device="cpu", dtype="float32", memory="normal")
    latent = torch.ones(1, *LATENT)
    expected = model.decode(latent)
    decode = slabs.decode

    def full(*arguments: Any, low_memory: bool) -> torch.Tensor:
        if not low_memory:
            raise torch.OutOfMemoryError
        return decode(*arguments, low_memory=low_memory)

    monkeypatch.setattr(slabs, "decode", full)
    with pytest.warns(UserWarning, match="too little memory; decoding again in low-memory mode"):
        result = model.decode(latent)
    assert relative(result.numpy(), expected.numpy()) < 1e-6

    def never(*arguments: Any, low_memory: bool) -> torch.Tensor:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(slabs, "decode", never)
    with pytest.raises(BrainLDMError, match=r"even in low-memory mode. Use the CPU"):
        model.decode(latent)


def test_a_gpu_short_of_memory_denoises_one_by_one(
    toy_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = BrainLDM.from_pretrained(toy_directory, device="cpu", dtype="float32", memory="normal")
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


COMPILED = """
import sys
import numpy as np
from brainldm import BrainLDM
model = BrainLDM.from_pretrained(sys.argv[1], device="cpu", dtype="float32", compile=True)
person = {"sex": "F", "age": 65, "ventricular_volume_ml": 30, "brain_volume_ml": 1450}
np.save("made.npy", model.generate(person, [1], steps=2)[0].array)
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a compiler")
def test_a_compiled_network_is_the_same_network(
    toy_directory: Path, model: BrainLDM, tmp_path: Path, run: Run
) -> None:
    # In a process of its own: what is compiled cannot be held against its annotations.
    made = run(sys.executable, "-c", COMPILED, str(toy_directory))
    assert made.returncode == 0, made.stderr
    compiled = np.load(tmp_path / "made.npy")
    assert relative(compiled, model.generate(PERSON, [1], steps=2)[0].array) < 1e-4


def test_bfloat16_is_close_to_float32(toy_directory: Path, model: BrainLDM) -> None:
    half = BrainLDM.from_pretrained(toy_directory, device="cpu", dtype="bfloat16")
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
    toy_directory: Path, arguments: dict[str, str], message: str
) -> None:
    with pytest.raises(BrainLDMError, match=message):
        BrainLDM.from_pretrained(toy_directory, **arguments)
