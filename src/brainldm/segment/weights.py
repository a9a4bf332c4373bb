"""A segmenter's weights on disk, with what they are and what they reach."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from brainldm._version import __version__
from brainldm.checkpoint import load_into, read_described, save_described
from brainldm.config import SegmenterConfig
from brainldm.config.base import wrong_fields
from brainldm.errors import DataError, UsageError
from brainldm.files import read_json
from brainldm.models.segmenter import SegmentationNetwork
from brainldm.segment.structures import STRUCTURES

WEIGHTS, DESCRIPTION = "segmenter.safetensors", "segmenter.json"


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
            raise DataError(
                f"{file} does not describe a segmenter: {'; '.join(wrong_fields(error))}. Copy the "
                "run's folder again."
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
    save_described(folder / WEIGHTS, weights, folder / DESCRIPTION, description, card)


def load_segmenter(folder: Path) -> SegmentationNetwork:
    """The network of a folder, for use, in float32.

    Raises:
        UsageError: the folder has none.
        DataError: its description is none, or of other structures.
        ModelError: its weights are damaged, or not those that it was saved with.
        StorageError: they cannot be read.
    """
    description = Description.read(folder)
    weights = read_described(folder / WEIGHTS, DESCRIPTION, description.sha256)
    with torch.device("meta"):  # it takes over the loaded weights
        network = SegmentationNetwork(description.network)
    load_into(network, weights, "the segmenter")
    return network.eval().requires_grad_(False)
