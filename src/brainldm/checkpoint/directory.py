"""A model as a directory: in from any layout, out whole or not at all.

The SHA-256 sums in `config.json` are checked at every load, while the weights are read: about two
seconds of another core for the 2.3 GB of the published model.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from brainldm.checkpoint.download import PUBLISHED_FILES
from brainldm.checkpoint.fitting import check_fit
from brainldm.checkpoint.layouts import CARD, CONFIG, FILES, MODEL_ZOO, OURS, Layout, locate
from brainldm.checkpoint.names import to_current_names, to_old_names
from brainldm.checkpoint.reading import read_weights
from brainldm.checkpoint.writing import refuse_others, write_directory
from brainldm.config import ModelConfig, published_config
from brainldm.errors import DataError, ModelError, StorageError, UsageError
from brainldm.files import checksum, read_text
from brainldm.models.autoencoder import AutoencoderKL
from brainldm.models.unet import DiffusionUNet

SAME_SCALE = 1e-4
"""By how much of it two scales of the latent may differ, as where one was rounded."""


@dataclass(frozen=True)
class LoadedModel:
    """A model's weights, with what they are.

    `autoencoder` and `unet` are state dicts on the CPU with the names of MONAI >= 1.4. `hash` is a
    SHA-256 of their names, shapes and values, so it stays when a model is converted.
    """

    config: ModelConfig
    autoencoder: dict[str, Tensor]
    unet: dict[str, Tensor]
    hash: str


def load_model(
    source: str | Path, config: ModelConfig | None = None, dtype: torch.dtype | None = None
) -> LoadedModel:
    """Load a model's weights and configuration.

    Args:
        source: "demo" (ships with the package), "published" (what `brainldm download` fetched), or
            a directory with a pair of files that `layouts` lists, in it or in its folder `models`.
        config: what the weights are, in place of the directory's `config.json`.
        dtype: of the U-Net's weights; None leaves them as they are stored.

    Raises:
        StorageError: no such model, or a file is missing or cannot be read.
        ModelError: a file is damaged or not the one that `config.json` was saved with, or
            `config.json` has a wrong key or value.
    """
    folder, layout = locate(source)
    sums: Mapping[str, str] = {}
    if config is None:
        config = _read_config(folder, layout)
        sums = config.weights
        if source == "published" and not sums:
            sums = {file.name: file.hash for file in PUBLISHED_FILES}
    with ThreadPoolExecutor(1) as worker:
        check = worker.submit(_check_hashes, folder, sums)
        try:
            first = read_weights(folder / layout.autoencoder)
            second = read_weights(folder / layout.unet, dtype if config.hash else None)
        finally:
            check.result()  # says more of a damaged file than its reader can
    for file, weights in zip(layout, (first, second), strict=True):
        _check_scale(weights.scale, config, folder / file)
    autoencoder = to_current_names(first.state, "autoencoder")
    unet = to_current_names(second.state, "unet")
    digest = config.hash or _hash(autoencoder, unet)
    if dtype:
        unet = {name: tensor.to(dtype) for name, tensor in unet.items()}
    return LoadedModel(config, autoencoder, unet, digest)


def load_config(source: str | Path) -> ModelConfig:
    """What a model is; `source` and errors as in `load_model`.

    The published model's configuration is known without its weights.
    """
    return published_config() if source == "published" else _read_config(*locate(source))


def save_model(
    directory: str | Path,
    config: ModelConfig,
    autoencoder: Mapping[str, Tensor],
    unet: Mapping[str, Tensor],
    *,
    card: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write `autoencoder.safetensors`, `unet.safetensors` and `config.json`, all or none.

    Args:
        directory: made if missing; it may exist if it is empty.
        config: saved with the SHA-256 of each weights file in `weights`, and their `hash`.
        autoencoder: state dict with the names of MONAI >= 1.4.
        unet: likewise.
        card: the text of a `README.md` beside them; None for none.
        overwrite: replace a model that is there; a directory that holds anything else is refused.

    Raises:
        UsageError: the directory exists.
        StorageError: it cannot be written.
    """
    weights = {OURS.autoencoder: autoencoder, OURS.unet: unet}
    config = config.model_copy(update={"hash": _hash(autoencoder, unet)})
    write_directory(Path(directory), config, weights, _replaceable(overwrite), card)


