"""A segmenter's weights on disk, with what they are and what they reach."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors.torch import save
from torch import Tensor

from brainldm._version import __version__
from brainldm.checkpoint import load_into, read_state_dict
from brainldm.config import SegmenterConfig
from brainldm.errors import DataError, ModelError, UsageError
from brainldm.files import read_json, sha256, to_json, write_together
from brainldm.models.segmenter import SegmentationNetwork
from brainldm.segment.structures import STRUCTURES

WEIGHTS, DESCRIPTION, CARD = "segmenter.safetensors", "segmenter.json", "README.md"


class Description(BaseModel):
    """What a segmenter is.

    Args:
        network: its architecture.
        structures: the numbers of what it tells apart, those of the left side.
        steps: of training that it has behind it.
        of: how many there are to be.
        figures: what validation on anatomies that were held out found.
        sha256: of the file of its weights.
        version: of brainldm, which trained it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    network: SegmenterConfig
    structures: tuple[int, ...] = tuple(each.number for each in STRUCTURES)
    steps: int
    of: int
    figures: dict[str, float] = {}
    sha256: str = ""
    version: str = __version__

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read it.

        Raises:
            UsageError: the folder has none.
            DataError: it is not one, or of other structures.
        """
        file = folder / DESCRIPTION
        if not os.path.isfile(file):
            raise UsageError(
                f"There is no segmenter in {folder}: expected {DESCRIPTION} and {WEIGHTS}, as "
                "`brainldm train segmenter` writes them."
            )
        try:
            description = cls.model_validate(
                read_json(file, "what `brainldm train segmenter` wrote; copy it again")
            )
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()
            )
            raise DataError(
                f"{file} does not describe a segmenter: {problems}. Copy the run's folder again."
            ) from error
        known = cls.model_fields["structures"].default
        if description.structures != known or description.network.structures != len(known):
            raise DataError(
                f"{file} is of a segmenter that tells other structures apart than this version of "
                f"brainldm: expected {known}, got {description.structures}. Train it again."
            )
        return description


def save_segmenter(
    folder: Path, weights: Mapping[str, Tensor], description: Description, card: str
) -> None:
    """Write a segmenter's files, the description last, in place of an earlier one's.

    Raises:
        StorageError: they cannot be written.
    """
    content = save({name: tensor.contiguous() for name, tensor in weights.items()})
    hashed = description.model_copy(update={"sha256": hashlib.sha256(content).hexdigest()})
    write_together(
        {
            folder / WEIGHTS: content,
            folder / CARD: card.encode(),
            folder / DESCRIPTION: to_json(hashed.model_dump(mode="json")),
        }
    )


def load_segmenter(folder: Path) -> SegmentationNetwork:
    """The network of a folder, for use, in float32.

    Raises:
        UsageError: the folder has none.
        DataError: its description is none, or of other structures.
        ModelError: its weights are damaged, or not those that it was saved with.
        StorageError: they cannot be read.
    """
    description, path = Description.read(folder), folder / WEIGHTS
    digest = sha256(path)
    if digest != description.sha256:
        raise ModelError(
            f"{path} is not the file that {DESCRIPTION} was saved with: expected SHA-256 "
            f"{description.sha256}, got {digest}. Copy both again."
        )
    with torch.device("meta"):  # it takes over the loaded weights
        network = SegmentationNetwork(description.network)
    load_into(network, read_state_dict(path), "the segmenter")
    return network.eval().requires_grad_(False)
