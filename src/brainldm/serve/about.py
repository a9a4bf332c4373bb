"""What a page has to know of the model to draw its controls."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from brainldm._version import __version__
from brainldm.conditions import quantile
from brainldm.config import ModelConfig, Variable
from brainldm.image.grid import Grid
from brainldm.sampling.solvers import SAMPLERS
from brainldm.serve.hand import Facts
from brainldm.serve.limits import Limits

BINS, DRAWS = 40, 4000


class Control(BaseModel):
    """A condition of the model."""

    name: str
    unit: str
    labels: list[str] | None = None
    low: float
    high: float
    usual: float | str = Field(description="The middle of its distribution.")
    share: list[float] = Field(
        description="Of people, in equal parts of the range or with each label; the source of the "
        "distribution is beside it."
    )
    spread: list[float] | None = Field(
        description="Of people, 5 % have less than the first and 5 % more than the second."
    )
    source: str


class About(BaseModel):
    """The model, what it can be asked for, and what the server takes on."""

    version: str
    name: str
    description: str
    limitations: str
    licence: str
    hash: str
    device: str
    dtype: str
    shape: list[int]
    spacing: list[float]
    conditions: list[Control]
    sampler: str = Field(description="That is used if none is asked for.")
    samplers: dict[str, int] = Field(description="The usual number of steps of each.")
    guided: bool = Field(description="Whether guidance can be other than 1.")
    limits: dict[str, float]


def about(config: ModelConfig, facts: Facts, limits: Limits) -> About:
    """Of a model that is loaded."""
    said: dict[str, Any] = {
        key: str(config.provenance.get(key, "")) for key in ("description", "limitations")
    }
    return About(
        version=__version__,
        name=config.name,
        licence=str(config.provenance["licence"]),
        hash=facts.hash,
        device=facts.device,
        dtype=facts.dtype,
        shape=list(config.shape),
        spacing=list(Grid.of(config.shape, config.affine).spacing),
        conditions=[_control(variable) for variable in config.conditions],
        sampler=config.sampler,
        samplers={name: solver.usual_steps for name, solver in SAMPLERS.items()},
        guided=config.null_context is not None,
        limits={"sweep": limits.sweep, "upload": limits.upload, "heads": limits.heads},
        **said,
    )


def _control(variable: Variable) -> Control:
    drawn = [quantile(variable, (i + 0.5) / DRAWS) for i in range(DRAWS)]
    if variable.labels:
        share = [drawn.count(label) / DRAWS for label in variable.labels]
        usual: float | str = variable.labels[int(np.argmax(share))]
        spread = None
    else:
        counts, _ = np.histogram(np.array(drawn, float), BINS, (variable.low, variable.high))
        share = (counts / DRAWS).tolist()
        usual = quantile(variable, 0.5)
        spread = [float(quantile(variable, part)) for part in (0.05, 0.95)]
    return Control(
        name=variable.name,
        unit=variable.unit,
        labels=list(variable.labels) if variable.labels else None,
        low=variable.low,
        high=variable.high,
        usual=usual,
        share=share,
        spread=spread,
        source=variable.distribution.source,
    )
