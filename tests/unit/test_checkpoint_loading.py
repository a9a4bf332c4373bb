"""A model's directory: recognised, and checked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from brainldm.checkpoint import convert, layouts, load_config, load_model, to_old_names
from brainldm.errors import BrainLDMError, ModelError, StorageError
from tests.toy import PUBLISHED, states, toy_config, write_toy_model


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_model(tmp_path_factory.mktemp("toy") / "model")


@pytest.fixture
def copy(toy: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(toy, tmp_path / "copy"))


@pytest.mark.parametrize("files", [layouts.MODEL_ZOO, layouts.GENERATIVE_MODELS], ids=str)
@pytest.mark.parametrize("folder", ["", "models"])
@pytest.mark.parametrize("old", [True, False], ids=["old names", "new names"])
def test_published_files_are_recognised(
    toy: Path, files: layouts.Layout, folder: str, old: bool, tmp_path: Path
) -> None:
    (tmp_path / folder).mkdir(exist_ok=True)
    expected = dict(zip(("autoencoder", "unet"), states(toy), strict=True))
    for (network, state), file in zip(expected.items(), files, strict=True):
        torch.save(to_old_names(state, network) if old else state, tmp_path / folder / file)
    model = load_model(tmp_path)
    assert model.config == load_config(tmp_path) == PUBLISHED
    assert model.hash == load_model(toy).hash
    assert model.unet.keys() == expected["unet"].keys()
    assert load_model(tmp_path, config=toy_config()).config == toy_config()


def test_published_is_what_was_downloaded(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRAINLDM_CACHE", str(tmp_path))
    with pytest.raises(StorageError) as error:
        load_model("published")
    message = str(error.value)
    assert f"not in {tmp_path / 'published'}" in message
    assert "expected autoencoder.pt and model.pt" in message
    assert "`brainldm download`" in message
    convert(toy, tmp_path / "published", to="generativemodels")
    assert load_model("published").hash == load_model(toy).hash


def test_demo_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layouts, "DEMO", tmp_path / "demo")
    with pytest.raises(StorageError, match=r"demo model is not in .* `make demo-model` trains"):
        load_model("demo")


def assert_lists_what_is_accepted(message: str) -> None:
    assert "Expected 'demo', 'published', or a directory with" in message
    assert "autoencoder.safetensors and unet.safetensors and config.json" in message
    assert "autoencoder.pt and model.pt" in message
    assert "autoencoder.pth and diffusion_model.pth" in message


@pytest.mark.parametrize("load", [load_model, load_config])
def test_what_is_no_model(load: Any, toy: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "brain.nii.gz").touch()
    file = toy / "unet.safetensors"
    for source, kind, got in (
        ("nowhere", StorageError, "There is no directory nowhere."),
        (file, StorageError, "unet.safetensors is a file, not a directory."),
        (tmp_path / "empty", ModelError, "empty holds no model, but nothing."),
        (tmp_path / "other", ModelError, "other holds no model, but brain.nii.gz."),
    ):
        with pytest.raises(kind) as error:
            load(source)
        assert got in str(error.value)
        assert_lists_what_is_accepted(str(error.value))


@pytest.mark.parametrize("folder", ["", "models"])
@pytest.mark.parametrize(
    ("present", "missing"),
    [
        ("unet.safetensors", "autoencoder.safetensors"),
        ("autoencoder.pt", "model.pt"),
        ("diffusion_model.pth", "autoencoder.pth"),
    ],
)
def test_one_file_of_two(present: str, missing: str, folder: str, tmp_path: Path) -> None:
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / present).touch()
    with pytest.raises(ModelError, match=f"has {present} but not {missing}: .*needs both") as e:
        load_model(tmp_path)
    assert_lists_what_is_accepted(str(e.value))


def test_configuration_is_missing(copy: Path) -> None:
    (copy / "config.json").unlink()
    with pytest.raises(ModelError, match=r"but no config\.json: expected all three, .* convert"):
        load_model(copy)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"schedule": {"beta_strat": 0.1}}, r"schedule\.beta_strat: Extra inputs"),
        ({"latent": {"scale": -1}}, r"latent\.scale: Input should be greater than 0"),
        ({"unet": {"channels": "many"}}, r"unet\.channels: Input should be"),
    ],
)
def test_configuration_has_a_wrong_key_or_value(
    change: dict[str, Any], expected: str, copy: Path
) -> None:
    path = copy / "config.json"
    content = json.loads(path.read_text())
    for section, values in change.items():
        content[section].update(values)
    path.write_text(json.dumps(content))
    with pytest.raises(BrainLDMError, match=expected) as error:
        load_model(copy)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("content", [b'{"name": "toy', b"\xff\xfe\x00"])
def test_configuration_is_not_json(content: bytes, copy: Path) -> None:
    (copy / "config.json").write_bytes(content)
    with pytest.raises(BrainLDMError, match=r"config\.json"):
        load_model(copy)


def test_weights_are_not_those_of_the_configuration(copy: Path) -> None:
    path = copy / "unet.safetensors"
    before = load_config(copy).weights["unet.safetensors"]
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError) as error:
        load_model(copy)
    message = str(error.value)
    assert f"{path} is not the file that config.json was saved with" in message
    assert f"expected SHA-256 {before}, got " in message
    assert "copy the whole directory again" in message


def test_truncated_weights(copy: Path) -> None:
    path = copy / "autoencoder.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"autoencoder\.safetensors .*expected SHA-256"):
        load_model(copy)
    with pytest.raises(ModelError, match=r"autoencoder\.safetensors is damaged"):
        load_model(copy, config=toy_config())  # which has no hashes


def test_weights_of_the_configuration_are_gone(copy: Path, tmp_path: Path) -> None:
    convert(copy, tmp_path / "zoo", to="monai")
    for before, after in zip(layouts.OURS, layouts.MODEL_ZOO, strict=True):
        (copy / before).unlink()
        shutil.copy(tmp_path / "zoo" / after, copy)
    with pytest.raises(StorageError, match=r"saved with autoencoder\.safetensors, .* not there"):
        load_model(copy)
