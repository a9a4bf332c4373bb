"""The weights of one network beside a JSON file that says what it is, and what they hash to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel
from safetensors.torch import save
from torch import Tensor

from brainldm.checkpoint.layouts import CARD
from brainldm.checkpoint.reading import read_state_dict
from brainldm.errors import ModelError
from brainldm.files import sha256, to_json, write_together


def save_described(
    weights: Path, tensors: Mapping[str, Tensor], said: Path, description: BaseModel, card: str
) -> None:
    """Write weights, a card and, last, the description, whole or not at all.

    Args:
        weights: file of the weights.
        tensors: their names and values.
        said: JSON file of the description, beside the weights.
        description: with a field `sha256`, which is set here.
        card: text for people.

    Raises:
        StorageError: they cannot be written.
    """
    content = save({name: tensor.contiguous() for name, tensor in tensors.items()})
    hashed = description.model_copy(update={"sha256": hashlib.sha256(content).hexdigest()})
    write_together(
        {
            weights: content,
            said.with_name(CARD): card.encode(),
            said: to_json(hashed.model_dump(mode="json")),
        }
    )


def read_described(weights: Path, said: str, expected: str) -> dict[str, Tensor]:
    """Read weights, if they are those that were saved with a description.

    Args:
        weights: file of the weights.
        said: name of the description.
        expected: SHA-256 in it.

    Raises:
        ModelError: they are others, or damaged.
        StorageError: they cannot be read.
    """
    digest = sha256(weights)
    if digest != expected:
        raise ModelError(
            f"{weights} is not the file that {said} was saved with: expected SHA-256 {expected}, "
            f"got {digest}. Copy both again."
        )
    return read_state_dict(weights)
