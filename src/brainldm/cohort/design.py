"""What a cohort should be like, and what the words of a design mean to a model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainldm.config import (
    Bernoulli,
    Categorical,
    LogNormal,
    ModelConfig,
    Normal,
    Uniform,
    Variable,
)
from brainldm.config.slips import did_you_mean
from brainldm.errors import UsageError

ASKED = "asked for in the plan"
Array = NDArray[np.float64]
Within = frozenset[str] | tuple[float, float]


@dataclass(frozen=True)
class Design:
    """What a cohort should be like.

    Args:
        number: of volumes.
        seed: of everything drawn here; the same design and seed give the same table.
        like: a table of people, whose rows are drawn in place of the distributions.
        distributions: condition to "uniform", "normal:MEAN:SD", "lognormal:MEDIAN:SD" or, for a
            category, "F:0.5,M:0.5", over its range; the model's own for others.
        correlations: of normal scores, by two conditions.
        limits: condition to "LOW:HIGH" (HIGH itself only where the range ends), or labels "F,M".
        balance: condition to the edges of its groups, "70:76:82", or to nothing for a category;
            every combination of groups gets the same number.
        extrapolate: take rows of the table that are outside the model's ranges.
    """

    number: int
    seed: int = 0
    like: Path | None = None
    distributions: Mapping[str, str] = field(default_factory=dict)
    correlations: Mapping[tuple[str, str], float] = field(default_factory=dict)
    limits: Mapping[str, str] = field(default_factory=dict)
    balance: Mapping[str, str] = field(default_factory=dict)
    extrapolate: bool = False


def variables_of(design: Design, config: ModelConfig) -> tuple[Variable, ...]:
    """The model's conditions, with the distributions that were asked for."""
    for name in design.distributions:
        _named(config.conditions, name)
    return tuple(
        v.model_copy(update={"distribution": _distribution(v, design.distributions[v.name])})
        if v.name in design.distributions
        else v
        for v in config.conditions
    )


def _named(variables: Sequence[Variable], name: str) -> Variable:
    for variable in variables:
        if variable.name == name:
            return variable
    raise UsageError(
        f"This model has no condition {name!r}: expected {', '.join(v.name for v in variables)}."
        + did_you_mean(name, (v.name for v in variables))
    )


def _distribution(variable: Variable, text: str) -> Any:
    if variable.labels:
        shares = dict(part.rpartition(":")[::2] for part in text.split(","))
        try:
            chances = [float(shares.pop(label)) for label in variable.labels]
        except (KeyError, ValueError):
            chances = []
        if shares or not chances or min(chances) < 0 or not math.isclose(sum(chances), 1):
            expected = ",".join(
                f"{label}:{1 / len(variable.labels):.3g}" for label in variable.labels
            )
            raise UsageError(
                f"The distribution of {variable.name} is {text!r}: expected a share for each "
                f"label, together 1, as in {expected}."
            )
        if len(chances) == 2:
            return Bernoulli(probability=chances[1], source=ASKED)
        return Categorical(probabilities=tuple(chances), source=ASKED)
    kind, *numbers = text.split(":")
    try:
        values = [float(number) for number in numbers]
        if not all(map(math.isfinite, values)):
            raise ValueError
        if kind == "uniform" and not values:
            return Uniform(source=ASKED)
        first, second = values
        if kind == "normal" and second > 0:
            return Normal(mean=first, sd=second, source=ASKED)
        if kind == "lognormal" and min(first, second, variable.low) > 0:
            return LogNormal(median=first, sd=second, source=ASKED)
    except ValueError:
        pass
    raise UsageError(
        f"The distribution of {variable.name} is {text!r}: expected uniform, normal:MEAN:SD or, "
        "for what is above 0, lognormal:MEDIAN:SD with the deviation of the natural logarithm."
    )


def limits_of(design: Design, variables: Sequence[Variable]) -> dict[str, Within]:
    """What the limits allow."""
    return {name: _within(_named(variables, name), text) for name, text in design.limits.items()}


def _within(variable: Variable, text: str) -> Within:
    """Labels, or the ends of an interval."""
    if variable.labels:
        labels = frozenset(text.split(","))
        if not labels <= set(variable.labels):
            raise UsageError(
                f"The limit of {variable.name} is {text!r}: expected labels among "
                f"{', '.join(variable.labels)}, with commas between."
            )
        return labels
    low, high = _edges(variable, text, "limit")[:2]
    return low, high


def _edges(variable: Variable, text: str, what: str) -> list[float]:
    try:
        edges = [float(edge) for edge in text.split(":")]
    except ValueError:
        edges = []
    rising = all(a < b for a, b in pairwise(edges))
    if len(edges) < 2 or (what == "limit" and len(edges) > 2) or not rising:
        more = "" if what == "limit" else ":...:HIGH, its groups' edges"
        raise UsageError(
            f"The {what} of {variable.name} is {text!r}: expected LOW:HIGH{more}, in "
            f"{variable.unit or 'its unit'}, rising."
        )
    if edges[0] < variable.low or edges[-1] > variable.high:
        raise UsageError(
            f"The {what} of {variable.name} is {text!r}: expected it within what the model knows, "
            f"{variable.low:g} to {variable.high:g} {variable.unit}."
        )
    return edges


def groups_of(design: Design, variables: Sequence[Variable]) -> dict[str, dict[str, Within]]:
    """Every combination of the groups to balance, by its name."""
    parts: list[list[tuple[str, str, Within]]] = []
    for name, text in design.balance.items():
        variable = _named(variables, name)
        if variable.labels:
            if text:
                raise UsageError(f"To balance {name}, name it alone: its groups are its labels.")
            allowed = design.limits.get(name, "").split(",")
            labels = [x for x in variable.labels if allowed == [""] or x in allowed]
            parts.append([(name, label, frozenset({label})) for label in labels])
        else:
            edges = _edges(variable, text, "balance")
            parts.append([(name, f"{a:g}-{b:g}", (a, b)) for a, b in pairwise(edges)])
    return {
        ", ".join(f"{name} {label}" for name, label, _ in combination): {
            name: within for name, _, within in combination
        }
        for combination in product(*parts)
    }


def copula_of(design: Design, variables: Sequence[Variable]) -> Array:
    """The root of the matrix of correlations."""
    names = [v.name for v in variables]
    matrix = np.eye(len(names))
    for (a, b), r in design.correlations.items():
        i, j = names.index(_named(variables, a).name), names.index(_named(variables, b).name)
        if i == j or not -1 < r < 1:
            raise UsageError(
                f"The correlation of {a} and {b} is {r:g}: expected two conditions, and a number "
                "between -1 and 1."
            )
        matrix[i, j] = matrix[j, i] = r
    try:
        root: Array = np.linalg.cholesky(matrix).astype(np.float64)
    except np.linalg.LinAlgError:
        raise UsageError(
            "No people have these correlations together: expected a positive definite matrix, "
            f"got {matrix.tolist()}. Choose smaller ones."
        ) from None
    return root
