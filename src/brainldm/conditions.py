"""What a head is asked to be like, in units people use, and the ranges a model was trained on.

    Conditions (years, mL, "F"/"M")  -> ConditionRanges.complete  -> nothing left out
                                     -> ConditionRanges.normalise -> context (B, V) in [0, 1]

The scaling to [0, 1] is that of Pinaya et al. 2022 (arXiv 2209.07162): min-max over the training
data, which is part of each model's configuration.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from statistics import NormalDist
from typing import Any, Self

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from brainldm.config import Variable
from brainldm.config.slips import did_you_mean, other_label, other_unit
from brainldm.errors import UsageError

STANDARD = ("sex", "age", "ventricular_volume_ml", "brain_volume_ml")
"""The published model's conditions, in the order of its context."""


@dataclass(frozen=True)
class Conditions:
    """The head asked for; what is left out (None) is drawn with the seed.

    Args:
        sex: "F" or "M".
        age: years.
        ventricular_volume_ml: ventricular cerebrospinal fluid, mL.
        brain_volume_ml: brain volume normalised for head size, mL.
        others: a model's further conditions, by name; labels or numbers in the model's units.
        normalised: the values are on the model's own scale; set by `from_normalised`.

    Raises:
        UsageError: `others` names one of the four above.
    """

    sex: str | float | None = None
    age: float | None = None
    ventricular_volume_ml: float | None = None
    brain_volume_ml: float | None = None
    others: Mapping[str, str | float | None] = field(default_factory=dict, kw_only=True)
    normalised: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        twice = [name for name in STANDARD if name in self.others]
        if twice:
            raise UsageError(
                f"others has {', '.join(twice)}: expected only what has no argument of its own."
            )

    @property
    def given(self) -> dict[str, str | float]:
        """What is not left out, by the name of the condition."""
        named = {name: getattr(self, name) for name in STANDARD}
        return {n: value for n, value in {**named, **self.others}.items() if value is not None}

    @classmethod
    def of(cls, values: Mapping[str, str | float | None], *, normalised: bool = False) -> Self:
        """Conditions from all that is given, by the name of the condition."""
        standard = {name: value for name, value in values.items() if name in STANDARD}
        others = {name: value for name, value in values.items() if name not in STANDARD}
        return cls(**standard, others=others, normalised=normalised)  # type: ignore[arg-type]

    @classmethod
    def from_normalised(
        cls,
        sex: str | float | None = None,
        age: float | None = None,
        ventricular_volume: float | None = None,
        brain_volume: float | None = None,
        **others: str | float | None,
    ) -> Self:
        """Conditions on the model's own scale, where 0 and 1 are the ends of its ranges.

        A sex of 0 is female and 1 is male; "F" and "M" are understood as well.
        """
        return cls(sex, age, ventricular_volume, brain_volume, others=others, normalised=True)


