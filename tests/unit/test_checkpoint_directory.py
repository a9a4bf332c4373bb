"""A model as a directory: recognised, checked, and written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from brainldm.checkpoint import (
    convert,
    layouts,
    load_config,
    load_model,
    save_model,
    to_old_names,
    writing,
)
from brainldm.config import PUBLISHED
from brainldm.errors import BrainLDMError
from tests.toy import toy_config, write_toy_model

FILES = ["autoencoder.safetensors", "config.json", "unet.safetensors"]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_model(tmp_path_factory.mktemp("toy") / "model")


@pytest.fixture
def copy(toy: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(toy, tmp_path / "copy"))


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def states(toy: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    model = load_model(toy)
    return model.autoencoder, model.unet


def test_what_was_saved_is_loaded(toy: Path) -> None:
    model = load_model(str(toy))
    assert names(toy) == FILES
    assert model.config.model_copy(update={"weights": {}, "hash": ""}) == toy_config()
    assert model.config.hash == model.hash
    assert model.config == load_config(toy)
    for network in ("autoencoder", "unet"):
        file = load_file(toy / f"{network}.safetensors")
        torch.testing.assert_close(getattr(model, network), file, rtol=0, atol=0)


def test_the_configuration_has_the_hashes_that_sha256sum_prints(toy: Path, run: Any) -> None:
    printed = run("sha256sum", *FILES[::2], cwd=toy).stdout.split()
    assert load_config(toy).weights == dict(zip(printed[1::2], printed[::2], strict=True))


def test_same_weights_same_files(toy: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "again", toy_config(), *states(toy))
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (toy / name).read_bytes()


def test_files_are_readable_by_those_who_may(toy: Path) -> None:
    modes = {(toy / name).stat().st_mode for name in FILES}
    assert len(modes) == 1
    assert toy.stat().st_mode & 0o777 == 0o777 & ~_umask()
    assert modes.pop() & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_hash_follows_the_values_not_their_storage(toy: Path, tmp_path: Path) -> None:
    autoencoder, unet = states(toy)
    half = {name: tensor.half() for name, tensor in unet.items()}
    save_model(tmp_path / "half", toy_config(), autoencoder, half)
    wide = {name: tensor.float() for name, tensor in half.items()}
    save_model(tmp_path / "wide", toy_config(), autoencoder, wide)
    assert load_model(tmp_path / "half").hash == load_model(tmp_path / "wide").hash

    name = next(iter(wide))
    wide[name] = wide[name] + 1e-3
    save_model(tmp_path / "other", toy_config(), autoencoder, wide)
    assert load_model(tmp_path / "other").hash != load_model(tmp_path / "wide").hash


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
    with pytest.raises(BrainLDMError) as error:
        load_model("published")
    message = str(error.value)
    assert f"not in {tmp_path / 'published'}" in message
    assert "expected autoencoder.pt and model.pt" in message
    assert "`brainldm download`" in message
    convert(toy, tmp_path / "published", to="generativemodels")
    assert load_model("published").hash == load_model(toy).hash


def test_demo_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layouts, "DEMO", tmp_path / "demo")
    with pytest.raises(BrainLDMError, match=r"demo model is not in .* `make demo-model` trains"):
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
    for source, got in (
        ("nowhere", "There is no directory nowhere."),
        (toy / "unet.safetensors", "unet.safetensors is a file, not a directory."),
        (tmp_path / "empty", "empty holds no model, but nothing."),
        (tmp_path / "other", "other holds no model, but brain.nii.gz."),
    ):
        with pytest.raises(BrainLDMError) as error:
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
    with pytest.raises(BrainLDMError, match=f"has {present} but not {missing}: .*needs both") as e:
        load_model(tmp_path)
    assert_lists_what_is_accepted(str(e.value))


def test_configuration_is_missing(copy: Path) -> None:
    (copy / "config.json").unlink()
    with pytest.raises(BrainLDMError, match=r"but no config\.json: expected all three, .* convert"):
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
    with pytest.raises(BrainLDMError) as error:
        load_model(copy)
    message = str(error.value)
    assert f"{path} is not the file that config.json was saved with" in message
    assert f"expected SHA-256 {before}, got " in message
    assert "copy the whole directory again" in message


def test_truncated_weights(copy: Path) -> None:
    path = copy / "autoencoder.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BrainLDMError, match=r"autoencoder\.safetensors .*expected SHA-256"):
        load_model(copy)
    with pytest.raises(BrainLDMError, match=r"autoencoder\.safetensors is damaged"):
        load_model(copy, config=toy_config())  # which has no hashes


def test_weights_of_the_configuration_are_gone(copy: Path, tmp_path: Path) -> None:
    convert(copy, tmp_path / "zoo", to="monai")
    for before, after in zip(layouts.OURS, layouts.MODEL_ZOO, strict=True):
        (copy / before).unlink()
        shutil.copy(tmp_path / "zoo" / after, copy)
    with pytest.raises(BrainLDMError, match=r"saved with autoencoder\.safetensors, .* not there"):
        load_model(copy)


def test_existing_directory_is_not_overwritten(toy: Path, copy: Path) -> None:
    before = (copy / "config.json").read_bytes()
    config = toy_config().model_copy(update={"name": "other"})
    with pytest.raises(BrainLDMError, match=r"Would overwrite .*copy.* new or empty .*overwrite="):
        save_model(copy, config, *states(toy))
    assert (copy / "config.json").read_bytes() == before

    save_model(copy, config, *states(toy), overwrite=True)
    assert load_config(copy).name == "other"
    assert names(copy.parent) == ["copy"]


def test_overwriting_never_removes_anything_but_a_model(toy: Path, copy: Path) -> None:
    (copy / "notes.txt").write_text("mine")
    with pytest.raises(BrainLDMError, match=r"Would remove notes\.txt from .* Choose another"):
        save_model(copy, toy_config(), *states(toy), overwrite=True)
    assert names(copy) == sorted([*FILES, "notes.txt"])


def test_empty_directory_is_filled_and_parents_are_made(toy: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for directory in (tmp_path / "empty", tmp_path / "a" / "b"):
        save_model(directory, toy_config(), *states(toy))
        assert names(directory) == FILES


def test_place_is_a_file(toy: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BrainLDMError, match="file is a file: expected a new directory"):
        save_model(tmp_path / "file", toy_config(), *states(toy))


@pytest.mark.parametrize("existing", [False, True])
def test_disk_full(
    existing: bool, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if existing:
        shutil.copytree(toy, tmp_path / "model")
    calls = []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(BrainLDMError, match=r"Cannot write .*model: .*No space left.* Free some"):
        save_model(tmp_path / "model", toy_config(), *states(toy), overwrite=existing)
    assert names(tmp_path) == ["model"] * existing
    if existing:
        assert load_model(tmp_path / "model").hash == load_model(toy).hash


def test_interrupted(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "_replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_model(tmp_path / "model", toy_config(), *states(toy))
    assert names(tmp_path) == []


def test_what_replaces_cannot_be_renamed(
    toy: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the two renames of a replacement, the old model comes back."""
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if target == copy and ".old." not in self.name:
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(BrainLDMError, match="Input/output error"):
        save_model(copy, toy_config(), *states(toy), overwrite=True)
    assert names(copy.parent) == ["copy"]
    assert load_model(copy).hash == load_model(toy).hash


