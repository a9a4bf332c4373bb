"""Writing a model's directory whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from brainldm.config import ModelConfig
from brainldm.errors import BrainLDMError
from brainldm.files import make_folder


def write_directory(
    directory: Path,
    config: ModelConfig,
    weights: Mapping[str, Mapping[str, Tensor]],
    replaceable: frozenset[str] = frozenset(),
    card: str | None = None,
) -> None:
    """Write weights and `config.json` aside, then rename the directory into its place.

    Args:
        directory: where to; it may exist if it holds nothing but `replaceable` files.
        config: saved with the SHA-256 of each file in its `weights`.
        weights: state dicts by file name; the suffix `.safetensors` or `.pt` is the format.
        replaceable: names of files that may be replaced.
        card: the text of `README.md`; None for no such file.

    Raises:
        BrainLDMError: there are other files in the directory, or it cannot be written.
    """
    directory = directory.absolute()
    _refuse_others(directory, replaceable)
    make_folder(directory.parent)
    aside = directory.with_name(f".{directory.name}.{os.getpid()}.partial")
    try:
        aside.mkdir()
        hashes = {name: _write(aside / name, state) for name, state in weights.items()}
        texts = {"config.json": config.model_copy(update={"weights": hashes}).to_json()}
        if card is not None:
            texts["README.md"] = card
        for name, text in texts.items():
            (aside / name).write_text(text, encoding="utf-8")
            _flush(aside / name)
        _replace(directory, aside)
    except (OSError, RuntimeError, SafetensorError) as error:  # the three writers' "disk full"
        raise BrainLDMError(
            f"Cannot write the model {directory}: {error}. Nothing was kept of it. Free some "
            "space, or choose a place where files can be written."
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _refuse_others(directory: Path, replaceable: frozenset[str]) -> None:
    if directory.exists() and not directory.is_dir():
        raise BrainLDMError(f"{directory} is a file: expected a new directory. Choose another one.")
    present = {path.name for path in directory.iterdir()} if directory.exists() else set()
    others = sorted(present - replaceable)
    if others and replaceable:
        raise BrainLDMError(
            f"Would remove {', '.join(others[:5])} from {directory}: expected a directory that "
            "holds nothing but a model. Choose another one."
        )
    if others:
        raise BrainLDMError(
            f"Would overwrite {directory}, which holds {', '.join(others[:5])}: expected a new or "
            "empty directory. Choose another one, or allow it (overwrite=True)."
        )


def _write(path: Path, state: Mapping[str, Tensor]) -> str:
    """Write one file of weights and return its SHA-256."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    # safetensors leaves a file that only its owner can read; the folder has the user's own mode.
    path.chmod(path.parent.stat().st_mode & 0o666)
    _flush(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """Wait until the file is on the disk, so that no rename can come before its content."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _replace(directory: Path, new: Path) -> None:
    """Rename `new` to `directory`; what was there is deleted last."""
    if not directory.exists():
        new.rename(directory)
        return
    old = new.with_suffix(".old.partial")
    directory.rename(old)
    try:
        new.rename(directory)
    except OSError:
        old.rename(directory)
        raise
    shutil.rmtree(old)
