"""The folder of a run: what it was begun with, its state, and the autoencoder it ends in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from brainldm.checkpoint import load_into, load_model, read_state_dict
from brainldm.config import AutoencoderConfig
from brainldm.errors import BrainLDMError
from brainldm.files import make_folder, to_json, write_together
from brainldm.models.autoencoder import AutoencoderKL

RUN = "run.json"
STATE = "state.pt"
WEIGHTS = "autoencoder.safetensors"
DESCRIPTION = "autoencoder.json"
CARD = "README.md"


def open_run(folder: Path, configuration: Mapping[str, Any]) -> None:
    """Begin a run, or go on with the one that is there if it has a state.

    Args:
        folder: of the run.
        configuration: all that decides what the weights become.

    Raises:
        BrainLDMError: the folder holds other files or a run of another configuration, or cannot be
            written.
    """
    wanted = json.loads(json.dumps(configuration))
    path = folder / RUN
    # Until there is a state nothing is lost, and settings may be corrected.
    begun = any((folder / name).exists() for name in (STATE, DESCRIPTION, "models"))
    if path.is_file() and begun:
        differences = list(_differences(_json(path), wanted))
        if differences:
            raise BrainLDMError(
                f"{folder} holds a run of another configuration:\n"
                + "\n".join(f"  {line}" for line in differences[:8])
                + "\nGo on with the settings that it was begun with, or choose another --out."
            )
        return
    if folder.exists() and not folder.is_dir():
        raise BrainLDMError(f"{folder} is a file: expected a folder for the run. Choose another.")
    if folder.is_dir() and any(folder.iterdir()) and not path.is_file():
        raise BrainLDMError(
            f"{folder} holds other files: expected a new or empty folder, or one with a run. "
            "Choose another --out."
        )
    make_folder(folder)
    write_together({path: to_json(wanted)})


def _differences(was: Any, now: Any, path: str = "") -> Iterator[str]:
    if isinstance(was, dict) and isinstance(now, dict):
        for key in was | now:
            yield from _differences(was.get(key), now.get(key), f"{path}.{key}".lstrip("."))
    elif was != now:
        yield f"{path}: it was begun with {_short(was)}, now {_short(now)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


@dataclass(frozen=True)
class FirstStage:
    """A trained autoencoder, from a run of stage 1 or from a model.

    Args:
        network: with its weights.
        config: its architecture.
        shape: of the images it was trained on, (X, Y, Z).
        affine: of their grid.
        hash: identifies the weights.
    """

    network: AutoencoderKL
    config: AutoencoderConfig
    shape: tuple[int, int, int]
    affine: tuple[tuple[float, ...], ...]
    hash: str


def save_first_stage(
    folder: Path,
    weights: Mapping[str, Tensor],
    config: AutoencoderConfig,
    shape: Sequence[int],
    affine: Sequence[Sequence[float]],
    card: str,
) -> None:
    """Write what stage 1 ends in, whole or not at all."""
    content = save({name: tensor.contiguous() for name, tensor in weights.items()})
    description = {
        "autoencoder": config.model_dump(mode="json"),
        "shape": list(shape),
        "affine": [list(row) for row in affine],
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    write_together(
        {
            folder / WEIGHTS: content,
            folder / CARD: card.encode(),
            folder / DESCRIPTION: to_json(description),
        }
    )


def load_first_stage(source: str | Path) -> FirstStage:
    """Read an autoencoder.

    Args:
        source: the folder of a finished run of stage 1, or a model as `load_model` takes it.

    Raises:
        BrainLDMError: the run is not finished, files are damaged, or there is no such model.
    """
    folder = Path(source)
    if (folder / DESCRIPTION).is_file():
        return _from_run(folder)
    if (folder / RUN).is_file() and not (folder / "models").is_dir():
        raise BrainLDMError(
            f"The run in {folder} has no {WEIGHTS} yet: expected one that is finished. Start its "
            "`brainldm train autoencoder` again, which goes on where it stopped."
        )
    model = load_model(source)
    network = AutoencoderKL(model.config.autoencoder)
    load_into(network, model.autoencoder, "the autoencoder")
    c = model.config
    return FirstStage(network, c.autoencoder, c.shape, c.affine, model.hash)


def _from_run(folder: Path) -> FirstStage:
    path = folder / WEIGHTS
    description = _json(folder / DESCRIPTION)
    try:
        config = AutoencoderConfig.model_validate(description["autoencoder"])
        x, y, z = map(int, description["shape"])
        affine = tuple(tuple(map(float, row)) for row in description["affine"])
        expected = description["sha256"]
    except (KeyError, TypeError, ValueError) as error:
        raise BrainLDMError(
            f"{folder / DESCRIPTION} does not describe an autoencoder: {error}. Copy the run's "
            "folder again, or train it again."
        ) from error
    weights = read_state_dict(path)
    got = hashlib.sha256(path.read_bytes()).hexdigest()
    if got != expected:
        raise BrainLDMError(
            f"{path} is not the file that {DESCRIPTION} was saved with: expected SHA-256 "
            f"{expected}, got {got}. Copy the run's folder again."
        )
    network = AutoencoderKL(config)
    load_into(network, weights, "the autoencoder")
    return FirstStage(network, config, (x, y, z), affine, got)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("not an object")
    except (OSError, ValueError) as error:
        raise BrainLDMError(
            f"Cannot read {path}: {error}. Expected what brainldm wrote; copy it again."
        ) from error
    return content