@pytest.mark.parametrize(
    ("to", "files"),
    [
        ("brainldm", FILES),
        ("monai", ["autoencoder.pt", "config.json", "model.pt"]),
        ("generativemodels", ["autoencoder.pt", "config.json", "model.pt"]),
    ],
)
def test_convert(to: str, files: list[str], toy: Path, tmp_path: Path) -> None:
    convert(toy, tmp_path / "out", to=to)
    assert names(tmp_path / "out") == files
    assert load_config(tmp_path / "out").weights.keys() == set(files) - {"config.json"}
    with pytest.raises(BrainLDMError, match="Would overwrite"):
        convert(toy, tmp_path / "out", to=to)
    convert(toy, tmp_path / "out", overwrite=True)
    assert names(tmp_path / "out") == FILES


def test_convert_to_an_unknown_layout(toy: Path, tmp_path: Path) -> None:
    with pytest.raises(BrainLDMError, match="'diffusers': expected brainldm, monai or generativ"):
        convert(toy, tmp_path / "out", to="diffusers")


def test_convert_weights_of_another_architecture(toy: Path, tmp_path: Path) -> None:
    convert(toy, tmp_path / "zoo", to="generativemodels")
    (tmp_path / "zoo" / "config.json").unlink()  # so they are taken for the published ones
    with pytest.raises(BrainLDMError) as error:
        convert(tmp_path / "zoo", tmp_path / "out")
    message = str(error.value)
    assert "The weights do not fit the autoencoder." in message
    assert "encoder.blocks.0.conv.weight: expected (64, 1, 3, 3, 3), got (8, 1, 3, 3, 3)" in message
    assert not (tmp_path / "out").exists()