def refuse_model(directory: str | Path, *, overwrite: bool = False) -> None:
    """Raise the UsageError that `save_model` would, before minutes are spent."""
    refuse_others(Path(directory), _replaceable(overwrite))


def _replaceable(overwrite: bool) -> frozenset[str]:
    return FILES | {CARD} if overwrite else frozenset()


def convert(
    source: str | Path, out: str | Path, to: str = "brainldm", *, overwrite: bool = False
) -> None:
    """Copy a model into another layout.

    Args:
        source: as in `load_model`.
        out: as `directory` in `save_model`.
        to: "brainldm"; "monai", which is `autoencoder.pt` and `model.pt` with the names of
            MONAI >= 1.4; or "generativemodels", the same files with the original names. All have a
            `config.json`, which MONAI ignores.
        overwrite: as in `save_model`.

    Raises:
        UsageError: an unknown layout, or the directory exists.
        ModelError: weights that do not fit the architecture, or as `load_model`.
        StorageError: as `load_model` and `save_model`.
    """
    if to not in ("brainldm", "monai", "generativemodels"):
        raise UsageError(f"Cannot convert to {to!r}: expected brainldm, monai or generativemodels.")
    model = load_model(source)
    with torch.device("meta"):  # shapes without memory
        check_fit(AutoencoderKL(model.config.autoencoder), model.autoencoder, "the autoencoder")
        check_fit(DiffusionUNet(model.config.unet), model.unet, "the diffusion U-Net")
    autoencoder, unet = model.autoencoder, model.unet
    if to == "generativemodels":
        autoencoder = to_old_names(autoencoder, "autoencoder")
        unet = to_old_names(unet, "unet")
    layout = OURS if to == "brainldm" else MODEL_ZOO
    weights = {layout.autoencoder: autoencoder, layout.unet: unet}
    config = model.config.model_copy(update={"hash": model.hash})
    write_directory(Path(out), config, weights, FILES if overwrite else frozenset())


def _read_config(folder: Path, layout: Layout) -> ModelConfig:
    path = folder / CONFIG
    if not os.path.isfile(path):
        if layout != OURS:
            return published_config()
        raise ModelError(
            f"{folder} has {layout} but no {CONFIG}: expected all three, since the weights do not "
            "tell their latent scale, condition ranges or affine, and a guess gives plausible "
            f"nonsense. Copy {CONFIG} from where the weights are from, or convert the original "
            "files again with `brainldm convert`."
        )
    try:
        text = read_text(path, "what describes a model; copy the file again")
    except DataError as error:
        raise ModelError(str(error)) from error
    return ModelConfig.from_json(text, str(path))


def _check_hashes(folder: Path, weights: Mapping[str, str]) -> None:
    for name, known in weights.items():
        path = folder / name
        if name not in FILES or not os.path.isfile(path):
            raise StorageError(
                f"{folder / CONFIG} was saved with {name}, which is not there. Copy the whole "
                "directory again."
            )
        algorithm, _, expected = known.rpartition(":")
        got = checksum(path, algorithm or "sha256")
        if got != expected:
            origin = f"{CONFIG} was saved with" if not algorithm else "was published"
            raise ModelError(
                f"{path} is not the file that {origin}: expected {algorithm.upper() or 'SHA-256'} "
                f"{expected}, got {got} ({path.stat().st_size:,} bytes). It is damaged, or was "
                "replaced: copy the whole directory again, or convert the original weights again"
                + (", or fetch it with `brainldm download`." if algorithm else ".")
            )


def _check_scale(said: float | None, config: ModelConfig, path: Path) -> None:
    scale = config.latent.scale
    if said is not None and not math.isclose(said, scale, rel_tol=SAME_SCALE):
        raise ModelError(
            f"{path} says that the latent's scale is {said:g}, and the configuration {scale:g}: "
            f"expected one number. Correct latent.scale in {CONFIG}, or take the scale out of the "
            "file of weights, by what the U-Net was trained with."
        )


def _hash(*states: Mapping[str, Tensor]) -> str:
    """A SHA-256 that depends neither on the file format nor on the precision of storage."""
    digest = hashlib.sha256()
    for state in states:
        for name in sorted(state):
            tensor = state[name].float().contiguous()
            digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.numpy().data)
    return digest.hexdigest()
