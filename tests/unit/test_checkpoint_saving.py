"""A model's directory: written whole or not at all, and in other layouts."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from brainldm.checkpoint import convert, load_config, load_model, save_model
from brainldm.errors import ModelError, StorageError, UsageError
from brainldm.files import writing
from tests.toy import states, toy_config, write_toy_model

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


def test_existing_directory_is_not_overwritten(toy: Path, copy: Path) -> None:
    before = (copy / "config.json").read_bytes()
    config = toy_config().model_copy(update={"name": "other"})
    with pytest.raises(UsageError, match=r"Would overwrite .*copy.* new or empty .*overwrite="):
        save_model(copy, config, *states(toy))
    assert (copy / "config.json").read_bytes() == before

    save_model(copy, config, *states(toy), overwrite=True)
    assert load_config(copy).name == "other"
    assert names(copy.parent) == ["copy"]


def test_overwriting_never_removes_anything_but_a_model(toy: Path, copy: Path) -> None:
    (copy / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"Would remove notes\.txt from .* Choose another"):
        save_model(copy, toy_config(), *states(toy), overwrite=True)
    assert names(copy) == sorted([*FILES, "notes.txt"])


def test_empty_directory_is_filled_and_parents_are_made(toy: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for directory in (tmp_path / "empty", tmp_path / "a" / "b"):
        save_model(directory, toy_config(), *states(toy))
        assert names(directory) == FILES


def test_place_is_a_file(toy: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file is a file: expected a new directory"):
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
    with pytest.raises(StorageError, match=r"Cannot write .*model: .*No space left.* Free some"):
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
    with pytest.raises(StorageError, match="Input/output error"):
        save_model(copy, toy_config(), *states(toy), overwrite=True)
    assert names(copy.parent) == ["copy"]
    assert load_model(copy).hash == load_model(toy).hash


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ("brainldm", FILES),
        ("monai", ["autoencoder.pt", "config.json", "model.pt"]),
        ("generativemodels", ["autoencoder.pt", "config.json", "model.pt"]),
    ],
)
def test_convert(to: str, expected: list[str], toy: Path, tmp_path: Path) -> None:
    convert(toy, tmp_path / "out", to=to)
    assert names(tmp_path / "out") == expected
    assert load_config(tmp_path / "out").weights.keys() == set(expected) - {"config.json"}
    with pytest.raises(UsageError, match="Would overwrite"):
        convert(toy, tmp_path / "out", to=to)
    convert(toy, tmp_path / "out", overwrite=True)
    assert names(tmp_path / "out") == FILES


def test_convert_to_an_unknown_layout(toy: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'diffusers': expected brainldm, monai or generativ"):
        convert(toy, tmp_path / "out", to="diffusers")


def test_convert_weights_of_another_architecture(toy: Path, tmp_path: Path) -> None:
    convert(toy, tmp_path / "zoo", to="generativemodels")
    (tmp_path / "zoo" / "config.json").unlink()  # so they are taken for the published ones
    with pytest.raises(ModelError) as error:
        convert(tmp_path / "zoo", tmp_path / "out")
    message = str(error.value)
    assert "The weights do not fit the autoencoder." in message
    assert "encoder.blocks.0.conv.weight: expected (64, 1, 3, 3, 3), got (8, 1, 3, 3, 3)" in message
    assert not (tmp_path / "out").exists()
