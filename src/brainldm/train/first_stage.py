"""A trained autoencoder, from a run of stage 1 or from a model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from brainldm.checkpoint import (
    load_config,
    load_into,
    load_model,
    read_described,
    save_described,
)
from brainldm.config import AutoencoderConfig
from brainldm.config.base import wrong_fields
from brainldm.errors import DataError, UsageError
from brainldm.files import read_json
from brainldm.models.autoencoder import AutoencoderKL

RUN = "run.json"
WEIGHTS = "autoencoder.safetensors"
DESCRIPTION = "autoencoder.json"

Row = tuple[float, float, float, float]


class Description(BaseModel):
    """What an autoencoder is: its architecture, and the grid of the images it was trained on.

    `sha256` is that of its file, for the autoencoder of a run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    autoencoder: AutoencoderConfig
    shape: tuple[int, int, int]
    affine: tuple[Row, Row, Row, Row]
    sha256: str = ""

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read it.

        Raises:
            DataError: it is not one.
        """
        try:
            return cls.model_validate(read_json(file, "what `brainldm train autoencoder` wrote"))
        except ValidationError as error:
            raise DataError(
                f"{file} does not describe an autoencoder: {'; '.join(wrong_fields(error))}. Copy "
                "the run's folder again, or train it again."
            ) from error


@dataclass(frozen=True)
class FirstStage:
    """A trained autoencoder, and what identifies its weights."""

    network: AutoencoderKL
    hash: str


def save_first_stage(
    folder: Path, weights: Mapping[str, Tensor], description: Description, card: str
) -> None:
    """Write what stage 1 ends in, whole or not at all.

    Raises:
        StorageError: it cannot be written.
    """
    save_described(folder / WEIGHTS, weights, folder / DESCRIPTION, description, card)


def describe_first_stage(source: str | Path) -> Description:
    """What an autoencoder is, without its weights.

    Args:
        source: the folder of a finished run of stage 1, or a model as `load_model` takes it.

    Raises:
        UsageError: the run is not finished.
        DataError: it does not say what it is.
        ModelError: as `load_config`.
        StorageError: there is no such run or model.
    """
    folder = Path(source)
    if os.path.isfile(folder / DESCRIPTION):
        return Description.read(folder / DESCRIPTION)
    if os.path.isfile(folder / RUN) and not os.path.isdir(folder / "models"):
        raise UsageError(
            f"The run in {folder} has no {WEIGHTS} yet: expected one that is finished. Start its "
            "`brainldm train autoencoder` again, which resumes it."
        )
    config = load_config(source)
    return Description(autoencoder=config.autoencoder, shape=config.shape, affine=config.affine)


def load_first_stage(source: str | Path) -> FirstStage:
    """Read an autoencoder; arguments and errors as `describe_first_stage`.

    Raises:
        ModelError: its weights are damaged, or as `load_model`.
    """
    description, path = describe_first_stage(source), Path(source) / WEIGHTS
    with torch.device("meta"):  # it takes over the loaded weights
        network = AutoencoderKL(description.autoencoder)
    if description.sha256:
        weights, digest = read_described(path, DESCRIPTION, description.sha256), description.sha256
    else:
        model = load_model(source)
        weights, digest = model.autoencoder, model.hash
    load_into(network, weights, "the autoencoder")
    return FirstStage(network, digest)
