"""The MONAI bundle runs as a user types it, from a copy of `bundle/`."""

from __future__ import annotations

import json
import logging
import runpy
import shlex
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from brainldm.bundle import Generator, generate
from brainldm.checkpoint import convert, to_old_names
from brainldm.errors import BrainLDMError
from tests.conftest import Run
from tests.toy import SHAPE, write_toy_model

Monai = Callable[..., tuple[int, str]]

RUN = shlex.split("run --config_file configs/inference.json")
VERIFY = shlex.split(
    "verify_net_in_out --net_id network_def "
    "--meta_file configs/metadata.json --config_file configs/inference.json"
)
ASKED = shlex.split("--gender 1.0 --age 0.7 --ventricular_vol 0.7 --brain_vol 0.5")
PERSON = {"gender": 1.0, "age": 0.7, "ventricular_vol": 0.7, "brain_vol": 0.5}


@pytest.fixture
def bundle(root: Path, tmp_path: Path) -> Path:
    """A copy of the bundle, without weights."""
    copy = tmp_path / "bundle"
    shutil.copytree(root / "bundle", copy, ignore=shutil.ignore_patterns("models", "output"))
    return copy


@pytest.fixture
def monai(
    bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> Monai:
    """Run `python -m monai.bundle` in the bundle, in this process: exit code, and all it said."""

    def monai(*arguments: str) -> tuple[int, str]:
        monkeypatch.chdir(bundle)
        # MONAI's log keeps the stream of the first test that it ran in.
        monkeypatch.setattr(logging, "raiseExceptions", False)
        monkeypatch.setattr(sys, "argv", ["monai.bundle", *arguments])
        code: int | str | None = 0
        with warnings.catch_warnings(action="default"):
            try:
                runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
            except SystemExit as exit:
                code = exit.code
        return int(code or 0), "".join(capfd.readouterr()) + caplog.text

    return monai


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_model(tmp_path_factory.mktemp("toy"))


@pytest.fixture(params=[1, 0], ids=["old names", "new names"])
def load_old(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def weights(toy: Path, models: Path, load_old: int) -> Path:
    """A bundle's `models/`, in which config.json tells that the architecture is a toy."""
    convert(toy, models, to="generativemodels" if load_old else "monai")
    return models


def test_published_command_as_written_without_weights(bundle: Path, run: Run) -> None:
    result = run("python", "-m", "monai.bundle", *RUN, *ASKED, cwd=bundle)

    assert result.returncode == 0, result.stderr
    assert "demo model" in result.stderr
    [path] = (bundle / "output").glob("*.nii.gz")
    assert str(path.relative_to(bundle)) in result.stdout
    image = nib.load(path)
    assert len(image.shape) == 3
    assert int(image.header["sform_code"]) == int(image.header["qform_code"]) == 4
    assert np.ptp(image.get_fdata()) > 0
    sidecar = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())
    assert sidecar["synthetic"] is True
    conditions = sidecar["brainldm"]["conditions"]
    assert conditions["sex"]["value"] == "M"
    assert conditions["age"]["normalised"] == pytest.approx(0.7)


def test_overrides_and_weights_in_models(
    bundle: Path, toy: Path, monai: Monai, tmp_path: Path, load_old: int
) -> None:
    weights(toy, bundle / "models", load_old)
    out = tmp_path / "elsewhere"
    options = ["--output_dir", str(out), "--seed", "3", "--steps", "2"]
    options += [] if load_old else ["--load_old", "0"]

    code, said = monai(*RUN, *ASKED, *options)

    assert code == 0, said
    assert "demo model" not in said
    assert not (bundle / "output").exists()
    [sidecar] = out.glob("*.json")
    made = json.loads(sidecar.read_text())["brainldm"]
    assert made["seed"] == 3
    assert made["sampler"]["steps"] == 2
    assert made["model"]["name"] == "toy"


def test_a_mistake_ends_in_its_message_and_status_2(bundle: Path, toy: Path, monai: Monai) -> None:
    weights(toy, bundle / "models", load_old=1)
    code, said = monai(*RUN, "--age", "1.5", "--steps", "2")

    assert code == 2
    assert "Traceback" not in said
    assert "age is 101 years (1.5 normalised)" in said
    assert not (bundle / "output").exists()


def test_verify_net_in_out(bundle: Path, toy: Path, monai: Monai) -> None:
    weights(toy, bundle / "models", load_old=1)
    code, said = monai(*VERIFY, "--steps", "2")
    assert code == 0, said
    assert "verified with no error" in said


def test_network_maps_conditions_to_images(toy: Path, tmp_path: Path, load_old: int) -> None:
    network = Generator(weights(toy, tmp_path / "models", load_old), load_old=load_old, steps=2)
    images = network(torch.tensor([[0.0, 0.2, 0.4, 0.6], [1.0, 0.2, 0.4, 0.6]]))
    assert images.shape == (2, 1, *SHAPE)
    assert images.dtype == torch.float32
    assert images.min() >= 0
    assert images.max() <= 1


def test_weights_that_contradict_load_old(toy: Path, tmp_path: Path, load_old: int) -> None:
    models = weights(toy, tmp_path / "models", load_old)
    got, expected = ["MONAI >= 1.4", "GenerativeModels"][:: -1 if load_old else 1]
    with pytest.raises(BrainLDMError) as error:
        Generator(models, load_old=1 - load_old)
    message = str(error.value)
    assert f"has the parameter names of {got}" in message
    assert f"announces those of {expected}" in message
    assert f"Run again with --load_old {load_old}" in message


def test_one_weights_file_of_two(toy: Path, tmp_path: Path) -> None:
    models = weights(toy, tmp_path / "models", load_old=1)
    (models / "model.pt").unlink()
    (models / "config.json").unlink()
    with pytest.raises(BrainLDMError, match=r"has autoencoder\.pt but not model\.pt"):
        Generator(models)


def test_extrapolation_is_asked_for(toy: Path, tmp_path: Path) -> None:
    models = weights(toy, tmp_path / "models", load_old=1)
    person = {**PERSON, "ventricular_vol": 1.5}
    with pytest.raises(BrainLDMError, match="outside what this model knows"):
        generate(models, tmp_path, **person, steps=1)
    assert generate(models, tmp_path, **person, steps=1, extrapolate=1).exists()


def test_a_seed_tells_the_file_and_is_not_overwritten(toy: Path, tmp_path: Path) -> None:
    models = weights(toy, tmp_path / "models", load_old=1)
    first = generate(models, tmp_path / "a", **PERSON, seed=5, steps=1)
    again = generate(models, tmp_path / "b", **PERSON, seed=5, steps=1)
    other = generate(models, tmp_path / "a", **PERSON, seed=6, steps=1)
    assert first.read_bytes() == again.read_bytes()
    assert first.read_bytes() != other.read_bytes()
    with pytest.raises(BrainLDMError, match="overwrite"):
        generate(models, tmp_path / "a", **PERSON, seed=5, steps=1)
    assert generate(models, tmp_path / "a", **PERSON, seed=5, steps=1, overwrite=1) == first


def test_a_seed_that_is_not_given_is_drawn(toy: Path, tmp_path: Path) -> None:
    models = weights(toy, tmp_path / "models", load_old=1)
    paths = {generate(models, tmp_path / "out", **PERSON, steps=1) for _ in range(2)}
    assert len(paths) == 2


def test_old_names_differ_in_both_networks(toy: Path) -> None:
    """Else `load_old` could not be checked."""
    for network in ("autoencoder", "unet"):
        state = load_file(toy / f"{network}.safetensors")
        assert to_old_names(state, network).keys() != state.keys()
