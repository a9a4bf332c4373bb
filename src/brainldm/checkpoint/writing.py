"""Writing a model's directory whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from brainldm.config import ModelConfig
from brainldm.errors import StorageError, UsageError
from brainldm.files import sha256, write_folder


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
        UsageError: there are other files in the directory.
        StorageError: it cannot be written.
    """
    refuse_others(directory, replaceable)
    with write_folder(directory) as aside:
        hashes = {name: _write(aside / name, state) for name, state in weights.items()}
        texts = {"config.json": config.model_copy(update={"weights": hashes}).to_json()}
        if card is not None:
            texts["README.md"] = card
        for name, text in texts.items():
            (aside / name).write_text(text, encoding="utf-8")


def refuse_others(directory: Path, replaceable: frozenset[str]) -> None:
    """Raise a UsageError if there are other files than those in the directory."""
    if os.path.exists(directory) and not os.path.isdir(directory):
        raise UsageError(f"{directory} is a file: expected a new directory. Choose another one.")
    present = {path.name for path in directory.iterdir()} if os.path.exists(directory) else set()
    others = sorted(present - replaceable)
    if others and replaceable:
        raise UsageError(
            f"Would remove {', '.join(others[:5])} from {directory}: expected a directory that "
            "holds nothing but a model. Choose another one."
        )
    if others:
        raise UsageError(
            f"Would overwrite {directory}, which holds {', '.join(others[:5])}: expected a new or "
            "empty directory. Choose another one, or allow it (overwrite=True)."
        )


def _write(path: Path, state: Mapping[str, Tensor]) -> str:
    """Write one file of weights and return its SHA-256."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    try:
        if path.suffix == ".safetensors":
            save_file(tensors, path)
        else:
            torch.save(tensors, path)
    except (RuntimeError, SafetensorError) as error:  # the two writers' "disk full"
        raise StorageError(
            f"Cannot write {path.name} of a model: {error}. Nothing was kept of it. Free some "
            "space, or choose another place."
        ) from error
    # safetensors leaves a file that only its owner can read; the folder has the user's own mode.
    path.chmod(path.parent.stat().st_mode & 0o666)
    return sha256(path)