class ConditionRanges:
    """The variables a model is conditioned on: what 0 and 1 mean, and how to draw each.

    Args:
        variables: as in `ModelConfig.conditions`, in the order of the context.
    """

    def __init__(self, variables: Sequence[Variable]) -> None:
        self.variables = tuple(variables)

    def complete(self, conditions: Conditions, seed: int) -> tuple[Conditions, tuple[str, ...]]:
        """Draw what was left out, from the model's documented distributions.

        A draw depends on the seed and the variable alone, not on what else was left out, and its
        random stream is separate from that of the latent noise.

        Returns:
            The conditions with nothing left out, on the scale they were given in, and the names of
            those that were drawn.

        Raises:
            UsageError: a condition that this model does not have.
        """
        self._refuse_unknown(conditions)
        given = conditions.given
        drawn: dict[str, str | float] = {}
        for index, variable in enumerate(self.variables):
            if variable.name not in given:
                value = _draw(variable, seed, index)
                drawn[variable.name] = (
                    variable.normalise(value)
                    if conditions.normalised and not isinstance(value, str)
                    else value
                )
        complete = Conditions.of({**given, **drawn}, normalised=conditions.normalised)
        return complete, tuple(drawn)

    def normalise(
        self, conditions: Sequence[Conditions], extrapolate: bool = False
    ) -> Float32[NDArray[np.float32], "b v"]:
        """The context of complete conditions: years, mL, ... to [0, 1].

        V is the number of variables, but one of more than two labels takes a number for each.

        Args:
            conditions: one for each sample, with nothing left out.
            extrapolate: accept values outside the model's ranges.

        Raises:
            UsageError: a value is missing, not a number, not finite, an unknown label, outside
                the model's range, or of a condition that the model does not have.
        """
        for each in conditions:
            self._refuse_unknown(each)
        rows = [
            [x for variable in self.variables for x in self._context(variable, each, extrapolate)]
            for each in conditions
        ]
        columns = sum(len(variable.columns) for variable in self.variables)
        return np.asarray(rows, dtype=np.float32).reshape(len(rows), columns)

    def problems(self, conditions: Conditions, extrapolate: bool = False) -> list[str]:
        """What `normalise` would refuse of those given that the model has: a message each."""
        given, found = conditions.given, []
        for variable in self.variables:
            if variable.name in given:
                try:
                    self._context(variable, conditions, extrapolate)
                except UsageError as error:
                    found.append(str(error))
        return found

    def denormalise(self, context: Sequence[float] | NDArray[np.floating]) -> Conditions:
        """The conditions, in units, that a row of context (V,) stands for."""
        rest = [float(number) for number in context]
        values: dict[str, str | float] = {}
        for variable in self.variables:
            own, rest = rest[: len(variable.columns)], rest[len(variable.columns) :]
            values[variable.name] = _in_units(variable, own)
        return Conditions.of(values)

    def describe(self, conditions: Conditions) -> dict[str, dict[str, Any]]:
        """Complete conditions in both units: {name: {value, unit, normalised}}.

        `normalised` is a number, or a list of one for each of more than two labels.
        """
        described: dict[str, dict[str, Any]] = {}
        for variable in self.variables:
            context = self._context(variable, conditions, extrapolate=True)
            given = conditions.given[variable.name]
            described[variable.name] = {
                "value": _in_units(variable, context)
                if conditions.normalised or variable.labels
                else given,
                "unit": variable.unit,
                "normalised": context[0] if len(context) == 1 else context,
            }
        return described

    def _refuse_unknown(self, conditions: Conditions) -> None:
        known = [variable.name for variable in self.variables]
        unknown = [name for name in conditions.given if name not in known]
        if unknown:
            raise UsageError(
                f"This model has no condition {', '.join(unknown)}: expected "
                f"{', '.join(known) or 'none'}. Leave it out, or choose a model that has it."
                + did_you_mean(unknown[0], known)
            )

    def _context(
        self, variable: Variable, conditions: Conditions, extrapolate: bool
    ) -> list[float]:
        value = conditions.given.get(variable.name)
        if value is None:
            raise UsageError(
                f"{variable.name} is missing: expected {_expected(variable)}. Give it, or complete "
                "the conditions with a seed."
            )
        many = len(variable.columns) > 1
        if variable.labels and value in variable.labels:
            if many:
                return [float(value == label) for label in variable.labels]
            return [float(variable.labels.index(str(value)))]
        if many or (variable.labels and not conditions.normalised):
            raise UsageError(
                f"{variable.name} is {value!r}: expected {_expected(variable)}."
                + other_label(variable, value)
            )
        if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
            expected = f"expected a number, {_expected(variable)}"
            raise UsageError(f"{variable.name} is {value!r}: {expected}.")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            expected = f"expected a finite number, {_expected(variable)}"
            raise UsageError(f"{variable.name} is {number}: {expected}.")
        context = number if conditions.normalised else variable.normalise(number)
        if not (extrapolate or 0 <= context <= 1):
            raise UsageError(
                f"{variable.name} is {_in_both_units(variable, context)}, outside what this model "
                f"knows: expected {_expected(variable)}. Choose a value inside, or ask for "
                "extrapolation (extrapolate=True, --extrapolate)."
                + other_unit(variable, number, conditions.normalised)
            )
        return [context]


def _expected(variable: Variable) -> str:
    if variable.labels:
        labels = " or ".join(f'"{label}"' for label in variable.labels)
        return labels + (" (0 or 1 normalised)" if len(variable.labels) == 2 else "")
    return f"{variable.low:g} to {variable.high:g} {variable.unit} (0 to 1 normalised)"


def _in_both_units(variable: Variable, context: float) -> str:
    unit = f"{variable.denormalise(context):.6g} {variable.unit}".rstrip()
    return f"{unit} ({context:.4g} normalised)"


def _in_units(variable: Variable, context: Sequence[float]) -> str | float:
    """A value from its numbers in the context: of many labels, the one with the largest.

    Of two labels 0 and 1 have one, and what lies between has none.
    """
    if len(context) > 1:
        return (variable.labels or ())[int(np.argmax(context))]
    if variable.labels and context[0] in (0, 1):
        return variable.labels[int(context[0])]
    return variable.denormalise(context[0])


def _draw(variable: Variable, seed: int, index: int) -> str | float:
    # Philox is keyed by (seed, variable), so that no draw shifts another. Latent noise comes
    # from torch's generators, a different algorithm.
    key = np.array([seed, index], dtype=np.uint64)
    return quantile(variable, float(np.random.Generator(np.random.Philox(key=key)).random()))


def quantile(variable: Variable, uniform: float) -> str | float:
    """The value below which a share `uniform`, in [0, 1), of the variable's distribution lies.

    The distribution is truncated to the variable's range. Of two labels the second one comes first,
    more are in their order.
    """
    distribution = variable.distribution
    if distribution.kind == "bernoulli":
        return _in_units(variable, [float(uniform < distribution.probability)])
    if distribution.kind == "categorical":
        below = np.cumsum(distribution.probabilities)
        place = min(int(np.searchsorted(below, uniform, side="right")), len(below) - 1)
        return (variable.labels or ())[place]
    if distribution.kind == "uniform":
        return variable.denormalise(uniform)
    if distribution.kind == "normal":
        return _truncated(distribution.mean, distribution.sd, variable.low, variable.high, uniform)
    low, high = math.log(variable.low), math.log(variable.high)
    return math.exp(_truncated(math.log(distribution.median), distribution.sd, low, high, uniform))


def _truncated(mean: float, sd: float, low: float, high: float, uniform: float) -> float:
    normal = NormalDist(mean, sd)
    below, above = normal.cdf(low), normal.cdf(high)
    # The inverse can miss an end of the range by rounding.
    return min(max(normal.inv_cdf(below + uniform * (above - below)), low), high)
