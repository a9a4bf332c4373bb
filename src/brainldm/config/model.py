"""A whole model, and the published one, whose configuration ships."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator

from brainldm.config.base import Config, Positive
from brainldm.config.networks import AutoencoderConfig, LatentConfig, ScheduleConfig, UNetConfig
from brainldm.config.variables import Variable
from brainldm.errors import ModelError

Row = tuple[float, float, float, float]
SamplerName = Literal["unipc", "dpm++2m", "dpm++2m-sde", "ddim", "ddpm"]
USUAL_SAMPLER: SamplerName = "unipc"
"""With its usual steps, the cheapest as near to the exact path as DDIM at 50: docs/results.md."""
SHOWN = 20
"""Faults that a message lists."""
VOXELS = 2**30
"""Of an image, beyond which its shape is a mistake."""
_PUBLISHED = Path(__file__).parents[1] / "weights" / "published" / "config.json"


class ModelConfig(Config):
    """Everything about a model but its weights.

    `affine` takes a voxel (i, j, k) to millimetres of MNI152 space (RAS+), `shape` is (X, Y, Z)
    in voxels, `provenance` has at least a `description` and a `licence`, `weights` maps a file
    name to its SHA-256, and `hash` identifies the weights in any format or precision.
    `null_context` is what all conditions are for a head of no conditions in particular, None if
    the model was not trained with such. `sampler` is what its heads are sampled with unless another
    is asked for.
    """

    name: str
    autoencoder: AutoencoderConfig
    unet: UNetConfig
    schedule: ScheduleConfig
    latent: LatentConfig
    conditions: tuple[Variable, ...]
    affine: tuple[Row, Row, Row, Row]
    shape: tuple[Positive, Positive, Positive]
    provenance: dict[str, str]
    null_context: float | None = None
    sampler: SamplerName = USUAL_SAMPLER
    weights: dict[str, str] = Field(default_factory=dict)
    hash: str = ""

    @classmethod
    def from_json(cls, text: str, where: str) -> Self:
        """Read a configuration; `where` names its origin in an error.

        Raises:
            ModelError: not JSON, an unknown key, or a value that is missing or wrong; every
                one is listed with its path, up to `SHOWN`.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            lines = [
                f"  {'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors()
            ]
            shown = [*lines[:SHOWN], f"  ... and {len(lines) - SHOWN} more"][: len(lines)]
            raise ModelError(
                f"{where} does not describe a brainldm model:\n" + "\n".join(shown) + "\n"
                "Convert the original weights again with `brainldm convert`, or correct the file."
            ) from error

    def to_json(self) -> str:
        """The text of `config.json`."""
        return self.model_dump_json(indent=2) + "\n"

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [variable.name for variable in self.conditions]
        if len(set(names)) < len(names):
            raise ValueError(f"conditions have names of their own each, not {names}")
        latent, grid = self.latent.shape[0], self.latent.shape[1:]
        numbers = sum(len(variable.columns) for variable in self.conditions)
        widths = {
            "autoencoder.latent_channels": (self.autoencoder.latent_channels, latent),
            "unet.out_channels": (self.unet.out_channels, latent),
            "unet.in_channels": (self.unet.in_channels, latent + numbers),
            "unet.context_dim": (self.unet.context_dim, numbers),
        }
        for field, (got, expected) in widths.items():
            if got != expected:
                raise ValueError(
                    f"{field} is {got}, but a latent of {latent} channels and {numbers} "
                    f"conditions need {expected}"
                )
        expected_shape = tuple(side * self.autoencoder.factor for side in grid)
        if self.shape != expected_shape:
            raise ValueError(
                f"shape is {self.shape}, but the latent {grid} decodes to {expected_shape}"
            )
        if math.prod(self.shape) > VOXELS:
            raise ValueError(f"shape is {self.shape}: expected at most {VOXELS:,} voxels")
        if any(side % self.unet.factor for side in grid):
            raise ValueError(
                f"latent.shape is {self.latent.shape}, but the U-Net needs sides that are "
                f"multiples of {self.unet.factor}"
            )
        if self.affine[3] != (0, 0, 0, 1) or not _invertible(self.affine):
            raise ValueError(f"affine must be invertible with last row 0 0 0 1, not {self.affine}")
        missing = {"description", "licence"} - self.provenance.keys()
        if missing:
            raise ValueError(f"provenance lacks {' and '.join(sorted(missing))}")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the context's numbers."""
        return tuple(name for variable in self.conditions for name in variable.columns)


def _invertible(affine: tuple[Row, ...]) -> bool:
    (a, b, c, _), (d, e, f, _), (g, h, i, _) = affine[:3]
    determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    return math.isfinite(determinant) and not math.isclose(determinant, 0)


@cache
def published_config() -> ModelConfig:
    """The model of Pinaya et al. 2022, from the file that ships; its weights need not be there."""
    return ModelConfig.from_json(_PUBLISHED.read_text(encoding="utf-8"), str(_PUBLISHED))
