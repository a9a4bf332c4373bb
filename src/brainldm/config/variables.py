"""What a model is conditioned on: names, units, ranges, and what is drawn where one is left out."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from brainldm.config.base import Config


class Bernoulli(Config):
    """1 with `probability`, else 0."""

    kind: Literal["bernoulli"] = "bernoulli"
    probability: Annotated[float, Field(ge=0, le=1)]
    source: str


class Normal(Config):
    """Normal, truncated to the variable's range."""

    kind: Literal["normal"] = "normal"
    mean: float
    sd: Annotated[float, Field(gt=0)]
    source: str


class LogNormal(Config):
    """Lognormal, truncated to the variable's range; `sd` is that of the natural logarithm."""

    kind: Literal["lognormal"] = "lognormal"
    median: Annotated[float, Field(gt=0)]
    sd: Annotated[float, Field(gt=0)]
    source: str


class Categorical(Config):
    """One of more than two labels, each with its probability."""

    kind: Literal["categorical"] = "categorical"
    probabilities: tuple[Annotated[float, Field(ge=0, le=1)], ...]
    source: str


class Uniform(Config):
    """Uniform over the variable's range."""

    kind: Literal["uniform"] = "uniform"
    source: str


Distribution = Annotated[
    Bernoulli | Categorical | Normal | LogNormal | Uniform, Field(discriminator="kind")
]


class Variable(Config):
    """One condition: `low` and `high`, in `unit`, are what the network sees as 0 and 1.

    `distribution` is what a condition that the user leaves out is drawn from, and its `source`
    says where it comes from. A category has `labels`: those of 0 and of 1, or more than two, each
    of which is then a number of the context that is 1 where the label holds and else 0.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
    unit: str = ""
    kind: Literal["category", "continuous"] = "continuous"
    low: float = 0.0
    high: float = 1.0
    labels: Annotated[tuple[str, ...], Field(min_length=2)] | None = None
    distribution: Distribution

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of its numbers in the context: its own, or one for each of many labels."""
        if self.labels is None or len(self.labels) == 2:
            return (self.name,)
        return tuple(f"{self.name}={label}" for label in self.labels)

    def normalise(self, value: float) -> float:
        """What the network sees of a value in the unit."""
        return (value - self.low) / (self.high - self.low)

    def denormalise(self, context: float) -> float:
        """The value in the unit that the network sees as a number."""
        return self.low + context * (self.high - self.low)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"{self.name}: low {self.low} is not below high {self.high}")
        if (self.kind == "category") != (self.labels is not None):
            raise ValueError(f"{self.name}: a category needs labels, and nothing else has them")
        if self.labels is not None and len(set(self.labels)) < len(self.labels):
            raise ValueError(f"{self.name}: labels are there twice: {', '.join(self.labels)}")
        needed = {0: None, 2: "bernoulli"}.get(len(self.labels or ()), "categorical")
        kind = self.distribution.kind
        if needed != (kind if kind in ("bernoulli", "categorical") else None):
            raise ValueError(
                f"{self.name}: a category of two labels needs a bernoulli distribution, one of "
                "more a categorical one, and nothing else has either"
            )
        if isinstance(self.distribution, Categorical):
            chances = self.distribution.probabilities
            if len(chances) != len(self.columns) or not math.isclose(sum(chances), 1, abs_tol=1e-6):
                raise ValueError(f"{self.name}: each label needs a probability, with the sum 1")
        if self.distribution.kind == "lognormal" and self.low <= 0:
            raise ValueError(f"{self.name}: a lognormal distribution needs a low above 0")
        return self
